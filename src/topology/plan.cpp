#include "topology/plan.h"

#include <algorithm>

#include "base/error.h"

namespace setrl::topology {

namespace {

struct Counts {
  int learner = 0, rollout = 0, verifier = 0;
  int sum() const { return learner + rollout + verifier; }
};

// Counts for 3 ranks or more. What was left open is filled in; the result need not fit (see fits).
Counts fill_in(Counts wanted, int world_size) {
  Counts counts = wanted;
  if (wanted.learner > 0 && wanted.rollout > 0) {
    if (wanted.verifier == 0) counts.verifier = world_size - wanted.learner - wanted.rollout;
    return counts;
  }
  if (wanted.verifier == 0) counts.verifier = 1;
  const int rest = world_size - counts.verifier;
  if (wanted.learner == 0) counts.learner = wanted.rollout > 0 ? rest - wanted.rollout : rest / 2;
  if (wanted.rollout == 0) counts.rollout = rest - counts.learner;
  return counts;
}

bool fits(const Counts& counts, int world_size) {
  return counts.learner > 0 && counts.rollout > 0 && counts.verifier > 0 && counts.sum() == world_size;
}

// One rank has all roles; of two, the second generates and grades. Only counts that say otherwise stand against it.
bool may_share(const Counts& wanted, int world_size) {
  const bool at_most_one = wanted.learner <= 1 && wanted.rollout <= 1 && wanted.verifier <= 1;
  return at_most_one && (world_size == 1 || (world_size == 2 && wanted.sum() < 3));
}

std::string setting(const char* key, int count) {
  return fmt::format("topology.{} = {}", key, count == 0 ? "0 (chosen)" : std::to_string(count));
}

[[noreturn]] void refuse(const Counts& wanted, int world_size) {
  const bool all_given = wanted.learner > 0 && wanted.rollout > 0 && wanted.verifier > 0;
  const int needed = std::max(wanted.learner, 1) + std::max(wanted.rollout, 1) + std::max(wanted.verifier, 1);
  const Counts example = fill_in(wanted, needed);
  throw_user_error(
      "{}, {} and {} do not fit the {} rank{} that {} started: start {} {} ranks (mpirun -n {}: {} learner, {} "
      "rollout, "
      "{} verifier) or change the counts",
      setting("learner", wanted.learner), setting("rollout", wanted.rollout), setting("verifier", wanted.verifier),
      world_size, world_size == 1 ? "" : "s", world_size == 1 ? "was" : "were", all_given ? "exactly" : "at least",
      needed, needed, example.learner, example.rollout, example.verifier);
}

std::string rank_list(const std::vector<int>& ranks) {
  if (ranks.empty()) return "none";
  std::string text;
  for (std::size_t i = 0; i < ranks.size();) {
    std::size_t last = i;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", ranks[i]);
    if (last > i) text += fmt::format("-{}", ranks[last]);
    i = last + 1;
  }
  return text;
}

}  // namespace

std::string RankPlan::role_name() const {
  if (rollout && verifier && learner) return "colocated";
  std::string name;
  const auto add = [&name](bool has, const char* role) {
    if (has) name += (name.empty() ? "" : "+") + std::string(role);
  };
  add(rollout, "rollout");
  add(verifier, "verifier");
  add(learner, "learner");
  return name.empty() ? "idle" : name;
}

Plan make_plan(const TopologySection& topology, int world_size) {
  SETRL_CHECK(world_size >= 1, "a world of {} ranks", world_size);
  const Counts wanted{topology.learner, topology.rollout, topology.verifier};
  if (wanted.learner < 0 || wanted.rollout < 0 || wanted.verifier < 0) {
    throw_user_error("{}, {}, {}: a count is 0 (chosen) or more", setting("learner", wanted.learner),
                     setting("rollout", wanted.rollout), setting("verifier", wanted.verifier));
  }
  Plan plan;
  plan.ranks.resize(static_cast<std::size_t>(world_size));
  if (may_share(wanted, world_size)) {
    plan.ranks.front().learner = true;
    plan.ranks.back().rollout = true;
    plan.ranks.back().verifier = true;
  } else {
    const Counts counts = fill_in(wanted, world_size);
    if (world_size < 3 || !fits(counts, world_size)) refuse(wanted, world_size);
    for (int rank = 0; rank < world_size; ++rank) {
      RankPlan& roles = plan.ranks[static_cast<std::size_t>(rank)];
      roles.learner = rank < counts.learner;
      roles.rollout = !roles.learner && rank < counts.learner + counts.rollout;
      roles.verifier = !roles.learner && !roles.rollout;
    }
  }
  for (int rank = 0; rank < world_size; ++rank) {
    const RankPlan& roles = plan.ranks[static_cast<std::size_t>(rank)];
    if (roles.learner) plan.learner_ranks.push_back(rank);
    if (roles.rollout) plan.rollout_ranks.push_back(rank);
    if (roles.verifier) plan.verifier_ranks.push_back(rank);
  }
  return plan;
}

std::string describe(const Plan& plan) {
  const auto line = [](const char* role, const std::vector<int>& ranks) {
    return fmt::format("  {:<10}{:>6}  rank{} {}\n", role, ranks.size(), ranks.size() == 1 ? " " : "s",
                       rank_list(ranks));
  };
  return fmt::format("{} rank{}{}\n", plan.ranks.size(), plan.ranks.size() == 1 ? "" : "s",
                     plan.ranks.size() == 1 ? " (roles work in turn in one process)" : "") +
         line("learner", plan.learner_ranks) + line("rollout", plan.rollout_ranks) +
         line("verifier", plan.verifier_ranks);
}

}  // namespace setrl::topology
