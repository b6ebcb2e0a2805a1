#include "model/low_rank.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/error.h"
#include "base/random.h"

namespace setrl::model {

namespace {

const std::vector<std::string>& modules() {
  static const std::vector<std::string> names{"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                              "gate_proj", "up_proj", "down_proj"};
  return names;
}

// "model.layers.3.self_attn.q_proj" of the weight of an adapted module, else "".
std::string adapted_module(const ParameterSpec& parameter, const LowRankSpec& low_rank) {
  const std::string ending = ".weight";
  if (parameter.shape.size() != 2) return "";
  const std::string module = parameter.name.substr(0, parameter.name.size() - ending.size());
  const std::string last = module.substr(module.rfind('.') + 1);
  const auto& targets = low_rank.targets;
  return std::find(targets.begin(), targets.end(), last) == targets.end() ? "" : module;
}

// Adds (alpha / rank) B A to the rows that a read touches.
class MergedWeights : public WeightSource {
 public:
  MergedWeights(std::unique_ptr<WeightSource> base, LowRankSpec low_rank, ReadAdapter read_adapter)
      : base_(std::move(base)), low_rank_(std::move(low_rank)), read_adapter_(std::move(read_adapter)) {
    for (const auto& parameter : parameter_table(base_->spec())) {
      const std::string module = adapted_module(parameter, low_rank_);
      if (!module.empty()) adapted_[parameter.name] = {module, parameter.shape[1]};
    }
  }

  const ModelSpec& spec() const override { return base_->spec(); }

  void read(const std::string& name, std::int64_t begin, std::int64_t end, float* out) const override {
    base_->read(name, begin, end, out);
    const auto found = adapted_.find(name);
    if (found == adapted_.end() || begin >= end) return;
    const std::int64_t rank = low_rank_.rank, inputs = found->second.inputs;
    const std::int64_t first_row = begin / inputs, last_row = (end - 1) / inputs;
    std::vector<float> a(static_cast<std::size_t>(rank * inputs));
    std::vector<float> b(static_cast<std::size_t>((last_row - first_row + 1) * rank));
    read_adapter_(found->second.module + ".lora_A.weight", 0, rank * inputs, a.data());
    read_adapter_(found->second.module + ".lora_B.weight", first_row * rank, (last_row + 1) * rank, b.data());
    const auto scale = static_cast<float>(low_rank_.scale());
    for (std::int64_t row = first_row; row <= last_row; ++row) {
      const std::int64_t from = std::max(begin, row * inputs), to = std::min(end, (row + 1) * inputs);
      for (std::int64_t r = 0; r < rank; ++r) {
        const float factor = scale * b[static_cast<std::size_t>((row - first_row) * rank + r)];
        const float* line = a.data() + r * inputs - row * inputs;
        for (std::int64_t i = from; i < to; ++i) out[i - begin] += factor * line[i];
      }
    }
  }

  std::string describe() const override {
    return fmt::format("{}, with adapters of rank {} merged in", base_->describe(), low_rank_.rank);
  }

 private:
  struct Adapted {
    std::string module;
    std::int64_t inputs = 0;
  };
  std::unique_ptr<WeightSource> base_;
  LowRankSpec low_rank_;
  ReadAdapter read_adapter_;
  std::unordered_map<std::string, Adapted> adapted_;
};

}  // namespace

LowRankSpec low_rank_spec(const LearnSection& config) {
  LowRankSpec spec;
  spec.rank = config.lora_rank;
  spec.alpha = config.lora_alpha;
  if (spec.rank == 0) return spec;
  if (config.lora_targets == "all") {
    spec.targets = modules();
    return spec;
  }
  std::stringstream list(config.lora_targets);
  for (std::string name; std::getline(list, name, ',');) {
    name.erase(std::remove(name.begin(), name.end(), ' '), name.end());
    if (std::find(modules().begin(), modules().end(), name) == modules().end()) {
      throw_user_error("learn.lora_targets: '{}' is not one of {}, or 'all'", name, fmt::join(modules(), ", "));
    }
    spec.targets.push_back(name);
  }
  if (spec.targets.empty()) throw_user_error("learn.lora_targets is empty: name modules, or 'all'");
  return spec;
}

std::vector<ParameterSpec> adapter_table(const ModelSpec& spec, const LowRankSpec& low_rank) {
  std::vector<ParameterSpec> table;
  for (const auto& parameter : parameter_table(spec)) {
    const std::string module = adapted_module(parameter, low_rank);
    if (module.empty()) continue;
    table.push_back({module + ".lora_A.weight", {low_rank.rank, parameter.shape[1]}, parameter.unit});
    table.push_back({module + ".lora_B.weight", {parameter.shape[0], low_rank.rank}, parameter.unit});
  }
  return table;
}

void initial_adapter(const ParameterSpec& adapter, std::uint64_t seed, std::int64_t begin, std::int64_t end,
                     float* out) {
  if (adapter.name.find(".lora_B.") != std::string::npos) {
    std::fill(out, out + (end - begin), 0.0f);
    return;
  }
  const std::uint64_t stream = stable_hash(adapter.name);
  const double bound = 1 / std::sqrt(static_cast<double>(adapter.shape[1]));
  for (std::int64_t i = begin; i < end; ++i) {
    const double uniform = uniform_at(seed, stream, static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(i >> 32));
    out[i - begin] = static_cast<float>(bound * (2 * uniform - 1));
  }
}

std::unique_ptr<WeightSource> merged_weights(std::unique_ptr<WeightSource> base, LowRankSpec low_rank,
                                             ReadAdapter read_adapter) {
  return std::make_unique<MergedWeights>(std::move(base), std::move(low_rank), std::move(read_adapter));
}

}  // namespace setrl::model
