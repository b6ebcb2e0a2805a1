#include "roles/messages.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "records/wire.h"

namespace setrl::roles {

void send_group(comm::Communicator& world, int destination, Tag tag, const Group& group) {
  world.send(destination, tag, encode(group));
}

Group receive_group(comm::Communicator& world, Tag tag) {
  return decode_group(world.receive(comm::kAnySource, tag).bytes);
}

Group summary_of(const Group& group) {
  Group summary = group;
  summary.problem.messages.clear();
  summary.problem.payload.clear();
  summary.prompt.tokens.clear();
  for (auto& completion : summary.completions) completion.logprobs.clear();
  for (auto& verdict : summary.verdicts) verdict.answers.think.clear();
  return summary;
}

StepReport gather_reports(comm::Communicator& world, const StepReport& mine) {
  if (world.rank() != 0) {
    std::vector<std::uint8_t> bytes(sizeof mine);
    std::memcpy(bytes.data(), &mine, sizeof mine);
    world.send(0, kReport, std::move(bytes));
    return mine;
  }
  StepReport all = mine;
  for (int rank = 1; rank < world.size(); ++rank) {
    const auto envelope = world.receive(rank, kReport);
    StepReport report;
    SETRL_CHECK(envelope.bytes.size() == sizeof report, "rank {} sent a report of {} bytes", rank,
                envelope.bytes.size());
    std::memcpy(&report, envelope.bytes.data(), sizeof report);
    all.rollout_s = std::max(all.rollout_s, report.rollout_s);
    all.verify_s = std::max(all.verify_s, report.verify_s);
    all.learn_s = std::max(all.learn_s, report.learn_s);
    all.sync_s = std::max(all.sync_s, report.sync_s);
    all.trajectory_s = std::max(all.trajectory_s, report.trajectory_s);
    all.checkpoint_s = std::max(all.checkpoint_s, report.checkpoint_s);
    all.new_tokens += report.new_tokens;
    all.peak_rss_bytes = std::max(all.peak_rss_bytes, report.peak_rss_bytes);
  }
  return all;
}

}  // namespace setrl::roles
