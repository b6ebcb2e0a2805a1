#include "roles/verifier_role.h"

#include <algorithm>

#include "base/clock.h"

namespace setrl::roles {

VerifierRole::VerifierRole(const Session& session) : session_(session), verifier_(session.config) {
  if (session.single_answer_task) {
    single_verifier_ = std::make_unique<verify::Verifier>(evaluation_config(session.config));
  }
}

Group VerifierRole::grade(const verify::Verifier& verifier, StepReport& report) {
  Group group = receive_group(session_.world, kGenerated);
  const Stopwatch clock;
  std::vector<verify::CompletionText> texts;
  for (const auto& completion : group.completions) {
    texts.push_back({session_.policy.text_of(completion.tokens), completion.finish == FinishReason::end_of_turn,
                     static_cast<std::int64_t>(completion.tokens.size())});
  }
  group.verdicts = verifier.verify_all(group.problem, texts);
  report.verify_s += clock.seconds();
  return group;
}

void VerifierRole::verify_training(const WorkOrder& order, StepReport& report) {
  const std::int64_t expected = items_of(order, session_.plan.verifier_ranks, session_.world.rank());
  for (std::int64_t i = 0; i < expected; ++i) {
    Group group = grade(verifier_, report);
    send_group(session_.world, owner(session_.plan.learner_ranks, group.index), kVerified, group);
    send_group(session_.world, 0, kSummary, summary_of(group));
    if (session_.config.store.trajectories) finished_.push_back(std::move(group));
  }
}

void VerifierRole::verify_evaluation(const WorkOrder& order, StepReport& report) {
  const std::int64_t expected = items_of(order, session_.plan.verifier_ranks, session_.world.rank());
  for (std::int64_t i = 0; i < expected; ++i) {
    send_group(session_.world, 0, kVerified, grade(single_verifier_ ? *single_verifier_ : verifier_, report));
  }
}

void VerifierRole::write_trajectory(std::int64_t step, std::int64_t policy_version, StepReport& report) {
  if (finished_.empty()) return;
  const Stopwatch clock;
  const auto& ranks = session_.plan.verifier_ranks;
  const auto part = std::find(ranks.begin(), ranks.end(), session_.world.rank()) - ranks.begin();
  store::TrajectoryInfo info;
  info.step = step;
  info.policy_version = policy_version;
  info.config_hash = session_.config_hash;
  const std::string path = store::trajectory_path(session_.config.run.dir, step, static_cast<int>(part));
  const Policy& policy = session_.policy;
  session_.store->post([path, info, &policy, groups = std::move(finished_)] {
    store::TrajectoryWriter writer(path, info);
    for (const auto& group : groups) {
      std::vector<std::string> texts;
      for (const auto& completion : group.completions) texts.push_back(policy.text_of(completion.tokens));
      writer.append(group, texts);
    }
    writer.publish();
  });
  finished_.clear();
  report.trajectory_s += clock.seconds();
}

}  // namespace setrl::roles
