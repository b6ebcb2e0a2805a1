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

WorkOrder training_order(const Session& session, std::int64_t step, int round, std::int64_t first_index, int count) {
  const RunConfig& config = session.config;
  WorkOrder order;
  order.step = step;
  order.samples = config.rollout.group_size;
  order.temperature = config.rollout.temperature;
  // The step is part of the sampler's seed: a problem met again in a later epoch is answered anew.
  order.seed = derived_seed(config.run.seed, "train", step);
  const std::uint64_t stream_seed = round == 0 ? config.run.seed : derived_seed(config.run.seed, "replacement", round);
  const auto problems = tasks::step_problems(stream_seed, session.task->size("train"), step, count);
  for (std::size_t i = 0; i < problems.size(); ++i) {
    order.items.push_back({first_index + static_cast<std::int64_t>(i), problems[i]});
  }
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
  const std::int64_t count = std::min(config.eval.problems, session.task->size(order.split));
  for (std::int64_t i = 0; i < count; ++i) order.items.push_back({i, i});
  return order;
}

std::int64_t items_of(const WorkOrder& order, const std::vector<int>& ranks, int rank) {
  return std::count_if(order.items.begin(), order.items.end(),
                       [&](const WorkItem& item) { return owner(ranks, item.index) == rank; });
}

}  // namespace setrl::roles
