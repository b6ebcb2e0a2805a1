#include "roles/verifier_role.h"

#include <algorithm>

#include "base/clock.h"

namespace setrl::roles {

VerifierRole::VerifierRole(const Session& session) : session_(session), verifier_(session.config) {
  if (session.single_answer_task) {
    single_verifier_ = std::make_unique<verify::Verifier>(evaluation_config(session.config));
  }
}

Group VerifierRole::grade(Group group, StepReport& report) {
  const Stopwatch clock;
  const bool evaluation = group.step == 0;
  std::vector<verify::CompletionText> texts;
  for (const auto& completion : group.completions) {
    texts.push_back({session_.policy.text_of(completion.tokens), completion.finish == FinishReason::end_of_turn,
                     static_cast<std::int64_t>(completion.tokens.size())});
  }
  const verify::Verifier& verifier = evaluation && single_verifier_ ? *single_verifier_ : verifier_;
  group.verdicts = verifier.verify_all(group.problem, texts);
  if (!evaluation) report.verify_s += clock.seconds();
  return group;
}

void VerifierRole::keep(Group group) {
  if (session_.config.store.trajectories) kept_[group.step].push_back(std::move(group));
}

void VerifierRole::write_trajectory(std::int64_t step, StepReport& report) {
  auto kept = kept_.extract(step);
  if (kept.empty()) return;
  const Stopwatch clock;
  const auto& ranks = session_.plan.verifier_ranks;
  const auto part = std::find(ranks.begin(), ranks.end(), session_.world.rank()) - ranks.begin();
  store::TrajectoryInfo info;
  info.step = step;
  info.policy_version = step - 1;  // every step makes one version
  info.config_hash = session_.config_hash;
  const std::string path = store::trajectory_path(session_.config.run.dir, step, static_cast<int>(part));
  const Policy& policy = session_.policy;
  session_.store->post([path, info, &policy, groups = std::move(kept.mapped())] {
    store::TrajectoryWriter writer(path, info);
    for (const auto& group : groups) {
      std::vector<std::string> texts;
      for (const auto& completion : group.completions) texts.push_back(policy.text_of(completion.tokens));
      writer.append(group, texts);
    }
    writer.publish();
  });
  report.trajectory_s += clock.seconds();
}

}  // namespace setrl::roles
