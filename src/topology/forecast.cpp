#include "topology/forecast.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "topology/step_time.h"

namespace setrl::topology {

namespace {

constexpr double kGiga = 1e9;
// Left free for what is not counted: the system, file caches, fragmentation.
constexpr double kUsable = 0.92;

MemoryUse rank_memory(const Forecast& f, const RankPlan& roles) {
  if (roles.learner && roles.rollout) return together(f.learner, f.rollout);
  if (roles.learner) return f.learner;
  return roles.rollout ? f.rollout : f.verifier;
}

void add_memory(Forecast& f, const MachineSection& machine) {
  const double process = machine.process_gb * kGiga;
  const auto& where = f.where;
  const int engines = f.plan.replicas();
  f.learner = learner_memory(f.shape, f.work, where.learner.ranks, groups_of_one(f.work, where.learner.ranks), process);
  f.rollout = rollout_memory(f.shape, f.work, groups_of_one(f.work, engines), process);
  f.verifier = verifier_memory(f.work, groups_of_one(f.work, where.verifier.ranks), process);
  std::map<int, double> nodes;
  for (std::size_t rank = 0; rank < f.plan.ranks.size(); ++rank) {
    const auto& roles = f.plan.ranks[rank];
    const double bytes = rank_memory(f, roles).total();
    f.largest_rank_bytes = std::max(f.largest_rank_bytes, bytes);
    // With GPUs the model lies in their memory; the host keeps the processes and the copy of the learners' shards that
    // a save writes from.
    double on_host = bytes;
    if (machine.device == "gpu" && (roles.learner || roles.rollout)) {
      on_host = process + (roles.learner ? f.learner.saving : 0);
    }
    double& node = nodes[static_cast<int>(rank) / where.ranks_per_node];
    node += on_host;
    f.fullest_node_bytes = std::max(f.fullest_node_bytes, node);
  }
}

std::string gigabytes(double bytes) {
  return fmt::format("{:.1f} GB", bytes / kGiga);
}

// What is largest decides what helps.
std::string learner_advice(const Forecast& f) {
  const double kept = f.learner.activations + f.learner.logits;
  const double state = f.learner.weights + f.learner.gradients + f.learner.optimizer;
  if (kept > state && !f.work.checkpointing) return "set learn.activation_checkpointing = block";
  if (kept > state) return "lower learn.micro_batch_tokens";
  return "give topology.learner more ranks";
}

std::string rollout_advice(const Forecast& f) {
  if (f.rollout.kv_cache > f.rollout.weights) return "lower rollout.max_batch";
  return "raise rollout.tensor_parallel";
}

void add_misfits(Forecast& f, const MachineSection& machine) {
  auto& misfits = f.misfits;
  if (machine.device == "gpu") {
    const double limit = machine.device_memory_gb * kGiga;
    const auto device = [&](const char* role, const MemoryUse& use, const std::string& advice) {
      const double bytes = use.total() - use.process - use.saving;
      if (bytes > kUsable * limit) {
        misfits.push_back(
            fmt::format("a {} rank needs {} of the GPU's {}: {}", role, gigabytes(bytes), gigabytes(limit), advice));
      }
    };
    device("learner", f.learner, learner_advice(f));
    device("rollout", f.rollout, rollout_advice(f));
  }
  const double node = machine.memory_gb * kGiga;
  if (f.fullest_node_bytes > kUsable * node) {
    const bool learner = f.learner.total() * f.where.learner.per_node >= f.rollout.total() * f.where.rollout.per_node;
    misfits.push_back(fmt::format("the ranks of the fullest node need {} of its {}: {}, or start fewer ranks a node",
                                  gigabytes(f.fullest_node_bytes), gigabytes(node),
                                  learner ? learner_advice(f) : rollout_advice(f)));
  }
  if (f.work.group_rows() > static_cast<double>(f.work.micro_batch_tokens) &&
      f.work.prompt_tokens + f.work.new_tokens > static_cast<double>(f.work.micro_batch_tokens)) {
    misfits.push_back(fmt::format(
        "a prompt of {:.0f} with a completion of {:.0f} tokens exceeds learn.micro_batch_tokens = {}: raise it",
        f.work.prompt_tokens, f.work.new_tokens, f.work.micro_batch_tokens));
  }
  if (!f.shape.divides_by(f.work.tensor_parallel)) {
    misfits.push_back(fmt::format(
        "rollout.tensor_parallel = {} does not divide {} heads, {} key/value heads, {} inner columns and {} words of "
        "vocabulary",
        f.work.tensor_parallel, f.shape.heads, f.shape.kv_heads, f.shape.inner, f.shape.vocabulary));
  }
}

void add_notes(Forecast& f) {
  const int learners = f.where.learner.ranks, engines = f.plan.replicas();
  const auto idle = [&](const char* what, int count) {
    if (count <= f.work.prompts) return;
    f.notes.push_back(fmt::format("{} problems a step keep {} of {} {} busy: a group is generated and trained on whole",
                                  f.work.prompts, f.work.prompts, count, what));
  };
  idle("learner ranks", learners);
  idle("rollout replicas", engines);
}

}  // namespace

int planned_ranks(const RunConfig& config) {
  if (config.plan.ranks > 0) return config.plan.ranks;
  const auto& topology = config.topology;
  if (topology.learner > 0 && topology.rollout > 0 && topology.verifier > 0) {
    return topology.learner + topology.rollout + topology.verifier;
  }
  return std::max(config.plan.nodes, 1) * ranks_per_node(config);
}

Forecast forecast(const RunConfig& config, const ModelShape& shape, int ranks) {
  Forecast result;
  result.shape = shape;
  result.work = workload_of(config);
  result.plan = make_plan(config.topology, ranks, config.rollout.tensor_parallel);
  result.where = place(result.plan, config);
  result.checkpoint_bytes = checkpoint_bytes(shape);
  result.traffic = traffic_of(shape, result.work, result.where);
  add_memory(result, config.machine);
  add_step_time(result, config.machine);
  add_misfits(result, config.machine);
  add_notes(result);
  return result;
}

}  // namespace setrl::topology
