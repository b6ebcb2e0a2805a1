#include "roles/in_flight.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace setrl::roles {

namespace {

std::int64_t new_tokens(const Group& group) {
  return group.token_count() - static_cast<std::int64_t>(group.prompt.tokens.size());
}

template <typename Predicate>
bool all_completions(const Group& group, const Predicate& predicate) {
  return std::all_of(group.completions.begin(), group.completions.end(), predicate);
}

}  // namespace

Stage stage_of(const Group& group) {
  if (!group.verdicts.empty()) return Stage::graded;
  const bool whole =
      all_completions(group, [](const Completion& each) { return each.finish != FinishReason::unfinished; });
  return whole ? Stage::generated : Stage::begun;
}

std::string describe_in_flight(const std::vector<Group>& groups) {
  std::array<int, 3> counts{};
  std::int64_t tokens = 0;
  for (const auto& group : groups) {
    ++counts[static_cast<std::size_t>(stage_of(group))];
    tokens += new_tokens(group);
  }
  return fmt::format("{} graded, {} generated, {} begun, {} tokens of completions", counts[2], counts[1], counts[0],
                     tokens);
}

void InFlightCut::add(const Group& group) {
  const bool fits = group.step > step_ &&
                    all_completions(group, [&](const Completion& each) { return each.newest_version <= step_; });
  if (!fits) return;
  const auto progress = [](const Group& each) { return std::make_pair(stage_of(each), new_tokens(each)); };
  const auto [found, is_new] = groups_.try_emplace({group.step, group.index}, group);
  if (!is_new && progress(found->second) < progress(group)) found->second = group;
}

std::vector<Group> InFlightCut::take() {
  std::vector<Group> taken;
  for (auto& [place, group] : groups_) taken.push_back(std::move(group));
  groups_.clear();
  return taken;
}

std::vector<Group> usable_groups(std::vector<Group> groups, const ContinuationBounds& bounds) {
  const auto fits = [&](const Group& group) {
    const std::int64_t oldest = group.step - 1 - bounds.max_staleness;
    return group.step > bounds.done && group.step <= bounds.last_step &&
           static_cast<int>(group.completions.size()) == bounds.samples &&
           all_completions(group, [&](const Completion& each) {
             return each.oldest_version >= oldest && each.newest_version <= bounds.done;
           });
  };
  groups.erase(std::remove_if(groups.begin(), groups.end(), [&](const Group& group) { return !fits(group); }),
               groups.end());
  return groups;
}

RestoredGroups::RestoredGroups(std::vector<Group> groups) {
  for (auto& group : groups) groups_.insert_or_assign({group.step, group.index}, std::move(group));
}

const Group* RestoredGroups::find(std::int64_t step, std::int64_t index) const {
  const auto found = groups_.find({step, index});
  return found == groups_.end() ? nullptr : &found->second;
}

std::optional<Group> RestoredGroups::take(std::int64_t step, std::int64_t index) {
  auto node = groups_.extract({step, index});
  if (node.empty()) return std::nullopt;
  return std::move(node.mapped());
}

void RestoredGroups::drop_until(std::int64_t step) {
  groups_.erase(groups_.begin(), groups_.lower_bound({step + 1, 0}));
}

}  // namespace setrl::roles
