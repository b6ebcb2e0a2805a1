#include "roles/step_metrics.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "evaluate/metrics.h"

namespace setrl::roles {

namespace {

std::int64_t count_failures(const std::vector<Group>& groups) {
  std::int64_t count = 0;
  for (const auto& group : groups) {
    count += std::count_if(group.verdicts.begin(), group.verdicts.end(),
                           [](const Verdict& verdict) { return verdict.outcome == Outcome::infrastructure_failure; });
  }
  return count;
}

}  // namespace

Staleness staleness_of(const StepRecord& record) {
  Staleness result;
  double sum = 0, count = 0;
  for (const auto& group : record.groups) {
    for (const auto& completion : group.completions) {
      const std::int64_t age = record.policy_version - completion.oldest_version;
      result.largest = std::max(result.largest, age);
      sum += static_cast<double>(age);
      count += 1;
    }
  }
  result.mean = count > 0 ? sum / count : 0;
  return result;
}

StepLine describe_step(StepRecord& record, int k) {
  std::sort(record.groups.begin(), record.groups.end(),
            [](const Group& a, const Group& b) { return a.index < b.index; });
  const auto metrics = evaluate::metrics(record.groups, k);
  nlohmann::ordered_json line;
  const auto put = [&](const char* key, double value) {
    line[key] = std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
  };
  const auto copy = [&](const char* key) {
    const auto found = metrics.find(key);
    put(key, found == metrics.end() ? NAN : found->second);
  };

  line["step"] = record.step;
  line["policy_version"] = record.policy_version;
  for (const char* key : {"reward_mean", "reward_std", "format_rate", "correct_per_set", "unique_correct", "pass_at_1",
                          "pass_at_k", "brier", "ece", "auroc", "confidence_sum", "tokens_per_completion",
                          "truncated_rate", "groups_without_signal"}) {
    copy(key);
  }
  for (const char* key : {"unique_answers", "coverage", "missed_golds", "tokens_per_unique_correct",
                          "confidence_sum_std", "confidence_sum_bias", "confidence_sum_count_correlation",
                          "confidence_sum_ece", "abstention_rate", "answered_accuracy", "f1"}) {
    copy(key);
  }
  line["infrastructure_failures"] = count_failures(record.groups);
  if (metrics.count("unique_behaviours") > 0) copy("unique_behaviours");  // of programs only
  const auto& stats = record.stats;
  put("loss", stats.loss);
  put("grad_norm", stats.grad_norm);
  put("clip_fraction", stats.clip_fraction);
  put("kl", stats.kl);
  put("entropy", stats.entropy);
  put("logprob_gap_mean", stats.logprob_gap_mean);
  put("logprob_gap_max", stats.logprob_gap_max);
  const Staleness staleness = staleness_of(record);
  put("staleness", static_cast<double>(staleness.largest));
  put("staleness_mean", staleness.mean);
  put("learning_rate", stats.learning_rate);
  line["trained_tokens"] = stats.tokens;
  line["skipped"] = stats.skipped;
  const auto& report = record.report;
  put("rollout_s", report.rollout_s);
  put("verify_s", report.verify_s);
  put("learn_s", report.learn_s);
  put("sync_s", report.sync_s);
  put("trajectory_s", report.trajectory_s);
  put("checkpoint_s", report.checkpoint_s);
  put("step_s", record.step_s);
  put("rollout_tokens_per_s", report.new_tokens / report.rollout_s);
  put("learn_tokens_per_s", static_cast<double>(stats.total_tokens) / report.learn_s);
  line["peak_rss_bytes"] = static_cast<std::int64_t>(report.peak_rss_bytes);
  const bool generated = record.straggler.rank >= 0;
  put("rollout_idle", generated ? report.idle_share() : NAN);
  put("straggler_rank", generated ? record.straggler.rank : NAN);
  put("straggler_lag_s", generated ? record.straggler.lag_s : NAN);
  put("straggler_idle", generated ? record.straggler_idle : NAN);
  put("straggler_tokens", generated ? static_cast<double>(record.straggler.longest) : NAN);

  StepLine result;
  result.json = line.dump();
  result.progress = fmt::format("reward {:.3f}  correct {:.2f}/{}  format {:.0f} %", metrics.at("reward_mean"),
                                metrics.at("correct_per_set"), k, 100 * metrics.at("format_rate"));
  // A replay generates nothing.
  if (report.new_tokens > 0) result.progress += fmt::format("  {:.0f} tok/s", report.new_tokens / record.step_s);
  return result;
}

}  // namespace setrl::roles
