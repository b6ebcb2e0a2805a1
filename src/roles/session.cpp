#include "roles/session.h"

#include "base/error.h"
#include "base/log.h"
#include "base/system.h"
#include "config/options.h"

namespace setrl::roles {

RunConfig evaluation_config(const RunConfig& config) {
  RunConfig result = config;
  if (config.eval.mode != "multi") result.task.k = 1;
  return result;
}

std::unique_ptr<Session> open_session(const RunConfig& config, topology::Plan plan, comm::Communicator& world) {
  log::set_identity(world.size() > 1 ? world.rank() : -1,
                    plan.ranks.at(static_cast<std::size_t>(world.rank())).role_name());
  // In the synchronous mode roles work in turn, so each rank may use all cores that it is allowed to.
  at::set_num_threads(config.run.threads > 0 ? config.run.threads : available_cores());
  auto groups = topology::make_groups(world, plan);
  std::unique_ptr<Session> session(new Session{
      config, world, std::move(plan), std::move(groups), open_policy(config), tasks::make_task(config),
      text::grammar_of(config), config::config_hash(config), nullptr, std::make_unique<store::StoreThread>()});
  if (evaluation_config(config).task.k != config.task.k) {
    session->single_answer_task = tasks::make_task(evaluation_config(config));
  }
  log::info("policy {}", session->policy.weights->describe());
  return session;
}

}  // namespace setrl::roles
