#include "topology/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"

namespace setrl::topology {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TopologySection counts(int learner, int rollout, int verifier) {
  TopologySection section;
  section.learner = learner;
  section.rollout = rollout;
  section.verifier = verifier;
  return section;
}

std::string error_of(const TopologySection& section, int ranks, int tensor_parallel = 1) {
  try {
    make_plan(section, ranks, tensor_parallel);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

// What holds for every plan.
void check_consistent(const Plan& plan, int ranks) {
  ASSERT_EQ(plan.ranks.size(), static_cast<std::size_t>(ranks));
  std::vector<int> learners, rollouts, verifiers;
  for (int r = 0; r < ranks; ++r) {
    const RankPlan& roles = plan.ranks[static_cast<std::size_t>(r)];
    EXPECT_TRUE(roles.learner || roles.rollout || roles.verifier) << "rank " << r << " idles";
    if (roles.learner) learners.push_back(r);
    if (roles.rollout) rollouts.push_back(r);
    if (roles.verifier) verifiers.push_back(r);
  }
  EXPECT_EQ(plan.learner_ranks, learners);
  EXPECT_EQ(plan.rollout_ranks, rollouts);
  EXPECT_EQ(plan.verifier_ranks, verifiers);
  ASSERT_FALSE(learners.empty() || rollouts.empty() || verifiers.empty());
  // Learners first, then rollouts, then verifiers, each without a gap.
  EXPECT_EQ(learners.front(), 0);
  EXPECT_EQ(verifiers.back(), ranks - 1);
  EXPECT_EQ(rollouts.back() - rollouts.front() + 1, static_cast<int>(rollouts.size()));
}

TEST(Plan, OfOneRankIsColocated) {
  for (const auto& section : {counts(0, 0, 0), counts(1, 1, 1), counts(1, 0, 0)}) {
    const Plan plan = make_plan(section, 1);
    check_consistent(plan, 1);
    EXPECT_EQ(plan.ranks[0].role_name(), "colocated");
  }
}

TEST(Plan, OfTwoRanksSharesTheSecond) {
  const Plan plan = make_plan(counts(0, 0, 0), 2);
  check_consistent(plan, 2);
  EXPECT_EQ(plan.ranks[0].role_name(), "learner");
  EXPECT_EQ(plan.ranks[1].role_name(), "rollout+verifier");
}

TEST(Plan, ChoosesForUpTo4096Ranks) {
  for (int ranks = 3; ranks <= 4096; ranks += ranks < 64 ? 1 : 127) {
    const Plan plan = make_plan(counts(0, 0, 0), ranks);
    check_consistent(plan, ranks);
    EXPECT_EQ(plan.verifier_ranks.size(), 1u);
    const auto extra = static_cast<int>(plan.rollout_ranks.size()) - static_cast<int>(plan.learner_ranks.size());
    EXPECT_TRUE(extra == 0 || extra == 1) << ranks;
  }
}

TEST(Plan, OfFiveRanksIsTwoOneTwo) {
  const Plan plan = make_plan(counts(0, 0, 0), 5);
  EXPECT_EQ(plan.learner_ranks, (std::vector<int>{0, 1}));
  EXPECT_EQ(plan.rollout_ranks, (std::vector<int>{2, 3}));
  EXPECT_EQ(plan.verifier_ranks, (std::vector<int>{4}));
}

// Every combination of given counts either gives exactly them or an error, for every number of ranks.
TEST(Plan, ObeysGivenCountsOrRefuses) {
  int made = 0, refused = 0;
  for (int ranks = 1; ranks <= 64; ++ranks) {
    for (const int learner : {0, 1, 2, 5, 40}) {
      for (const int rollout : {0, 1, 3, 30}) {
        for (const int verifier : {0, 1, 4}) {
          const auto section = counts(learner, rollout, verifier);
          const bool all_given = learner > 0 && rollout > 0 && verifier > 0;
          try {
            const Plan plan = make_plan(section, ranks);
            check_consistent(plan, ranks);
            EXPECT_TRUE(learner == 0 || static_cast<int>(plan.learner_ranks.size()) == learner);
            EXPECT_TRUE(rollout == 0 || static_cast<int>(plan.rollout_ranks.size()) == rollout);
            EXPECT_TRUE(verifier == 0 || static_cast<int>(plan.verifier_ranks.size()) == verifier);
            ++made;
          } catch (const UserError& error) {
            ++refused;
            // Refused only where it cannot be: too few ranks, or all counts given with another sum.
            const int needed = std::max(learner, 1) + std::max(rollout, 1) + std::max(verifier, 1);
            EXPECT_TRUE(ranks < needed || (all_given && ranks != needed)) << ranks << ": " << error.what();
          }
        }
      }
    }
  }
  EXPECT_GT(made, 500);
  EXPECT_GT(refused, 500);
}

TEST(Plan, ErrorsSayWhatToStart) {
  EXPECT_THAT(error_of(counts(2, 3, 1), 4),
              AllOf(HasSubstr("topology.learner = 2"), HasSubstr("topology.rollout = 3"), HasSubstr("4 ranks"),
                    HasSubstr("start exactly 6 ranks (mpirun -n 6: 2 learner, 3 rollout, 1 verifier)")));
  EXPECT_THAT(error_of(counts(2, 3, 1), 9), HasSubstr("start exactly 6 ranks"));
  EXPECT_THAT(error_of(counts(4, 0, 0), 3),
              AllOf(HasSubstr("topology.rollout = 0 (chosen)"),
                    HasSubstr("start at least 6 ranks (mpirun -n 6: 4 learner, 1 rollout, 1 verifier)")));
  EXPECT_THAT(error_of(counts(1, 1, 1), 2), HasSubstr("start exactly 3 ranks"));
  EXPECT_THAT(error_of(counts(2, 0, 0), 1), AllOf(HasSubstr("1 rank that was started"), HasSubstr("at least 4 ranks")));
  EXPECT_THAT(error_of(counts(-1, 0, 0), 3), HasSubstr("topology.learner = -1"));
}

TEST(Replicas, AreConsecutiveRolloutRanks) {
  const Plan plan = make_plan(counts(2, 6, 1), 9, 3);
  check_consistent(plan, 9);
  EXPECT_EQ(plan.replicas(), 2);
  EXPECT_EQ(plan.leads(), (std::vector<int>{2, 5}));
  EXPECT_EQ(plan.followers_of(5), (std::vector<int>{6, 7}));
  EXPECT_TRUE(plan.followers_of(3).empty());
  EXPECT_TRUE(plan.followers_of(8).empty());
  for (int rank = 0; rank < 9; ++rank) {
    const Plan::Part part = plan.part_of(rank);
    EXPECT_EQ(part.replica, rank < 2 || rank > 7 ? -1 : (rank - 2) / 3) << rank;
    EXPECT_EQ(part.part, part.replica < 0 ? 0 : (rank - 2) % 3) << rank;
    EXPECT_EQ(plan.follows(rank), part.part > 0) << rank;
  }
  const Plan whole = make_plan(counts(2, 6, 1), 9);
  EXPECT_EQ(whole.leads(), whole.rollout_ranks);
  EXPECT_TRUE(whole.followers_of(2).empty());
}

// Every number of ranks that leaves a learner and a verifier beside one replica does.
TEST(Replicas, AreWholeWhereTheCountsAreChosen) {
  for (const int parts : {2, 3, 4, 8}) {
    for (int ranks = 1; ranks <= 100; ++ranks) {
      for (const int learner : {0, 2}) {
        SCOPED_TRACE(fmt::format("{} ranks, {} learners, replicas of {}", ranks, learner, parts));
        const int least = parts + 1 + std::max(learner, 1);
        if (ranks < least) {
          EXPECT_THAT(error_of(counts(learner, 0, 0), ranks, parts),
                      AllOf(HasSubstr(fmt::format("with rollout.tensor_parallel = {} do not fit", parts)),
                            HasSubstr(fmt::format("start at least {} ranks", least))));
          continue;
        }
        const Plan plan = make_plan(counts(learner, 0, 0), ranks, parts);
        check_consistent(plan, ranks);
        EXPECT_EQ(static_cast<int>(plan.rollout_ranks.size()), plan.replicas() * parts);
        if (learner > 0) {
          EXPECT_EQ(static_cast<int>(plan.learner_ranks.size()), learner);
        }
      }
    }
  }
}

TEST(Replicas, OfGivenCountsThatDoNotDivideAreRefused) {
  const auto refusal = HasSubstr("3 rollout ranks are no multiple of rollout.tensor_parallel = 2");
  EXPECT_THAT(error_of(counts(1, 3, 1), 5, 2), refusal);
  EXPECT_THAT(error_of(counts(2, 0, 1), 6, 2), refusal);
  EXPECT_THROW(plan_of(std::vector<RankPlan>(3, {true, true, false}), 2), UserError);
  EXPECT_EQ(plan_of(std::vector<RankPlan>(4, {true, true, false}), 2).replicas(), 2);
  EXPECT_EQ(plan_of(std::vector<RankPlan>(3, {false, false, true}), 2).replicas(), 0);
}

TEST(Plan, DescribesItself) {
  EXPECT_EQ(describe(make_plan(counts(2, 4, 1), 7, 2)),
            "7 ranks\n"
            "  learner        2  ranks 0-1\n"
            "  rollout        4  ranks 2-5: 2 replicas of 2 ranks\n"
            "  verifier       1  rank  6\n");
  EXPECT_EQ(describe(make_plan(counts(2, 3, 1), 6)),
            "6 ranks\n"
            "  learner        2  ranks 0-1\n"
            "  rollout        3  ranks 2-4\n"
            "  verifier       1  rank  5\n");
  EXPECT_EQ(describe(make_plan(counts(0, 0, 0), 1)),
            "1 rank (roles work in turn in one process)\n"
            "  learner        1  rank  0\n"
            "  rollout        1  rank  0\n"
            "  verifier       1  rank  0\n");
}

TEST(RankPlan, NamesCombinations) {
  EXPECT_EQ((RankPlan{true, false, true}.role_name()), "rollout+learner");
  EXPECT_EQ((RankPlan{false, true, false}.role_name()), "verifier");
  EXPECT_EQ((RankPlan{}.role_name()), "idle");
}

}  // namespace
}  // namespace setrl::topology
