#include <ATen/ATen.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/error.h"
#include "base/system.h"
#include "comm/device.h"
#include "commands/bench_weights.h"
#include "commands/commands.h"
#include "commands/rounded.h"
#include "learn/unit_layout.h"
#include "model/decoder.h"
#include "model/tensor_parallel.h"
#include "sync/weight_push.h"

namespace setrl::commands {

namespace {

constexpr int kRepeats = 5;

struct Split {
  int learners = 1, replicas = 1, parts = 1;
  bool shared = false;  // one rank has both roles
};

Split split_of(const BenchSection& bench, int ranks) {
  Split split;
  split.parts = bench.tensor_parallel;
  split.shared = ranks == 1;
  split.learners = split.shared ? 1 : bench.learners > 0 ? bench.learners : std::max(1, ranks / 2);
  const int receivers = split.shared ? 1 : ranks - split.learners;
  if (receivers < 1 || receivers % split.parts != 0) {
    throw_user_error(
        "bench.learners and bench.tensor_parallel: {} learners leave {} of {} ranks to receive, not a multiple of {}",
        split.learners, receivers, ranks, split.parts);
  }
  split.replicas = receivers / split.parts;
  return split;
}

// A learner's float32 shards with some weights in them, as learn/ lays them out.
class Shards {
 public:
  Shards(const model::ModelSpec& spec, const std::vector<model::ParameterSpec>& table, int learners, int rank,
         at::Device device)
      : layouts_(learn::unit_layouts(spec, learners)), rank_(rank), held_(learn::held_slices(layouts_, table, rank)) {
    for (const auto& layout : layouts_) {
      shards_.push_back(at::rand({layout.shard}, at::TensorOptions().dtype(at::kFloat).device(device)));
    }
  }
  const std::vector<sync::HeldSlice>& held() const { return held_; }
  std::vector<at::Tensor> values(int unit, at::ScalarType wire) const {
    const at::Tensor shard = shards_[static_cast<std::size_t>(unit)].to(wire);
    std::vector<at::Tensor> result;
    learn::for_each_own_slice(layouts_[static_cast<std::size_t>(unit)], rank_,
                              [&](const learn::Slot&, const learn::Slice& slice, std::int64_t offset) {
                                result.push_back(shard.narrow(0, offset, slice.end - slice.begin));
                              });
    return result;
  }

 private:
  std::vector<learn::UnitLayout> layouts_;
  int rank_;
  std::vector<sync::HeldSlice> held_;
  std::vector<at::Tensor> shards_;
};

// Seconds of `work` on the slowest rank, the best of a few.
template <typename Work>
double best_seconds(comm::Communicator& world, const Work& work) {
  work();
  double best = 1e300;
  for (int i = 0; i < kRepeats; ++i) {
    world.barrier();
    const Stopwatch clock;
    work();
    double seconds = clock.seconds();
    world.all_reduce(&seconds, 1, comm::Reduction::max);
    best = std::min(best, seconds);
  }
  return best;
}

// Of the busiest rank: what it sends or receives in a push, itself left out, and what it copies to itself. And of all.
struct PushBytes {
  double moved = 0, copied = 0, total = 0;
};

PushBytes count_bytes(const sync::PushSchedule& schedule, int ranks, double width) {
  std::vector<double> sent(static_cast<std::size_t>(ranks)), received(sent), copied(sent);
  PushBytes result;
  schedule.for_each([&](const sync::Transfer& transfer) {
    const double bytes = static_cast<double>(transfer.end - transfer.begin) * width;
    const auto from = static_cast<std::size_t>(transfer.from), to = static_cast<std::size_t>(transfer.to);
    result.total += bytes;
    if (from == to) {
      copied[from] += bytes;
    } else {
      sent[from] += bytes;
      received[to] += bytes;
    }
  });
  for (std::size_t rank = 0; rank < sent.size(); ++rank) {
    result.moved = std::max({result.moved, sent[rank], received[rank]});
    result.copied = std::max(result.copied, copied[rank]);
  }
  return result;
}

}  // namespace

int bench_sync(const RunConfig& config, comm::MpiRuntime& runtime) {
  comm::Communicator& world = runtime.world();
  at::set_num_threads(config.run.threads > 0 ? config.run.threads : available_cores());
  const Split split = split_of(config.bench, world.size());
  const bool cuda = config.bench.device == "cuda";
  at::Device device = at::kCPU;
  std::unique_ptr<comm::Communicator> group = world.split(0, "push");
  if (cuda) {
    device = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(comm::select_device(world)));
    group = comm::make_device_communicator(runtime, std::move(group));
  }
  const auto spec = bench_weights(config)->spec();
  const auto table = model::parameter_table(spec);

