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
Counts fill_in(Counts wanted, int world_size, int tensor_parallel) {
  Counts counts = wanted;
  if (wanted.verifier == 0) counts.verifier = 1;
  const int rest = world_size - counts.verifier;
  const auto whole_replicas = [tensor_parallel](int ranks) { return ranks / tensor_parallel * tensor_parallel; };
  if (wanted.rollout == 0 && wanted.learner == 0) {
    counts.rollout = std::max(tensor_parallel, whole_replicas((rest + 1) / 2));
    counts.learner = rest - counts.rollout;
  } else if (wanted.rollout == 0) {
    counts.rollout = rest - wanted.learner;
    if (wanted.verifier == 0) counts.rollout = whole_replicas(counts.rollout);
  } else if (wanted.learner == 0) {
    counts.learner = rest - wanted.rollout;
  }
  if (wanted.verifier == 0) counts.verifier = world_size - counts.learner - counts.rollout;
  return counts;
}

bool fits(const Counts& counts, int world_size) {
  return counts.learner > 0 && counts.rollout > 0 && counts.verifier > 0 && counts.sum() == world_size;
}

// One rank has all roles; of two, the second generates and grades. Only counts that say otherwise stand against it.
bool may_share(const Counts& wanted, int world_size, int tensor_parallel) {
  const bool at_most_one = wanted.learner <= 1 && wanted.rollout <= 1 && wanted.verifier <= 1 && tensor_parallel == 1;
  return at_most_one && (world_size == 1 || (world_size == 2 && wanted.sum() < 3));
}

std::string setting(const char* key, int count) {
  return fmt::format("topology.{} = {}", key, count == 0 ? "0 (chosen)" : std::to_string(count));
}

[[noreturn]] void refuse(const Counts& wanted, int world_size, int tensor_parallel) {
  const bool all_given = wanted.learner > 0 && wanted.rollout > 0 && wanted.verifier > 0;
  const int needed =
      std::max(wanted.learner, 1) + std::max(wanted.rollout, tensor_parallel) + std::max(wanted.verifier, 1);
  const Counts example = fill_in(wanted, needed, tensor_parallel);
  throw_user_error(
      "{}, {} and {}{} do not fit the {} rank{} that {} started: start {} {} ranks (mpirun -n {}: {} learner, {} "
      "rollout, "
      "{} verifier) or change the counts",
      setting("learner", wanted.learner), setting("rollout", wanted.rollout), setting("verifier", wanted.verifier),
      tensor_parallel > 1 ? fmt::format(" with rollout.tensor_parallel = {}", tensor_parallel) : "", world_size,
      world_size == 1 ? "" : "s", world_size == 1 ? "was" : "were", all_given ? "exactly" : "at least", needed, needed,
      example.learner, example.rollout, example.verifier);
}

void check_replicas(int rollout_ranks, int tensor_parallel) {
  if (rollout_ranks % tensor_parallel == 0) return;
  throw_user_error("{} rollout rank{} no multiple of rollout.tensor_parallel = {}: that many hold one model together",
                   rollout_ranks, rollout_ranks == 1 ? " is" : "s are", tensor_parallel);
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

Plan::Part Plan::part_of(int rank) const {
  const auto found = std::lower_bound(rollout_ranks.begin(), rollout_ranks.end(), rank);
  if (found == rollout_ranks.end() || *found != rank) return {};
  const auto place = static_cast<int>(found - rollout_ranks.begin());
  return {place / tensor_parallel, place % tensor_parallel};
}

std::vector<int> Plan::leads() const {
  std::vector<int> result;
  for (int replica = 0; replica < replicas(); ++replica) {
    result.push_back(rollout_ranks[static_cast<std::size_t>(replica * tensor_parallel)]);
  }
  return result;
}

std::vector<int> Plan::followers_of(int rank) const {
  const Part mine = part_of(rank);
  if (mine.replica < 0 || mine.part > 0) return {};
  const auto lead = rollout_ranks.begin() + mine.replica * tensor_parallel;
  return {lead + 1, lead + tensor_parallel};
}

Plan plan_of(std::vector<RankPlan> roles, int tensor_parallel) {
  Plan plan;
  plan.ranks = std::move(roles);
  plan.tensor_parallel = tensor_parallel;
  for (int rank = 0; rank < static_cast<int>(plan.ranks.size()); ++rank) {
    const RankPlan& mine = plan.ranks[static_cast<std::size_t>(rank)];
    if (mine.learner) plan.learner_ranks.push_back(rank);
    if (mine.rollout) plan.rollout_ranks.push_back(rank);
    if (mine.verifier) plan.verifier_ranks.push_back(rank);
  }
  check_replicas(static_cast<int>(plan.rollout_ranks.size()), tensor_parallel);
  return plan;
}

Plan make_plan(const TopologySection& topology, int world_size, int tensor_parallel) {
  SETRL_CHECK(world_size >= 1, "a world of {} ranks", world_size);
  const Counts wanted{topology.learner, topology.rollout, topology.verifier};
  if (wanted.learner < 0 || wanted.rollout < 0 || wanted.verifier < 0) {
    throw_user_error("{}, {}, {}: a count is 0 (chosen) or more", setting("learner", wanted.learner),
                     setting("rollout", wanted.rollout), setting("verifier", wanted.verifier));
  }
  check_replicas(wanted.rollout, tensor_parallel);
  std::vector<RankPlan> ranks(static_cast<std::size_t>(world_size));
  if (may_share(wanted, world_size, tensor_parallel)) {
    ranks.front().learner = true;
    ranks.back().rollout = true;
    ranks.back().verifier = true;
  } else {
    const Counts counts = fill_in(wanted, world_size, tensor_parallel);
    if (world_size < 3 || !fits(counts, world_size)) refuse(wanted, world_size, tensor_parallel);
    for (int rank = 0; rank < world_size; ++rank) {
      RankPlan& roles = ranks[static_cast<std::size_t>(rank)];
      roles.learner = rank < counts.learner;
      roles.rollout = !roles.learner && rank < counts.learner + counts.rollout;
      roles.verifier = !roles.learner && !roles.rollout;
    }
  }
  return plan_of(std::move(ranks), tensor_parallel);
}

std::string describe(const Plan& plan) {
  const auto line = [](const char* role, const std::vector<int>& ranks, const std::string& note = "") {
    return fmt::format("  {:<10}{:>6}  rank{} {}{}\n", role, ranks.size(), ranks.size() == 1 ? " " : "s",
                       rank_list(ranks), note);
  };
  std::string replicas;
  if (plan.tensor_parallel > 1 && plan.replicas() > 0) {
    replicas = fmt::format(": {} replica{} of {} ranks", plan.replicas(), plan.replicas() == 1 ? "" : "s",
                           plan.tensor_parallel);
  }
  return fmt::format("{} rank{}{}\n", plan.ranks.size(), plan.ranks.size() == 1 ? "" : "s",
                     plan.ranks.size() == 1 ? " (roles work in turn in one process)" : "") +
         line("learner", plan.learner_ranks) + line("rollout", plan.rollout_ranks, replicas) +
         line("verifier", plan.verifier_ranks);
}

}  // namespace setrl::topology
