// Groups in flight of an asynchronous run (rollout.max_staleness): those of steps after a checkpoint's. Gathered on the
// learners while it is saved, taken up by the dispenser's rank when a run continues. docs/asynchronous.md.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "records/group.h"

namespace setrl::roles {

// How far a group is.
enum class Stage : std::uint8_t { begun, generated, graded };
Stage stage_of(const Group& group);

// "5 graded, 0 generated, 2 begun, 1234 tokens of completions".
std::string describe_in_flight(const std::vector<Group>& groups);

// What one learner hears of while a checkpoint is saved.
class InFlightCut {
 public:
  // `step`: steps done, which made the version of that number. `tellers`: ranks that say when they have told all.
  InFlightCut(std::int64_t step, int tellers) : step_(step), waiting_(tellers) {}

  std::int64_t step() const { return step_; }
  // Takes a copy of what is of a later step and was written by versions up to the checkpoint's alone: others are of a
  // policy that a continuation does not come from. Of two copies of a group it keeps the one that is further.
  void add(const Group& group);
  void told() { --waiting_; }
  int waiting() const { return waiting_; }  // for so many ranks
  std::vector<Group> take();                // by step and index

 private:
  std::int64_t step_;
  int waiting_;
  std::map<std::pair<std::int64_t, std::int64_t>, Group> groups_;
};

// Which of a checkpoint's groups a continuation may train.
struct ContinuationBounds {
  std::int64_t done = 0, last_step = 0;  // steps: of the checkpoint, of the run
  int max_staleness = 0;
  int samples = 1;  // of a group
};
std::vector<Group> usable_groups(std::vector<Group> groups, const ContinuationBounds& bounds);

class RestoredGroups {
 public:
  explicit RestoredGroups(std::vector<Group> groups);
  const std::map<std::pair<std::int64_t, std::int64_t>, Group>& by_place() const { return groups_; }  // step, index
  // The group of this place, or null.
  const Group* find(std::int64_t step, std::int64_t index) const;
  std::optional<Group> take(std::int64_t step, std::int64_t index);
  // Those of steps up to this one that nobody asked for.
  void drop_until(std::int64_t step);

 private:
  std::map<std::pair<std::int64_t, std::int64_t>, Group> groups_;
};

}  // namespace setrl::roles
