// Which rollout rank generates what: hands out the items of the steps (and of evaluations) one after another to whoever
// has room, as far ahead of the learners as rollout.max_staleness lets it, and says when a step is complete. Pure
// bookkeeping: no communication, no clock.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "roles/mailbox.h"
#include "roles/work_item.h"

namespace setrl::roles {

class Dispenser {
 public:
  struct Plan {
    std::int64_t first_step = 1, last_step = 0;
    int prompts_per_step = 0;
    int replacement_rounds = 0;
    int max_staleness = 0;
    int samples = 1;                 // completions of a training item
    std::vector<int> rollout_ranks;  // where several hold one model: their leads
  };
  // The step's items of a round: round 0 is the step itself, later ones replace groups without signal. Those whose
  // groups are there already are not handed out; their grading is heard of as that of the others.
  using Items = std::function<std::vector<WorkItem>(std::int64_t step, int round, std::int64_t first_index, int count)>;

  Dispenser(Plan plan, Items items);

  // What happens.
  void standing(int rank, const StandingNote& note);
  void finished(int rank, const FinishedNote& note, double now_s);  // seconds on any steady clock
  void graded(const GradedNote& note);
  // Goes before everything else, to ranks that hold exactly this version. One at a time.
  void open_evaluation(std::int64_t version, std::vector<WorkItem> items, int samples);

  // What follows.
  struct Assignment {
    int rank = 0;
    ItemNote item;
  };
  // An item of step s goes only to a rank whose weights are at most max_staleness updates older than those that the
  // step trains (version s - 1). Oldest step first; among ranks with room the one with the least in hand; and to none
  // more than its share of all that is open, so that the first to ask does not empty the list.
  std::vector<Assignment> assign();
  // Steps that have become complete since the last call.
  std::vector<ClosedNote> take_closed();

 private:
  struct Step {
    std::vector<WorkItem> items;  // of the present round, to be handed out
    std::size_t next = 0;         // not handed out yet
    int round = 0;
    std::int64_t groups = 0;                                    // of all rounds so far
    std::int64_t round_groups = 0;                              // of the present round
    std::int64_t finished = 0, graded = 0, without_signal = 0;  // of the present round
    std::map<int, double> last_finish;                          // by rank, seconds
    int last_rank = -1;
    std::int64_t last_longest = 0;
  };
  struct Rank {
    StandingNote standing;
    std::int64_t given = 0;             // items
    std::deque<std::int64_t> underway;  // completions of the items that its standing does not count yet
    std::int64_t load = 0;              // completions of the items in its hands
    std::int64_t credit() const;
  };

  void open_steps();
  void open_round(std::int64_t number, Step& step, int count);
  void end_round(std::int64_t number);
  void close(std::int64_t number, const Step& step);
  bool may_have(const Rank& rank) const;
  std::int64_t open_for(std::int64_t version) const;  // completions not handed out
  std::optional<ItemNote> take_item(std::int64_t version);

  Plan plan_;
  Items items_;
  std::map<int, Rank> ranks_;
  std::int64_t load_ = 0;               // of all ranks
  std::map<std::int64_t, Step> steps_;  // open ones
  std::int64_t next_step_;              // to be opened
  std::int64_t newest_version_ = -1;    // on any rank
  std::vector<ClosedNote> closed_;
  std::deque<WorkItem> evaluation_;
  std::int64_t evaluation_version_ = -1;
  std::int64_t evaluation_samples_ = 1;
};

}  // namespace setrl::roles
