#include "roles/dispenser.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"

namespace setrl::roles {

Dispenser::Dispenser(Plan plan, Items items)
    : plan_(std::move(plan)), items_(std::move(items)), next_step_(plan_.first_step) {
  for (const int rank : plan_.rollout_ranks) ranks_[rank];
}

std::int64_t Dispenser::Rank::credit() const {
  return standing.room - std::accumulate(underway.begin(), underway.end(), std::int64_t{0});
}

void Dispenser::standing(int rank, const StandingNote& note) {
  Rank& known = ranks_.at(rank);
  SETRL_CHECK(note.taken >= known.standing.taken && note.taken <= known.given && note.version >= known.standing.version,
              "rollout rank {} took {} of {} items and holds version {}, after {} and {}", rank, note.taken,
              known.given, note.version, known.standing.taken, known.standing.version);
  known.underway.erase(known.underway.begin(),
                       known.underway.end() - static_cast<std::ptrdiff_t>(known.given - note.taken));
  known.standing = note;
  newest_version_ = std::max(newest_version_, note.version);
}

void Dispenser::finished(int rank, const FinishedNote& note, double now_s) {
  standing(rank, note.standing);
  const std::int64_t samples = note.step > 0 ? plan_.samples : evaluation_samples_;
  ranks_.at(rank).load -= samples;
  load_ -= samples;
  if (note.step == 0) return;
  Step& step = steps_.at(note.step);
  ++step.finished;
  step.last_finish[rank] = now_s;
  step.last_rank = rank;
  step.last_longest = note.longest;
  end_round(note.step);
}

void Dispenser::graded(const GradedNote& note) {
  Step& step = steps_.at(note.step);
  ++step.graded;
  if (!note.signal) ++step.without_signal;
  end_round(note.step);
}

// A group's verifier may be heard of before its rollout rank: the round is over when both have been.
void Dispenser::end_round(std::int64_t number) {
  Step& step = steps_.at(number);
  if (step.graded < step.round_groups || step.finished < step.round_groups) return;
  if (step.round < plan_.replacement_rounds && step.without_signal > 0) {
    ++step.round;
    open_round(number, step, static_cast<int>(step.without_signal));
    return;
  }
  close(number, step);
  steps_.erase(number);
}

void Dispenser::close(std::int64_t number, const Step& step) {
  ClosedNote note;
  note.step = number;
  note.groups = step.groups;
  note.straggler = {step.last_rank, 0, step.last_longest};
  double others = -1;
  for (const auto& [rank, when] : step.last_finish) {
    if (rank != step.last_rank) others = std::max(others, when);
  }
  if (others >= 0) note.straggler.lag_s = step.last_finish.at(step.last_rank) - others;
  closed_.push_back(note);
}

void Dispenser::open_evaluation(std::int64_t version, std::vector<WorkItem> items, int samples) {
  SETRL_CHECK(evaluation_.empty(), "an evaluation is opened while {} items of another one wait", evaluation_.size());
  evaluation_.assign(items.begin(), items.end());
  evaluation_version_ = version;
  evaluation_samples_ = samples;
}

void Dispenser::open_round(std::int64_t number, Step& step, int count) {
  step.items = items_(number, step.round, step.groups, count);
  SETRL_CHECK(!step.items.empty(), "step {} has no problems", number);
  step.next = 0;
  step.round_groups = static_cast<std::int64_t>(step.items.size());
  step.groups += step.round_groups;
  step.items.erase(
      std::remove_if(step.items.begin(), step.items.end(), [](const WorkItem& item) { return item.generated; }),
      step.items.end());
  step.finished = step.round_groups - static_cast<std::int64_t>(step.items.size());
  step.graded = step.without_signal = 0;
}

void Dispenser::open_steps() {
  for (; next_step_ <= std::min(plan_.last_step, newest_version_ + 1 + plan_.max_staleness); ++next_step_) {
    open_round(next_step_, steps_[next_step_], plan_.prompts_per_step);
  }
}

std::int64_t Dispenser::open_for(std::int64_t version) const {
  std::int64_t count = 0;
  for (const auto& [number, step] : steps_) {
    if (number > version + 1 + plan_.max_staleness) break;
    count += static_cast<std::int64_t>(step.items.size() - step.next) * plan_.samples;
  }
  if (version == evaluation_version_) count += static_cast<std::int64_t>(evaluation_.size()) * evaluation_samples_;
  return count;
}

bool Dispenser::may_have(const Rank& rank) const {
  if (rank.credit() <= 0) return false;
  const std::int64_t open = open_for(rank.standing.version);
  if (open == 0) return false;
  const auto ranks = static_cast<std::int64_t>(ranks_.size());
  return rank.load < (open + load_ + ranks - 1) / ranks;
}

std::optional<ItemNote> Dispenser::take_item(std::int64_t version) {
  if (version == evaluation_version_ && !evaluation_.empty()) {
    const WorkItem item = evaluation_.front();
    evaluation_.pop_front();
    return ItemNote{0, item.index, item.problem};
  }
  for (auto& [number, step] : steps_) {
    if (number > version + 1 + plan_.max_staleness) break;
    if (step.next == step.items.size()) continue;
    const WorkItem& item = step.items[step.next++];
    return ItemNote{number, item.index, item.problem};
  }
  return std::nullopt;
}

std::vector<Dispenser::Assignment> Dispenser::assign() {
  open_steps();
  std::vector<Assignment> assignments;
  for (;;) {
    std::pair<const int, Rank>* chosen = nullptr;
    for (auto& entry : ranks_) {
      if ((chosen == nullptr || entry.second.load < chosen->second.load) && may_have(entry.second)) chosen = &entry;
    }
    if (chosen == nullptr) return assignments;
    auto& [number, rank] = *chosen;
    const auto item = take_item(rank.standing.version);
    SETRL_CHECK(item.has_value(), "rollout rank {} may have an item, but there is none", number);
    const std::int64_t samples = item->step > 0 ? plan_.samples : evaluation_samples_;
    ++rank.given;
    rank.underway.push_back(samples);
    rank.load += samples;
    load_ += samples;
    assignments.push_back({number, *item});
  }
}

std::vector<ClosedNote> Dispenser::take_closed() {
  return std::exchange(closed_, {});
}

}  // namespace setrl::roles
