#include "roles/session.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "base/system.h"
#include "comm/device.h"
#include "config/options.h"
#include "model/decoder.h"
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

// Of run.device, agreed among the learner and rollout ranks of the job.
at::Device choose_device(const RunConfig& config, const topology::RankPlan& role, comm::Communicator& world) {
  if (config.run.device == "cpu") return at::kCPU;
  const auto computing = world.split(role.learner || role.rollout ? 0 : -1, "computing");
  if (!computing || (config.run.device == "auto" && !comm::has_devices(*computing))) return at::kCPU;
  return {at::kCUDA, static_cast<c10::DeviceIndex>(comm::select_device(*computing))};
}

void use_devices(comm::MpiRuntime& runtime, topology::Groups& groups) {
  for (auto* group : {&groups.learners, &groups.push, &groups.replica}) {
    if (*group) *group = comm::make_device_communicator(runtime, std::move(*group));
  }
}

}  // namespace

int Session::max_staleness() const {
  return staleness(config, plan);
}

std::unique_ptr<Session> open_session(const RunConfig& config, topology::Plan plan, comm::MpiRuntime& runtime) {
  comm::Communicator& world = runtime.world();
  const auto& role = plan.ranks.at(static_cast<std::size_t>(world.rank()));
  log::set_identity(world.size() > 1 ? world.rank() : -1, role.role_name());
  at::set_num_threads(compute_threads(config, plan, world));
  const at::Device device = choose_device(config, role, world);
  auto groups = topology::make_groups(world, plan);
  if (device.is_cuda()) use_devices(runtime, groups);
  Policy policy = open_policy(config);
  // On every rank, so that all refuse alike before anything is done.
  rollout::TensorShard::check(policy.weights->spec(), plan.tensor_parallel);
  std::unique_ptr<Session> session(
      new Session{config, world, std::move(plan), device, model::choose_dtype(config.model.dtype, device),
                  std::move(groups), std::move(policy), tasks::make_task(config), text::grammar_of(config),
                  config::config_hash(config), nullptr, std::make_unique<store::StoreThread>()});
  if (evaluation_config(config).task.k != config.task.k) {
    session->single_answer_task = tasks::make_task(evaluation_config(config));
  }
  log::info("policy {}", session->policy.weights->describe());
  return session;
}

}  // namespace setrl::roles
