#include "roles/session.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "base/system.h"
#include "config/options.h"
#include "rollout/tensor_shard.h"

namespace setrl::roles {

RunConfig evaluation_config(const RunConfig& config) {
  RunConfig result = config;
  if (config.eval.mode != "multi") result.task.k = 1;
  return result;
}

namespace {

int staleness(const RunConfig& config, const topology::Plan& plan) {
  const bool apart = std::none_of(plan.ranks.begin(), plan.ranks.end(),
                                  [](const topology::RankPlan& rank) { return rank.rollout && rank.learner; });
  return apart && !plan.rollout_ranks.empty() && !plan.learner_ranks.empty() ? config.rollout.max_staleness : 0;
}

// In the synchronous mode roles work in turn: ranks of different roles on one host may each use all of its cores, ranks
// of the same role share them (twice as many threads as cores take several times as long, as waiting threads spin). In
// the asynchronous one learners and rollout ranks share them.
int compute_threads(const RunConfig& config, const topology::Plan& plan, comm::Communicator& world) {
  if (config.run.threads > 0) return config.run.threads;
  // Ranks that the launcher has bound to different cores do not meet.
  const std::uint64_t mine = stable_hash(fmt::format("{} {}", host_name(), fmt::join(core_numbers(), ",")));
  std::vector<std::uint64_t> places(static_cast<std::size_t>(world.size()));
  world.all_gather(&mine, sizeof mine, places.data());
  const auto& role = plan.ranks.at(static_cast<std::size_t>(world.rank()));
  int learners = 0, rollouts = 0;
  for (std::size_t rank = 0; rank < places.size(); ++rank) {
    if (places[rank] != mine) continue;
    if (plan.ranks[rank].learner) ++learners;
    if (plan.ranks[rank].rollout) ++rollouts;
  }
  int sharing = std::max({1, role.learner ? learners : 0, role.rollout ? rollouts : 0});
  if (staleness(config, plan) > 0 && (role.learner || role.rollout)) sharing = learners + rollouts;
  return std::max(1, available_cores() / sharing);
}

}  // namespace

int Session::max_staleness() const {
  return staleness(config, plan);
}

std::unique_ptr<Session> open_session(const RunConfig& config, topology::Plan plan, comm::Communicator& world) {
  log::set_identity(world.size() > 1 ? world.rank() : -1,
                    plan.ranks.at(static_cast<std::size_t>(world.rank())).role_name());
  at::set_num_threads(compute_threads(config, plan, world));
  auto groups = topology::make_groups(world, plan);
  Policy policy = open_policy(config);
  // On every rank, so that all refuse alike before anything is done.
  rollout::TensorShard::check(policy.weights->spec(), plan.tensor_parallel);
  std::unique_ptr<Session> session(new Session{
      config, world, std::move(plan), std::move(groups), std::move(policy), tasks::make_task(config),
      text::grammar_of(config), config::config_hash(config), nullptr, std::make_unique<store::StoreThread>()});
  if (evaluation_config(config).task.k != config.task.k) {
    session->single_answer_task = tasks::make_task(evaluation_config(config));
  }
  log::info("policy {}", session->policy.weights->describe());
  return session;
}

}  // namespace setrl::roles