  for (const auto& parameter : table) {
    const auto cut = model::cut_of(parameter.name);
    const std::int64_t extent = cut == model::Cut::columns ? parameter.shape[1] : parameter.shape[0];
    if (cut != model::Cut::whole && extent % split.parts != 0) {
      throw_user_error("bench.tensor_parallel: {} of {} does not divide by {}", extent, parameter.name, split.parts);
    }
  }

  sync::PushRole mine;
  mine.learner = world.rank() < split.learners;
  const int place = world.rank() - (split.shared ? 0 : split.learners);
  if (place >= 0) {
    mine.replica = place / split.parts;
    mine.part = place % split.parts;
  }
  std::unique_ptr<Shards> shards;
  if (mine.learner) {
    shards = std::make_unique<Shards>(spec, table, split.learners, world.rank(), device);
    mine.held = shards->held();
  }
  sync::PushOptions options;
  options.wire = model::choose_dtype(config.model.dtype, device);
  options.device = device;
  sync::WeightPush push(*group, mine, table, options);
  std::int64_t version = 0;
  const double seconds = best_seconds(world, [&] {
    push.run(
        ++version, [&](int unit) { return shards->values(unit, options.wire); },
        [](const model::ParameterSpec&, const at::Tensor&) {});
  });

  // The same links, all at once: every rank sends a large piece to the rank half the world away. And its memory.
  constexpr std::int64_t kPiece = 64 << 20;
  const at::Tensor out = at::zeros({kPiece}, at::TensorOptions().dtype(at::kByte).device(device));
  const at::Tensor in = at::empty_like(out);
  const int half = std::max(1, world.size() / 2);
  const int to = (world.rank() + half) % world.size(), from = (world.rank() + world.size() - half) % world.size();
  const auto bytes = static_cast<std::size_t>(kPiece);
  const double link = kPiece / best_seconds(world, [&] {
                        group->exchange({{to, out.data_ptr(), bytes}}, {{from, in.data_ptr(), bytes}});
                      });
  const double memory = kPiece / best_seconds(world, [&] {
                          in.copy_(out);
                          in.narrow(0, 0, 1).to(at::kCPU);  // waits for a GPU
                        });
  const auto width = static_cast<double>(c10::elementSize(options.wire));
  const PushBytes bytes_moved = count_bytes(push.schedule(), world.size(), width);
  const double limit_s = bytes_moved.moved / link + bytes_moved.copied / memory;
  double staging = static_cast<double>(push.peak_staging_bytes());
  world.all_reduce(&staging, 1, comm::Reduction::max);
  const nlohmann::ordered_json line = {{"bench", "sync"},
                                       {"device", config.bench.device},
                                       {"dtype", c10::toString(options.wire)},
                                       {"model", bench_model(config)},
                                       {"ranks", world.size()},
                                       {"learners", split.learners},
                                       {"replicas", split.replicas},
                                       {"tensor_parallel", split.parts},
                                       {"parameters", spec.parameter_count()},
                                       {"seconds", rounded(seconds, 1e5)},
                                       {"bytes", bytes_moved.total},
                                       {"gb_per_s", rounded(bytes_moved.total / seconds / 1e9, 1000)},
                                       {"busiest_rank_bytes", bytes_moved.moved + bytes_moved.copied},
                                       {"link_gb_per_s", rounded(link / 1e9, 1000)},
                                       {"memcpy_gb_per_s", rounded(memory / 1e9, 1000)},
                                       {"fraction_of_limit", rounded(limit_s / seconds, 1000)},
                                       {"steps", push.schedule().steps()},
                                       {"staging_bytes", staging},
                                       {"planned_staging_bytes", push.schedule().rollout_staging_bytes()},
                                       {"peak_rss_bytes", peak_rss_bytes()}};
  if (world.rank() == 0) fmt::print("{}\n", line.dump());
  return kExitDone;
}

}  // namespace setrl::commands
