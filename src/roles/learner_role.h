// A learner rank: collects verified groups, balances them over the learners, and makes the update.
#pragma once

#include <cstdint>
#include <future>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "learn/learner.h"
#include "roles/in_flight.h"
#include "roles/messages.h"
#include "roles/session.h"
#include "roles/work_list.h"
#include "store/checkpoint_saver.h"

namespace setrl::roles {

class LearnerRole {
 public:
  explicit LearnerRole(const Session& session);

  learn::Learner& learner() { return learner_; }

  // Takes a verified group of any step that is not trained yet.
  void collect(Group group);
  // Copies of groups in flight that are not graded, and the word of a rank that it told of all of its: for the
  // checkpoint of that step.
  void hold(std::int64_t step, const Group& group);
  void told(std::int64_t step);
  // Whether it holds its share of the `groups` groups of a step.
  bool holds(std::int64_t step, std::int64_t groups) const;
  // Collects from stored trajectories (learn.replay). Returns the summaries of all of the step's groups.
  std::vector<Group> collect_stored(std::int64_t step);

  // Balances the step's groups and makes one update. Where no group of any learner carries a signal, nothing changes.
  learn::StepStats update(std::int64_t step, StepReport& report);

  // Collective over learners. Begins a save that goes on behind the steps; see store::CheckpointSaver. `kind`: "train"
  // or "sft"; goes into the checkpoint's description, as do the `notes` of the root: a JSON object, or empty.
  // `tellers`: of so many ranks the checkpoint takes along what they have in flight (0: nothing is); it is complete
  // only when the cut is closed.
  void save(std::int64_t step, std::int64_t policy_version, const std::string& kind, const std::string& notes,
            int tellers = 0);
  // Ranks that have not told all for the last save yet.
  int cut_waits_for() const { return cut_ ? cut_->waiting() : 0; }
  // Hands over what is there: at once when all have told, else before the next update and the next save.
  void close_cut();
  // Before the weights change: waits until a save has its copy of them. `update` does it by itself.
  void settle();
  // Throws what a save has failed with since.
  void check_saves();
  // A save that is not complete gives way to the next one. All learners call it.
  void abandon_save();
  // Collective over learners: waits for the last save.
  void finish_saves();
  // Seconds that saves kept this thread waiting since the last call.
  double take_stall();

  // Fills weights and optimizer from a checkpoint of any number of ranks.
  void load(const std::string& folder, const store::CheckpointInfo& info);

 private:
  TrainingBatch balanced(std::int64_t step);
  store::CheckpointInfo describe(std::int64_t step, std::int64_t policy_version, const std::string& kind,
                                 const std::string& notes) const;
  std::vector<std::string> trajectories_of(std::int64_t step) const;

  const Session& session_;
  learn::Learner learner_;
  std::map<std::int64_t, std::vector<Group>> collected_;  // by step
  std::optional<InFlightCut> cut_;                        // of a save, while it is open
  std::promise<std::vector<Group>> in_flight_;            // of the same; outlives the saver, which waits for it
  std::optional<store::CheckpointSaver> saver_;           // made with the first save
  std::vector<std::string> config_hashes_;                // of the configurations that the run had, in order
  std::int64_t first_step_ = 0;                           // steps done when this process began
  double stall_s_ = 0;
};

}  // namespace setrl::roles
