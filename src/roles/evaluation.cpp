#include "roles/evaluation.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "roles/work_list.h"
#include "store/trajectory_file.h"

namespace setrl::roles {

std::vector<Group> evaluate_policy(const Session& session, RolloutRole* rollout, VerifierRole* verifier) {
  const WorkOrder order = evaluation_order(session);
  StepReport report;
  if (rollout != nullptr) rollout->generate(order, report);
  if (verifier != nullptr) verifier->verify_evaluation(order, report);
  std::vector<Group> groups;
  if (!session.is_root()) return groups;
  for (std::size_t i = 0; i < order.items.size(); ++i) groups.push_back(receive_group(session.world, kVerified));
  std::sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) { return a.index < b.index; });
  return groups;
}

Intervals intervals_of(const Session& session, const std::vector<Group>& groups) {
  return evaluate::metrics_with_intervals(groups, session.config.task.k, session.config.eval.bootstrap,
                                          session.config.run.seed);
}

void write_evaluation(const Session& session, const std::string& folder, const std::string& name, std::int64_t step,
                      const std::vector<Group>& groups, const Intervals& intervals) {
  const std::string path = folder + "/" + name;
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  {
    std::ofstream file(path + ".json.tmp");
    file << evaluate::to_json({session.config.task.name, session.config.eval.split, session.config.model.path}, groups,
                              intervals)
         << "\n";
    if (!file.flush()) throw_user_error("cannot write '{}.json': is the disk full or the folder read-only?", path);
  }
  std::filesystem::rename(path + ".json.tmp", path + ".json");

  session.store->call([&] {
    store::TrajectoryInfo info;
    info.step = step;
    info.config_hash = session.config_hash;
    store::TrajectoryWriter writer(path + ".h5", info);
    for (const auto& group : groups) {
      std::vector<std::string> texts;
      for (const auto& completion : group.completions) texts.push_back(session.policy.text_of(completion.tokens));
      writer.append(group, texts);
    }
    writer.publish();
  });
}

}  // namespace setrl::roles
