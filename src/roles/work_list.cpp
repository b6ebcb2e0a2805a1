#include "roles/work_list.h"

#include <algorithm>

#include "base/error.h"
#include "base/random.h"
#include "tasks/problem_stream.h"

namespace setrl::roles {

namespace {

// A seed for one purpose, derived from the run's.
std::uint64_t derived_seed(std::uint64_t seed, const std::string& purpose, std::int64_t number) {
  return stable_hash(fmt::format("{}/{}/{}", seed, purpose, number));
}

}  // namespace

WorkOrder training_order(const Session& session, std::int64_t step) {
  const RunConfig& config = session.config;
  WorkOrder order;
  order.samples = config.rollout.group_size;
  order.temperature = config.rollout.temperature;
  // The step is part of the sampler's seed: a problem met again in a later epoch is answered anew.
  order.seed = derived_seed(config.run.seed, "train", step);
  return order;
}

WorkOrder evaluation_order(const Session& session) {
  const RunConfig& config = session.config;
  WorkOrder order;
  order.evaluation = true;
  order.split = config.eval.split;
  order.samples = config.eval.samples;
  order.temperature = config.eval.temperature;
  order.seed = derived_seed(config.run.seed, "evaluation", 0);
  return order;
}

std::vector<WorkItem> training_items(const Session& session, std::int64_t step, int round, std::int64_t first_index,
                                     int count) {
  const std::uint64_t seed = session.config.run.seed;
  const std::uint64_t stream_seed = round == 0 ? seed : derived_seed(seed, "replacement", round);
  const auto problems = tasks::step_problems(stream_seed, session.task->size("train"), step, count);
  std::vector<WorkItem> items;
  for (std::size_t i = 0; i < problems.size(); ++i) {
    items.push_back({first_index + static_cast<std::int64_t>(i), problems[i]});
  }
  return items;
}

std::vector<WorkItem> evaluation_items(const Session& session) {
  const EvalSection& eval = session.config.eval;
  const std::int64_t count = std::min(eval.problems, session.task->size(eval.split));
  std::vector<WorkItem> items;
  for (std::int64_t i = 0; i < count; ++i) items.push_back({i, i});
  return items;
}

std::int64_t items_of(std::int64_t count, const std::vector<int>& ranks, int rank) {
  std::int64_t own = 0;
  for (std::int64_t index = 0; index < count; ++index) own += owner(ranks, index) == rank ? 1 : 0;
  return own;
}

}  // namespace setrl::roles
