#include "roles/evaluation.h"

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "evaluate/aggregate.h"
#include "roles/station.h"
#include "store/trajectory_file.h"

namespace setrl::roles {

std::vector<Group> evaluate_policy(const Session& session, RolloutRole* rollout, VerifierRole* verifier) {
  constexpr std::int64_t kFirst = 1, kNoLast = 0;  // nothing is trained
  Station station(session, rollout, verifier, nullptr, kFirst, kNoLast);
  if (rollout != nullptr) station.tell_standing();
  std::vector<Group> groups;
  if (session.is_root()) {
    groups = station.evaluate(0);
    station.end(false);
  }
  station.work_until([&] { return station.ended(); });  // the root too: it may have followers to tell
  station.close();
  return groups;
}

evaluate::Report report_of(const Session& session, const std::vector<Group>& groups) {
  const RunConfig& config = session.config;
  evaluate::Report report;
  report.task = config.task.name;
  report.split = config.eval.split;
  report.policy = config.model.path;
  report.mode = config.eval.mode;
  report.samples = config.eval.samples;
  report.k = config.eval.mode == "single" ? 1 : config.task.k;
  if (config.eval.mode == "best_of_n") {
    report.groups = evaluate::aggregate(groups, evaluate::Aggregation::best_of_n, report.k);
  } else if (config.eval.mode == "self_consistency") {
    report.groups = evaluate::aggregate(groups, evaluate::Aggregation::self_consistency, report.k);
  } else {
    report.groups = groups;
  }
  evaluate::fill_report(report, config.eval.bootstrap, config.run.seed);
  return report;
}

std::string describe(const evaluate::Report& report) {
  return fmt::format("{} problems of {}/{}, {} completion{} each ({}), 95 % intervals by bootstrap",
                     report.groups.size(), report.task, report.split, report.samples, report.samples == 1 ? "" : "s",
                     report.mode);
}

void write_evaluation(const Session& session, const std::string& folder, const std::string& name, std::int64_t step,
                      const std::vector<Group>& groups, const evaluate::Report& report) {
  const std::string path = folder + "/" + name;
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  {
    std::ofstream file(path + ".json.tmp");
    file << evaluate::to_json(report);
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
