// Who gets which item, by hand and in a simulation of ranks of random speed.
#include "roles/dispenser.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/random.h"

namespace setrl::roles {
namespace {

std::vector<WorkItem> plain_items(std::int64_t step, int round, std::int64_t first_index, int count) {
  std::vector<WorkItem> items;
  for (int i = 0; i < count; ++i) items.push_back({first_index + i, 1000 * step + 100 * round + i});
  return items;
}

Dispenser::Plan plan_for(std::vector<int> ranks, int staleness) {
  Dispenser::Plan plan;
  plan.last_step = 9;
  plan.prompts_per_step = 8;
  plan.max_staleness = staleness;
  plan.samples = 4;
  plan.rollout_ranks = std::move(ranks);
  return plan;
}

// Items by rank.
std::map<int, std::vector<ItemNote>> by_rank(const std::vector<Dispenser::Assignment>& assignments) {
  std::map<int, std::vector<ItemNote>> result;
  for (const auto& assignment : assignments) result[assignment.rank].push_back(assignment.item);
  return result;
}

TEST(Dispenser, TheFirstToAskDoesNotEmptyTheList) {
  Dispenser dispenser(plan_for({3, 5}, 0), plain_items);
  EXPECT_TRUE(dispenser.assign().empty());  // nobody has weights
  dispenser.standing(3, {0, 64, 0});
  const auto first = by_rank(dispenser.assign());
  ASSERT_EQ(first.size(), 1u);
  ASSERT_EQ(first.at(3).size(), 4u);
  EXPECT_EQ(first.at(3)[0].step, 1);
  EXPECT_EQ(first.at(3)[3].index, 3);
  dispenser.standing(5, {0, 64, 0});
  const auto second = by_rank(dispenser.assign());
  ASSERT_EQ(second.at(5).size(), 4u);
  EXPECT_EQ(second.at(5)[0].index, 4);
  EXPECT_EQ(second.at(5)[0].problem, 1004);
  EXPECT_TRUE(dispenser.assign().empty());
}

TEST(Dispenser, WhoeverHasRoomGetsTheNext) {
  Dispenser dispenser(plan_for({0, 1}, 0), plain_items);
  dispenser.standing(0, {0, 8, 0});  // room for two items each
  dispenser.standing(1, {0, 8, 0});
  EXPECT_EQ(dispenser.assign().size(), 4u);
  // Rank 1 meets a long one; rank 0 takes all that is left.
  std::int64_t taken = 2;
  for (int i = 0; i < 4; ++i) {
    dispenser.finished(0, {1, 10, {0, 4, taken}}, i);
    const auto next = by_rank(dispenser.assign());
    ASSERT_EQ(next.size(), 1u);
    ASSERT_EQ(next.at(0).size(), 1u);
    EXPECT_EQ(next.at(0)[0].index, 4 + i);
    ++taken;
  }
  dispenser.finished(0, {1, 10, {0, 4, taken}}, 9);
  EXPECT_TRUE(dispenser.assign().empty());
}

TEST(Dispenser, StandingsThatCrossItemsOnTheWayDoNotCountTwice) {
  Dispenser dispenser(plan_for({0}, 2), plain_items);
  dispenser.standing(0, {0, 8, 0});
  EXPECT_EQ(dispenser.assign().size(), 2u);
  dispenser.standing(0, {0, 8, 0});  // sent before the two came
  EXPECT_TRUE(dispenser.assign().empty());
  dispenser.standing(0, {0, 4, 1});  // after the first
  EXPECT_TRUE(dispenser.assign().empty());
  dispenser.standing(0, {0, 1, 2});  // room for a part of one: it may wait inside
  EXPECT_EQ(dispenser.assign().size(), 1u);
  EXPECT_THROW(dispenser.standing(0, {0, 1, 4}), BugError);
}

TEST(Dispenser, StalenessIsBoundedRankByRank) {
  for (int staleness = 0; staleness <= 2; ++staleness) {
    Dispenser dispenser(plan_for({0, 1}, staleness), plain_items);
    dispenser.standing(0, {0, 1000, 0});
    dispenser.standing(1, {3, 1000, 0});
    std::map<int, std::int64_t> newest, count;
    // Rank 0 never finishes; rank 1 does at once, and so gets all that its weights are new enough for.
    for (auto items = dispenser.assign(); !items.empty(); items = dispenser.assign()) {
      for (const auto& [rank, item] : items) {
        newest[rank] = std::max(newest[rank], item.step);
        ++count[rank];
      }
      for (const auto& [rank, item] : items) {
        if (rank == 1) dispenser.finished(1, {item.step, 5, {3, 1000, count[1]}}, 0);
      }
    }
    EXPECT_LE(newest[0], 1 + staleness);
    EXPECT_EQ(newest[1], 4 + staleness);
    EXPECT_EQ(count[0] + count[1], 8 * (4 + staleness));
  }
}

TEST(Dispenser, EvaluationsGoFirstAndOnlyByTheirWeights) {
  Dispenser dispenser(plan_for({0, 1}, 1), plain_items);
  dispenser.standing(0, {2, 4, 0});
  dispenser.standing(1, {1, 4, 0});
  dispenser.open_evaluation(2, {{0, 70}, {1, 71}}, 1);
  const auto given = by_rank(dispenser.assign());
  ASSERT_GE(given.at(0).size(), 2u);
  EXPECT_EQ(given.at(0)[0].step, 0);
  EXPECT_EQ(given.at(0)[0].problem, 70);
  EXPECT_EQ(given.at(0)[1].index, 1);
  for (const auto& item : given.at(1)) EXPECT_GT(item.step, 0);
}

TEST(Dispenser, TheStragglerIsWhoFinishedLast) {
  Dispenser dispenser(plan_for({0, 1, 2}, 0), plain_items);
  for (const int rank : {0, 1, 2}) dispenser.standing(rank, {0, 64, 0});
  std::map<int, std::int64_t> left;
  for (const auto& [rank, item] : dispenser.assign()) ++left[rank];
  const auto finish = [&](int rank, std::int64_t longest, double now) {
    dispenser.finished(rank, {1, longest, {0, 64, left[rank]}}, now);
  };
  const std::map<int, std::int64_t> all = left;
  for (std::int64_t i = 0; i < all.at(0); ++i) finish(0, 11, 10);
  for (std::int64_t i = 0; i < all.at(2); ++i) finish(2, 12, 12.5);
  for (std::int64_t i = 0; i < 8; ++i) dispenser.graded({1, true});  // before the finishing of the last was heard of
  EXPECT_TRUE(dispenser.take_closed().empty());
  for (std::int64_t i = 0; i < all.at(1); ++i) finish(1, 200 + i, 20 + static_cast<double>(i));
  const auto closed = dispenser.take_closed();
  ASSERT_EQ(closed.size(), 1u);
  EXPECT_EQ(closed[0].step, 1);
  EXPECT_EQ(closed[0].groups, 8);
  EXPECT_EQ(closed[0].straggler.rank, 1);
  EXPECT_EQ(closed[0].straggler.longest, 199 + all.at(1));
  EXPECT_DOUBLE_EQ(closed[0].straggler.lag_s, 19 + static_cast<double>(all.at(1)) - 12.5);
}

TEST(Dispenser, GroupsThatAreThereAlreadyAreNotHandedOutButGraded) {
  // Of step 1 all but the items 2 and 5, of step 2 all.
  const auto items = [](std::int64_t step, int round, std::int64_t first_index, int count) {
    auto list = plain_items(step, round, first_index, count);
    for (auto& item : list) item.generated = step == 2 || (step == 1 && item.index != 2 && item.index != 5);
    return list;
  };
  Dispenser dispenser(plan_for({0, 1}, 2), items);
  dispenser.standing(0, {0, 8, 0});
  const auto given = dispenser.assign();
  ASSERT_EQ(given.size(), 2u);
  EXPECT_EQ(given[0].item.step, 1);
  EXPECT_EQ(given[0].item.index, 2);
  EXPECT_EQ(given[1].item.step, 1);
  EXPECT_EQ(given[1].item.index, 5);
  dispenser.standing(1, {0, 4, 0});
  const auto next = dispenser.assign();
  ASSERT_EQ(next.size(), 1u);
  EXPECT_EQ(next[0].item.step, 3);
  for (int i = 0; i < 8; ++i) dispenser.graded({2, true});
  auto closed = dispenser.take_closed();
  ASSERT_EQ(closed.size(), 1u);
  EXPECT_EQ(closed[0].step, 2);
  EXPECT_EQ(closed[0].groups, 8);
  EXPECT_EQ(closed[0].straggler.rank, -1);  // nobody
  for (int i = 0; i < 8; ++i) dispenser.graded({1, true});
  EXPECT_TRUE(dispenser.take_closed().empty());
  dispenser.finished(0, {1, 5, {0, 4, 2}}, 1);
  EXPECT_TRUE(dispenser.take_closed().empty());
  dispenser.finished(0, {1, 5, {0, 8, 2}}, 2);
  closed = dispenser.take_closed();
  ASSERT_EQ(closed.size(), 1u);
  EXPECT_EQ(closed[0].groups, 8);
  EXPECT_EQ(closed[0].straggler.rank, 0);
}

TEST(Dispenser, ARoundOfWhichAllIsThereIsFollowedByTheNext) {
  auto plan = plan_for({0}, 0);
  plan.replacement_rounds = 2;
  const auto items = [](std::int64_t step, int round, std::int64_t first_index, int count) {
    auto list = plain_items(step, round, first_index, count);
    for (auto& item : list) item.generated = round < 2;
    return list;
  };
  Dispenser dispenser(plan, items);
  dispenser.standing(0, {0, 64, 0});
  EXPECT_TRUE(dispenser.assign().empty());
  for (int i = 0; i < 8; ++i) dispenser.graded({1, i < 5});
  EXPECT_TRUE(dispenser.assign().empty());
  for (int i = 0; i < 3; ++i) dispenser.graded({1, i < 2});
  const auto given = dispenser.assign();
  ASSERT_EQ(given.size(), 1u);
  EXPECT_EQ(given[0].item.index, 11);
  EXPECT_EQ(given[0].item.problem, 1200);
  dispenser.finished(0, {1, 5, {0, 64, 1}}, 1);
  dispenser.graded({1, false});
  const auto closed = dispenser.take_closed();
  ASSERT_EQ(closed.size(), 1u);
  EXPECT_EQ(closed[0].groups, 12);
}

// A run in small: rollout ranks of random speeds with batches of random size, a verifier and a learner with delays.
class Simulation {
 public:
  Simulation(std::uint64_t seed, int ranks, int staleness, int rounds)
      : random_(seed, 1), staleness_(staleness), dispenser_(plan(ranks, staleness, rounds), recorded()) {
    for (int rank = 0; rank < ranks; ++rank)
      workers_.push_back({0, 0, 4 * static_cast<int>(1 + random_.below(4)), 0, {}});
  }

