#include "learn/bench.h"

#include <malloc.h>

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "base/system.h"
#include "learn/advantage.h"
#include "learn/gpu_device.h"
#include "learn/learner.h"
#include "learn/memory.h"
#include "learn/unit_layout.h"
#include "model/decoder.h"

namespace setrl::learn {

namespace {

TrainingGroup random_group(const BenchSection& bench, std::int64_t index, std::int64_t vocabulary) {
  RandomStream random(17, static_cast<std::uint64_t>(index));
  const auto tokens = [&](int count) {
    std::vector<std::int32_t> result(static_cast<std::size_t>(count));
    for (auto& token : result) token = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(vocabulary)));
    return result;
  };
  TrainingGroup group;
  group.index = index;
  group.prompt = tokens(bench.prompt);
  for (int i = 0; i < bench.group; ++i) {
    TrainingSequence sequence;
    sequence.tokens = tokens(bench.new_tokens);
    sequence.rollout_logprobs.assign(sequence.tokens.size(), -10.0f);
    sequence.advantage = i % 2 == 0 ? 1 : -1;
    group.sequences.push_back(std::move(sequence));
  }
  return group;
}

// Floating-point operations a second of a square product, the best of a few.
double measure_gemm(at::ScalarType dtype, at::Device device) {
  const std::int64_t size = (dtype == at::kBFloat16 ? 4096 : 2048) * (device.is_cuda() ? 2 : 1);
  const auto options = at::TensorOptions().device(device);
  const at::Tensor a = at::rand({size, size}, options).to(dtype), b = at::rand({size, size}, options).to(dtype);
  double best = 1e300;
  for (int i = 0; i < (device.is_cuda() ? 20 : 4); ++i) {
    const Stopwatch clock;
    if (device.is_cuda()) {
      best = std::min(best, gpu::seconds_of([&] { at::mm(a, b); }));
    } else {
      at::mm(a, b);
      best = std::min(best, clock.seconds());
    }
  }
  const auto n = static_cast<double>(size);
  return 2 * n * n * n / best;
}

// A gather and a reduction of the largest unit, as the learner makes them: what the communicator keeps for its messages
// (MPI's buffers, its thread) is there from then on, and is not counted with the learner's state.
void exercise(comm::Communicator& communicator, const model::ModelSpec& spec, at::ScalarType dtype, at::Device device) {
  std::int64_t shard = 0;
  for (const auto& layout : unit_layouts(spec, communicator.size())) shard = std::max(shard, layout.shard);
  const std::int64_t all = shard * communicator.size();
  const at::Tensor mine = at::zeros({shard}, at::TensorOptions().dtype(dtype).device(device));
  const at::Tensor whole = at::empty({all}, mine.options());
  const auto floats = mine.options().dtype(at::kFloat);
  const at::Tensor gradient = at::zeros({all}, floats), sum = at::empty({shard}, floats);
  const auto gather =
      communicator.start_all_gather(mine.data_ptr(), static_cast<std::size_t>(mine.nbytes()), whole.data_ptr());
  const auto reduction = communicator.start_reduce_scatter_sum(gradient.data_ptr<float>(), sum.data_ptr<float>(),
                                                               static_cast<std::size_t>(shard));
  gather->wait();
  reduction->wait();
}

// Memory of this process, or of tensors on its GPU, without what the allocator keeps for later.
std::int64_t settled_bytes(at::Device device) {
  if (device.is_cuda()) return gpu::device_memory().allocated;
  malloc_trim(0);
  return private_bytes();
}

}  // namespace

LearnBench bench_learn(const RunConfig& config, const model::WeightSource& weights, comm::Communicator& communicator,
                       at::Device device) {
  const BenchSection& bench = config.bench;
  if (bench.prompts < 1 || bench.group < 1 || bench.prompt < 1 || bench.new_tokens < 1) {
    throw_user_error("bench.prompts, bench.group, bench.prompt and bench.new must be at least 1");
  }
  const auto& spec = weights.spec();
  TrainingBatch batch;
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(bench.prompts), 1);
  const auto target = balance(counts, communicator.size());
  for (int i = 0; i < bench.prompts; ++i) {
    if (target[static_cast<std::size_t>(i)] == communicator.rank()) {
      batch.groups.push_back(random_group(bench, i, spec.vocabulary));
    }
  }

  LearnBench result;
  const at::ScalarType dtype = model::choose_dtype(config.model.dtype, device);
  result.bfloat16 = dtype == at::kBFloat16;
  // Before the learner: the library's own memory for products is not counted with the state then.
  communicator.barrier();
  result.gemm_flops = measure_gemm(dtype, device);  // all ranks at once, as in training
  communicator.all_reduce(&result.gemm_flops, 1, comm::Reduction::sum);
  const std::int64_t bare = settled_bytes(device);
  exercise(communicator, spec, dtype, device);
  const std::int64_t before = settled_bytes(device);

  Learner learner(config, weights, communicator, device);
  StepStats stats;
  std::uint64_t sent = 0;
  std::int64_t reserved = 0;  // on the device after the second step
  if (device.is_cuda()) gpu::reset_peak_memory();
  result.steps = bench.steps > 0 ? bench.steps : device.is_cuda() ? 5 : 2;
  for (std::int64_t step = 1; step <= result.steps; ++step) {
    communicator.barrier();
    sent = communicator.bytes_sent();
    const Stopwatch clock;
    stats = learner.reinforce(batch, step, 1000);
    if (device.is_cuda()) gpu::synchronize();
    result.learn_s = clock.seconds();
    if (device.is_cuda() && step <= 2) reserved = gpu::device_memory().reserved;
    sent = communicator.bytes_sent() - sent;
  }
  communicator.all_reduce(&result.learn_s, 1, comm::Reduction::max);
  gpu::DeviceMemory memory;
  if (device.is_cuda()) memory = gpu::device_memory();
  double largest[7] = {static_cast<double>(peak_rss_bytes()),
                       static_cast<double>(settled_bytes(device) - before),
                       static_cast<double>(sent),
                       static_cast<double>(before - bare),
                       static_cast<double>(memory.peak_allocated),
                       static_cast<double>(memory.reserved),
                       static_cast<double>(memory.reserved - reserved)};
  communicator.all_reduce(largest, 7, comm::Reduction::max);
  result.device_peak_bytes = static_cast<std::int64_t>(largest[4]);
  result.device_reserved_bytes = static_cast<std::int64_t>(largest[5]);
  result.device_growth_bytes = static_cast<std::int64_t>(largest[6]);
  result.peak_rss_bytes = static_cast<std::int64_t>(largest[0]);
  result.measured_state_bytes = static_cast<std::int64_t>(largest[1]);
  result.communicator_bytes = static_cast<std::int64_t>(largest[3]);
  result.sent_bytes = static_cast<std::int64_t>(largest[2]);
  const auto element = static_cast<std::int64_t>(c10::elementSize(dtype));
  result.state_bytes = state_bytes(spec, config.learn, element, communicator.size()).sum();
  result.planned_sent_bytes = update_bytes_sent(spec, config.learn, element, communicator.size(), stats.micro_batches);

  const auto tokens = static_cast<double>(stats.total_tokens);
  result.tokens_per_s = tokens / result.learn_s;
  const double limit_s = 6 * static_cast<double>(spec.parameter_count()) * tokens / result.gemm_flops;
  result.fraction_of_limit = limit_s / result.learn_s;
  return result;
}

}  // namespace setrl::learn
