#include "topology/workload.h"

#include <algorithm>
#include <cmath>

namespace setrl::topology {

Workload workload_of(const RunConfig& config) {
  Workload work;
  work.prompts = config.task.prompts_per_step;
  work.group = config.rollout.group_size;
  work.prompt_tokens =
      config.plan.prompt_tokens > 0 ? config.plan.prompt_tokens : static_cast<double>(config.task.max_prompt_tokens);
  work.new_tokens = config.plan.new_tokens > 0 ? config.plan.new_tokens : config.rollout.max_new_tokens;
  work.micro_batch_tokens = config.learn.micro_batch_tokens;
  work.max_batch = config.rollout.max_batch;
  work.kv_cache_bytes = static_cast<double>(config.rollout.kv_cache_bytes);
  work.updates = config.learn.updates_per_batch;
  work.save_every = config.store.every;
  work.bfloat16 = config.model.dtype != "float32";
  work.element_bytes = work.bfloat16 ? 2 : 4;
  work.checkpointing = config.learn.activation_checkpointing == "block";
  work.reference = config.learn.kl_coefficient > 0;
  work.tensor_parallel = config.rollout.tensor_parallel;
  return work;
}

MicroBatches micro_batches(const Workload& work, double groups) {
  if (groups <= 0) return {};
  const double rows = work.group_rows(), budget = static_cast<double>(work.micro_batch_tokens);
  if (rows <= budget) {
    const double together = std::min(std::floor(budget / rows), groups);
    return {std::ceil(groups / together), together * rows, together * work.group * work.new_tokens};
  }
  // A group that exceeds the budget alone is split by completions; each part computes the prompt again.
  const double room = std::max(budget - work.prompt_tokens, 1.0);
  const double completions = std::max(1.0, std::floor(room / work.new_tokens));
  const double parts = std::ceil(work.group / completions);
  const double loss_tokens = std::min<double>(completions, work.group) * work.new_tokens;
  return {groups * parts, work.prompt_tokens + loss_tokens, loss_tokens};
}

}  // namespace setrl::topology
