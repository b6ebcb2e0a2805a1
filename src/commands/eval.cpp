#include <filesystem>

#include "base/error.h"
#include "commands/commands.h"
#include "roles/evaluation.h"
#include "roles/session.h"

namespace setrl::commands {

int eval(const config::ParsedCommand& command, comm::MpiRuntime& runtime) {
  comm::Communicator& world = runtime.world();
  // Every rank generates and grades its share.
  const auto plan =
      topology::plan_of(std::vector<topology::RankPlan>(static_cast<std::size_t>(world.size()), {true, true, false}),
                        command.config.rollout.tensor_parallel);
  const std::string& folder = command.config.run.dir;
  if (world.rank() == 0 && std::filesystem::exists(folder + "/eval.json")) {
    throw_user_error("run.dir '{}' holds an eval.json already; give another run.dir", folder);
  }
  const auto session = roles::open_session(command.config, plan, runtime);
  roles::RolloutRole rollout(*session);
  rollout.load_weights();
  roles::VerifierRole verifier(*session);
  const auto groups = roles::evaluate_policy(*session, &rollout, &verifier);
  if (!session->is_root()) return kExitDone;
  const auto report = roles::report_of(*session, groups);
  roles::write_evaluation(*session, folder, "eval", 0, groups, report);
  fmt::print("{}\n{}\nwritten: {}/eval.json, {}/eval.h5\n", roles::describe(report),
             evaluate::table({command.config.model.path}, {report.metrics}), folder, folder);
  return kExitDone;
}

}  // namespace setrl::commands