  void run() {
    for (std::size_t rank = 0; rank < workers_.size(); ++rank) tell(static_cast<int>(rank));
    for (int turn = 0; version_ < kSteps; ++turn) {
      ASSERT_LT(turn, 200000) << "the run stands still";
      for (const auto& assignment : dispenser_.assign()) give(assignment);
      switch (random_.below(3)) {
        case 0: generate(static_cast<int>(random_.below(workers_.size()))); break;
        case 1: grade(); break;
        default: learn(); break;
      }
      for (const auto& note : dispenser_.take_closed()) closed_[note.step] = note.groups;
    }
    // Every item once, and all of those that the rounds asked for.
    std::set<std::pair<std::int64_t, std::int64_t>> once;
    for (const auto& item : given_) EXPECT_TRUE(once.insert({item.step, item.index}).second);
    EXPECT_EQ(once, asked_);
    EXPECT_LE(oldest_, staleness_);
  }
  std::int64_t oldest() const { return oldest_; }

 private:
  static constexpr std::int64_t kSteps = 12;
  struct Worker {
    std::int64_t version, taken;
    int batch, load;
    std::vector<ItemNote> items;
  };

  static Dispenser::Plan plan(int ranks, int staleness, int rounds) {
    auto plan = plan_for({}, staleness);
    plan.last_step = kSteps;
    plan.replacement_rounds = rounds;
    for (int rank = 0; rank < ranks; ++rank) plan.rollout_ranks.push_back(rank);
    return plan;
  }
  Dispenser::Items recorded() {
    return [this](std::int64_t step, int round, std::int64_t first_index, int count) {
      auto items = plain_items(step, round, first_index, count);
      for (const auto& item : items) asked_.insert({step, item.index});
      return items;
    };
  }
  StandingNote standing(const Worker& worker) const {
    return {worker.version, worker.batch - worker.load, worker.taken};
  }
  void tell(int rank) { dispenser_.standing(rank, standing(workers_[static_cast<std::size_t>(rank)])); }
  void give(const Dispenser::Assignment& assignment) {
    Worker& worker = workers_[static_cast<std::size_t>(assignment.rank)];
    worker.items.push_back(assignment.item);
    worker.load += 4;
    ++worker.taken;
    given_.push_back(assignment.item);
    oldest_ = std::max(oldest_, assignment.item.step - 1 - worker.version);
  }
  void generate(int rank) {
    Worker& worker = workers_[static_cast<std::size_t>(rank)];
    if (random_.below(4) == 0 && worker.version < version_) {  // new weights in between
      worker.version = version_;
      tell(rank);
    }
    if (worker.items.empty() || random_.below(static_cast<std::size_t>(rank) + 1) > 0)
      return;  // higher ranks are slower
    const std::size_t at = random_.below(worker.items.size());
    const ItemNote item = worker.items[at];
    worker.items.erase(worker.items.begin() + static_cast<std::ptrdiff_t>(at));
    worker.load -= 4;
    ungraded_.push_back(item);
    dispenser_.finished(rank, {item.step, 1, standing(worker)}, 0);
  }
  void grade() {
    if (ungraded_.empty()) return;
    const ItemNote item = ungraded_.back();
    ungraded_.pop_back();
    dispenser_.graded({item.step, random_.below(3) > 0});
  }
  void learn() {
    if (closed_.count(version_ + 1) == 0 || random_.below(5) > 0) return;
    ++version_;
  }

  RandomStream random_;
  int staleness_;
  std::set<std::pair<std::int64_t, std::int64_t>> asked_;  // before the dispenser, which fills it
  Dispenser dispenser_;
  std::vector<Worker> workers_;
  std::vector<ItemNote> given_, ungraded_;
  std::map<std::int64_t, std::int64_t> closed_;
  std::int64_t version_ = 0, oldest_ = 0;
};

TEST(Dispenser, RunsOfAnySpeedsTrainEveryItemOnceAndWithinTheBound) {
  for (int staleness = 0; staleness <= 2; ++staleness) {
    std::int64_t oldest = 0;
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
      SCOPED_TRACE(seed);
      Simulation simulation(seed, 1 + static_cast<int>(seed % 4), staleness, static_cast<int>(seed % 3));
      simulation.run();
      oldest = std::max(oldest, simulation.oldest());
    }
    EXPECT_EQ(oldest, staleness);  // the bound is used
  }
}

}  // namespace
}  // namespace setrl::roles
