// What one rank does, whichever roles it has: takes letters out of its box, generates while it has something to, and
// passes on what is done. The same loop runs synchronous and asynchronous training (rollout.max_staleness) and
// evaluations, in one process and in thousands.
//
// Ranks that hold a model together (rollout.tensor_parallel) must make the same calls of their engines in the same
// order. Their lead makes the order: whatever changes its engine (items, steps, new weights, the end) it passes on as a
// letter, before it waits for its followers in a step or in the push. So a follower needs no loop of its own, and is
// idle where its lead is.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "roles/dispenser.h"
#include "roles/in_flight.h"
#include "roles/learner_role.h"
#include "roles/mailbox.h"
#include "roles/messages.h"
#include "roles/rollout_role.h"
#include "roles/session.h"
#include "roles/verifier_role.h"

namespace setrl::roles {

class Station {
 public:
  // Roles that this rank does not have are null. `first_step` .. `last_step`: what is to be trained; none for an
  // evaluation alone. `restored`: on the dispenser's rank, groups of these steps that a checkpoint brought along.
  Station(const Session& session, RolloutRole* rollout, VerifierRole* verifier, LearnerRole* learner,
          std::int64_t first_step, std::int64_t last_step, std::vector<Group> restored = {});

  // Works until `done()`: engine step by engine step, letter by letter; waits (with the deadline) where there is
  // nothing to do.
  template <typename Done>
  void work_until(const Done& done) {
    while (!done()) turn();
  }
  void take_letters();  // those that are there

  // Learners and root. Whether the step's groups are all here: graded, and at their learners.
  bool complete(std::int64_t step) const;
  // The root's, then forgotten: the step's closing note, and its groups as summaries.
  ClosedNote take_closed(std::int64_t step);
  std::vector<Group> take_summaries(std::int64_t step);

  // Root. Opens the evaluation by weights of this version, works until it is done, and returns its groups by index.
  std::vector<Group> evaluate(std::int64_t version);

  // Root: has all ranks tell the learners what they have in flight, for the checkpoint of this step. So many of them
  // tell.
  void ask_what_is_in_flight(std::int64_t step);
  int tellers() const;

  // Root: to all that are no learners.
  void publish(const PublishedNote& note);
  void end(bool stopped);

  // After this rank's engine got new weights. Nothing on a follower.
  void tell_standing();

  bool stop_asked() const { return stop_asked_; }  // root: by a signal to a rank that is no learner
  bool ended() const { return ended_; }            // not on learners: they know
  bool stopped() const { return stopped_; }        // ended by a signal

  // Collective over the world, after the end.
  void close() { mail_.close(); }

  // This rank's since the last call.
  StepReport take_report();
  StepReport& report() { return report_; }

 private:
  void turn();
  void generate();
  void receive(const Letter& letter);
  void grade(Group group);
  void graded(const GradedNote& note);
  void take_weights(const PublishedNote& note);
  void dispense();
  std::vector<WorkItem> items_of_round(std::int64_t step, int round, std::int64_t first_index, int count);
  void pass_on_cut(const CutNote& note);
  void tell_what_is_begun(std::int64_t step);
  void tell_what_is_not_graded(std::int64_t step);
  void tell_all_told(std::int64_t step);
  template <typename Note>
  void tell_assistants(const Note& note);  // all that are no learners; followers hear it from their lead
  template <typename Note>
  void tell_followers(const Note& note, const Group* group = nullptr);
  bool may_generate() const;

  const Session& session_;
  RolloutRole* rollout_;
  VerifierRole* verifier_;
  LearnerRole* learner_;
  const std::vector<int> followers_;  // of this rank
  const bool follows_;
  bool step_begun_ = false;  // by this follower's lead, which waits in it
  Mailbox mail_;
  std::unique_ptr<Dispenser> dispenser_;  // on the first rollout rank
  Stopwatch clock_;                       // of the dispenser
  RestoredGroups restored_;               // the dispenser's, of items that are not handed out yet
  std::vector<Group> generated_;          // restored ones of items that were opened, on their way to their verifiers
  std::map<std::int64_t, int> flushed_;   // verifier: leads that said so, by step of the checkpoint
  std::deque<Group> to_grade_;            // one between two looks into the box: grading may take long
  std::map<std::int64_t, ClosedNote> closed_;
  std::map<std::int64_t, std::vector<Group>> summaries_;  // root, by step
  std::vector<Group> evaluated_;                          // root
  bool stop_told_ = false, stop_asked_ = false, ended_ = false, stopped_ = false;
  StepReport report_;
  Stopwatch report_clock_;
};

}  // namespace setrl::roles
