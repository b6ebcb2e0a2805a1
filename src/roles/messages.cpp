#include "roles/messages.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace setrl::roles {

namespace {

constexpr int kReport = 14;  // tag; StepReport: every rank -> root

}  // namespace

Group summary_of(const Group& group) {
  Group summary = group;
  summary.problem.messages.clear();
  summary.problem.payload.clear();
  summary.prompt.tokens.clear();
  for (auto& completion : summary.completions) completion.logprobs.clear();
  for (auto& verdict : summary.verdicts) verdict.answers.think.clear();
  return summary;
}

std::vector<StepReport> gather_reports(comm::Communicator& world, const StepReport& mine) {
  if (world.rank() != 0) {
    std::vector<std::uint8_t> bytes(sizeof mine);
    std::memcpy(bytes.data(), &mine, sizeof mine);
    world.send(0, kReport, std::move(bytes));
    return {};
  }
  std::vector<StepReport> reports = {mine};
  for (int rank = 1; rank < world.size(); ++rank) {
    const auto envelope = world.receive(rank, kReport);
    StepReport report;
    SETRL_CHECK(envelope.bytes.size() == sizeof report, "rank {} sent a report of {} bytes", rank,
                envelope.bytes.size());
    std::memcpy(&report, envelope.bytes.data(), sizeof report);
    reports.push_back(report);
  }
  return reports;
}

StepReport merged(const std::vector<StepReport>& reports) {
  StepReport all;
  double rollout_ranks = 0;
  for (const auto& report : reports) {
    all.rollout_s = std::max(all.rollout_s, report.rollout_s);
    all.verify_s = std::max(all.verify_s, report.verify_s);
    all.learn_s = std::max(all.learn_s, report.learn_s);
    all.sync_s = std::max(all.sync_s, report.sync_s);
    all.trajectory_s = std::max(all.trajectory_s, report.trajectory_s);
    all.checkpoint_s = std::max(all.checkpoint_s, report.checkpoint_s);
    all.new_tokens += report.new_tokens;
    all.peak_rss_bytes = std::max(all.peak_rss_bytes, report.peak_rss_bytes);
    if (!report.rollout_rank) continue;
    all.rollout_rank = true;
    all.window_s += report.window_s;
    all.idle_s += report.idle_s;
    rollout_ranks += 1;
  }
  if (all.rollout_rank) {
    all.window_s /= rollout_ranks;
    all.idle_s /= rollout_ranks;
  }
  return all;
}

}  // namespace setrl::roles
