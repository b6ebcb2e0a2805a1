#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/random.h"
#include "base/system.h"
#include "commands/commands.h"
#include "commands/rounded.h"
#include "model/decoder.h"
#include "roles/policy.h"
#include "store/bench.h"

namespace setrl::commands {

namespace {

// The float32 state of a learner: weights and two moments of every parameter, cut evenly over the ranks.
class BenchState {
 public:
  BenchState(const model::ModelSpec& spec, const comm::Communicator& world) {
    for (const char* kind : {"parameters/", "moment1/", "moment2/"}) {
      for (const auto& parameter : model::parameter_table(spec)) {
        TensorView view{kind + parameter.name, parameter.shape};
        const std::int64_t elements = view.elements();
        view.begin = elements * world.rank() / world.size();
        view.end = elements * (world.rank() + 1) / world.size();
        views_.push_back(view);
      }
    }
    std::int64_t total = 0;
    for (const auto& view : views_) total += view.end - view.begin;
    memory_.resize(static_cast<std::size_t>(total));
    std::uint32_t bits = 1;
    for (auto& value : memory_) {  // no pattern that a disk could fold
      bits = bits * 1664525u + 1013904223u;
      value = static_cast<float>(bits) * 1e-9f;
    }
    float* at = memory_.data();
    for (auto& view : views_) {
      view.data = at;
      at += view.end - view.begin;
    }
  }
  const std::vector<TensorView>& views() const { return views_; }

 private:
  std::vector<TensorView> views_;
  std::vector<float> memory_;
};

// A step's groups: bench.prompts x bench.group completions of bench.new tokens, with texts of four bytes a token.
std::vector<store::StoredGroup> bench_groups(const RunConfig& config) {
  std::vector<store::StoredGroup> groups;
  RandomStream random(config.run.seed, 1);
  for (int p = 0; p < config.bench.prompts; ++p) {
    store::StoredGroup stored;
    stored.group.index = p;
    stored.group.problem.id = fmt::format("problem-{}", p);
    for (int i = 0; i < config.bench.prompt; ++i) {
      stored.group.prompt.tokens.push_back(static_cast<std::int32_t>(random.below(49152)));
    }
    for (int g = 0; g < config.bench.group; ++g) {
      Completion completion;
      std::string text;
      for (int i = 0; i < config.bench.new_tokens; ++i) {
        completion.tokens.push_back(static_cast<std::int32_t>(random.below(49152)));
        completion.logprobs.push_back(static_cast<float>(-3 * random.uniform()));
        for (int c = 0; c < 4; ++c) text.push_back(static_cast<char>('a' + random.below(16)));
      }
      stored.group.completions.push_back(std::move(completion));
      stored.group.verdicts.emplace_back();
      stored.texts.push_back(std::move(text));
    }
    groups.push_back(std::move(stored));
  }
  return groups;
}

}  // namespace

int bench_store(const RunConfig& config, comm::Communicator& world) {
  constexpr double kStepSeconds = 2;
  constexpr int kRepeats = 3;
  const roles::Policy policy = roles::open_policy(config);
  const BenchState state(policy.weights->spec(), world);
  const auto result = store::bench_store(config.run.dir + "/bench-store", state.views(), bench_groups(config),
                                         kStepSeconds, kRepeats, store::layout_of(config.store.layout), world);
  const auto rate = [&](double seconds) { return rounded(static_cast<double>(result.bytes) / seconds / 1e9, 1000); };
  const nlohmann::ordered_json line = {{"bench", "store"},
                                       {"ranks", world.size()},
                                       {"layout", config.store.layout},
                                       {"bytes", result.bytes},
                                       {"write_gb_per_s", rate(result.write_s)},
                                       {"plain_write_gb_per_s", rate(result.plain_write_s)},
                                       {"fraction_of_limit", rounded(result.plain_write_s / result.write_s, 1000)},
                                       {"read_gb_per_s", rate(result.read_s)},
                                       {"plain_read_gb_per_s", rate(result.plain_read_s)},
                                       {"synchronous_save_s", rounded(result.write_s, 1000)},
                                       {"stall_s", rounded(result.stall_s, 1e6)},
                                       {"stall_at_once_s", rounded(result.stall_at_once_s, 1000)},
                                       {"stall_fraction", rounded(result.stall_s / result.write_s, 1e5)},
                                       {"completions", config.bench.prompts * config.bench.group},
                                       {"new", config.bench.new_tokens},
                                       {"trajectory_bytes", result.trajectory_bytes},
                                       {"trajectory_write_s", rounded(result.trajectory_write_s, 1e5)},
                                       {"trajectory_stall_s", rounded(result.trajectory_stall_s, 1e6)},
                                       {"in_flight_bytes", result.in_flight_bytes},
                                       {"in_flight_write_s", rounded(result.in_flight_write_s, 1e5)},
                                       {"peak_rss_bytes", peak_rss_bytes()}};
  if (world.rank() == 0) fmt::print("{}\n", line.dump());
  return kExitDone;
}

}  // namespace setrl::commands
