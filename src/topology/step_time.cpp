#include "topology/step_time.h"

#include <algorithm>
#include <cmath>

namespace setrl::topology {

namespace {

constexpr double kGiga = 1e9;

// Bytes a second and seconds a message of a collective among the ranks of one role.
struct Lane {
  double local = 0, network = 0;  // bytes/s of one rank within the node, of one node
  double latency = 0;             // s
  const RolePlacement& role;
  bool ring = false;  // NCCL's rings cross a node's network once; MPI's all-to-all once a rank

  // `bytes`: what one rank receives in all; `calls`: number of collectives.
  double all_gather(double bytes, double calls) const { return seconds(bytes, calls, 1); }
  double reduce_scatter(double bytes, double calls) const { return seconds(bytes, calls, ring ? 1 : role.per_node); }

 private:
  double seconds(double bytes, double calls, double crossings) const {
    if (role.ranks <= 1) return 0;
    const double wait = calls * std::ceil(std::log2(role.ranks)) * latency;
    if (role.nodes == 1) return bytes / local + wait;
    return std::max(bytes / local, crossings * bytes / network) + wait;
  }
};

Lane lane_of(const RolePlacement& role, const MachineSection& machine) {
  const bool many = role.nodes > 1;
  return {machine.link_gb_s * kGiga * role.device_share, machine.network_gb_s * kGiga,
          (many ? machine.latency_us : machine.link_latency_us) * 1e-6, role, machine.device == "gpu"};
}

double peak(const Workload& work, const MachineSection& machine) {
  return (work.bfloat16 ? machine.tflops_bfloat16 : machine.tflops_float32) * 1e12;
}

void add_learn(Forecast& f, const MachineSection& machine) {
  const ModelShape& shape = f.shape;
  const Workload& work = f.work;
  const RolePlacement& role = f.where.learner;
  const double groups = groups_of_one(work, role.ranks);
  const auto parts = micro_batches(work, groups);
  const double loss_tokens = groups * work.group * work.new_tokens;
  // A group that is split computes its prompt again in each part.
  const double prompts =
      std::max(groups, work.group_rows() > static_cast<double>(work.micro_batch_tokens) ? parts.count : 0.0);
  const double rows = loss_tokens + prompts * work.prompt_tokens;
  const double passes = work.checkpointing ? 4 : 3;  // forward, backward twice the forward, forward again
  const auto layers = static_cast<double>(shape.layers);
  const double blocks = 2 * layers * static_cast<double>(shape.block_elements()) * rows;
  const double head = 2 * static_cast<double>(shape.vocabulary) * static_cast<double>(shape.hidden) * loss_tokens;
  const double pairs =
      prompts * work.prompt_tokens * work.prompt_tokens / 2 + loss_tokens * (work.prompt_tokens + work.new_tokens / 2);
  const double attention = 4 * layers * static_cast<double>(shape.heads * shape.head_size) * pairs;
  double flops = passes * (blocks + attention) + 3 * head;
  if (work.reference) flops += (blocks + attention + head) / work.updates;
  flops *= work.updates;
  f.learn_flops = flops * work.prompts / groups;

  const double memory = machine.memory_gb_s * kGiga * role.device_share;
  const auto parameters = static_cast<double>(shape.parameters());
  // Weight gradients are cleared and added up in float32 once a micro-batch.
  const double gradients = parts.count * work.updates * parameters * (16 + work.element_bytes);
  f.time.learn_compute =
      flops / (peak(work, machine) * machine.learn_efficiency * role.device_share) + gradients / memory;
  const Lane lane = lane_of(role, machine);
  f.time.learn_gather = lane.all_gather(f.traffic.gather, f.traffic.gathers);
  f.time.learn_reduce = lane.reduce_scatter(f.traffic.reduce_scatter, f.traffic.reduces);
  // Weights, two moments and the gradient read and written, the gradient's norm, the copies' conversion.
  f.time.optimizer = work.updates * parameters / role.ranks * (36 + work.element_bytes) / memory;
  const double moved = f.time.learn_gather + f.time.learn_reduce;
  // The GPU back end gathers the next unit while one computes; the CPU's ranks need their cores for both.
  f.time.learn = f.time.optimizer +
                 (machine.device == "gpu" ? std::max(f.time.learn_compute, moved) : f.time.learn_compute + moved);
}

void add_rollout(Forecast& f, const MachineSection& machine) {
  const ModelShape& shape = f.shape;
  const Workload& work = f.work;
  const RolePlacement& role = f.where.rollout;
  const int engines = f.plan.replicas();
  const double groups = groups_of_one(work, engines), sequences = groups * work.group;
  // Ranks without a group leave the node's devices to the others.
  const double busy = std::min(1.0, static_cast<double>(work.prompts) / engines);
  const double share = std::min(1.0, role.device_share / busy) * work.tensor_parallel;
  const double compute = peak(work, machine) * share, memory = machine.memory_gb_s * kGiga * share;
  const auto layers = static_cast<double>(shape.layers), hidden = static_cast<double>(shape.hidden);
  const auto attended = static_cast<double>(shape.heads * shape.head_size);
  const double blocks = layers * static_cast<double>(shape.block_elements());
  const double head = static_cast<double>(shape.vocabulary) * hidden;

  const double prefill = groups * (2 * work.prompt_tokens * blocks + 2 * head +
                                   2 * layers * attended * work.prompt_tokens * work.prompt_tokens);
  f.time.prefill = prefill / (compute * machine.prefill_efficiency);

  const double batch = std::min<double>(sequences, work.max_batch);
  const double steps = work.new_tokens * sequences / batch;
  const double context = work.prompt_tokens + work.new_tokens / 2;
  const double flops = batch * (2 * (blocks + head) + 4 * layers * attended * context);
  // Every step reads the weights once, each completion's own keys and values, and a group's shared prompt once.
  const double own = batch * work.new_tokens / 2 + std::ceil(batch / work.group) * work.prompt_tokens;
  const double bytes = work.element_bytes * (blocks + head + own * static_cast<double>(shape.kv_elements()));
  double one = bytes / memory + flops / (compute * machine.decode_efficiency);
  if (work.tensor_parallel > 1) {
    // Two sums of the hidden states a layer.
    const double sums = 2 * layers;
    one += sums * (machine.link_latency_us * 1e-6 * std::ceil(std::log2(work.tensor_parallel)) +
                   2 * batch * hidden * work.element_bytes / (machine.link_gb_s * kGiga));
  }
  f.time.decode = steps * one;
  f.rollout_flops = (prefill + steps * flops) * work.prompts / groups;
}

void add_sync(Forecast& f, const MachineSection& machine) {
  const RolePlacement& from = f.where.learner;
  const RolePlacement& to = f.where.rollout;
  const double units = static_cast<double>(f.shape.layers) + 2;
  double seconds = 0;
  if (f.plan.learner_ranks == f.plan.rollout_ranks) {  // each gathers for itself
    seconds = lane_of(from, machine).all_gather(f.traffic.push_send * (from.ranks - 1), units);
  } else {
    // All links work at once and the busiest decides; the first unit's way along the tree comes on top.
    const Traffic& t = f.traffic;
    const double into = std::max(t.push, t.push_relay), out = t.push_send;
    const double link = machine.link_gb_s * kGiga, network = machine.network_gb_s * kGiga;
    double moving = std::max(into / (link * to.device_share), out / (link * from.device_share));
    // Into a node everything comes once, and goes on inside of it.
    const int parts = std::min(to.per_node, f.work.tensor_parallel);
    if (f.where.nodes > 1) moving = std::max({moving, parts * into / network, from.per_node * out / network});
    const double hops = std::ceil(std::log2(f.plan.replicas()));
    const double latency = (f.where.nodes > 1 ? machine.latency_us : machine.link_latency_us) * 1e-6;
    seconds = moving * (1 + hops / units) + (units + hops) * latency;
  }
  // Read, rounded and packed by every rollout rank.
  seconds += 3 * f.traffic.push / (machine.memory_gb_s * kGiga * to.device_share);
  f.time.sync = seconds;
}

}  // namespace

void add_step_time(Forecast& f, const MachineSection& machine) {
  add_learn(f, machine);
  add_rollout(f, machine);
  add_sync(f, machine);
  const double disk = std::min(machine.disk_total_gb_s, machine.disk_gb_s * f.where.learner.nodes) * kGiga;
  f.time.checkpoint = f.checkpoint_bytes / disk;
  f.time.step = f.time.rollout() + f.time.learn + f.time.sync;
  if (f.work.save_every > 0) f.time.step += f.time.checkpoint / static_cast<double>(f.work.save_every);
}

}  // namespace setrl::topology
