#include "learn/learner.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/log.h"
#include "learn/memory.h"
#include "learn/network.h"
#include "learn/normalisation.h"
#include "learn/objective.h"
#include "learn/schedule.h"
#include "learn/sharded_parameters.h"
#include "model/decoder.h"
#include "model/low_rank.h"

namespace setrl::learn {

namespace {

at::ScalarType compute_dtype(const RunConfig& config, at::Device device) {
  const at::ScalarType dtype = model::choose_dtype(config.model.dtype, device);
  if (dtype == at::kHalf) {
    throw_user_error("model.dtype: float16 has too small a range to train in; use bfloat16, float32 or auto");
  }
  return dtype;
}

Keep kept_activations(const LearnSection& config) {
  const std::string& kind = config.activation_checkpointing;
  if (kind == "none") return Keep::everything;
  if (kind == "selective") return Keep::selective;
  if (kind == "block") return Keep::input;
  throw_user_error("learn.activation_checkpointing: '{}' is not one of none, block, selective", kind);
}

// Checks what only the whole configuration shows.
const RunConfig& checked(const RunConfig& config, at::Device at) {
  const LearnSection& learn = config.learn;
  if ((learn.advantage == "pass_at_k" || learn.advantage == "pkpo") && learn.advantage_k >= config.rollout.group_size) {
    throw_user_error("learn.advantage_k: {} is not below rollout.group_size, which is {}", learn.advantage_k,
                     config.rollout.group_size);
  }
  if (learn.offload_optimizer && !at.is_cuda()) {
    throw_user_error(
        "learn.offload_optimizer moves state from a GPU to host memory, but the learner computes on CPUs: leave it "
        "out, "
        "or use GPUs (run.device=cuda)");
  }
  return config;
}

// What one pass over the batch adds up, first on this rank, then over all.
struct UpdateSums {
  ObjectiveSums objective;
  double entropy = 0, gap = 0, gap_tokens = 0, gap_max = 0;
};

// Log-probabilities beside the loss tokens of a micro-batch, each [L] or empty.
struct Companions {
  std::vector<float> old_logprobs, reference_logprobs;
};

}  // namespace

struct Learner::State {
  State(const RunConfig& run_config, const model::WeightSource& source, comm::Communicator& learners, at::Device where)
      : config(checked(run_config, where)),
        device(where),
        spec(source.spec()),
        low_rank(model::low_rank_spec(run_config.learn)),
        communicator(learners),
        parameters(
            unit_layouts(spec, learners.size()),
            [&](const std::string& name, std::int64_t begin, std::int64_t end, float* out) {
              source.read(name, begin, end, out);
            },
            learners, sharding(low_rank.rank == 0)),
        adapters(make_adapters()),
        network(spec, parameters, kept_activations(run_config.learn),
                {adapters.get(), low_rank.rank > 0 ? low_rank.scale() : 0}),
        policy_objective(make_policy_objective(run_config.learn)),
        imitation_objective(make_imitation_objective()) {}

  Sharding sharding(bool trainable) const {
    return {compute_dtype(config, device),      trainable, config.learn.kl_coefficient > 0 && trainable,
            config.learn.reshard_after_forward, device,    config.learn.offload_optimizer};
  }
  // Null where all weights are trained. The policy without adapters is the reference.
  std::unique_ptr<ShardedParameters> make_adapters() const;
  ShardedParameters& trained() { return adapters ? *adapters : parameters; }
  void drop_copies();
  // Of the unit's `gathered` adapters that of a parameter; undefined where it has none.
  Adapter adapter_of(int unit, const model::ParameterSpec& parameter, const at::Tensor& gathered) const;
  // A slice of a frozen weight with its adapters, which are `gathered` for the unit: only the rows around it are made.
  at::Tensor merge_slice(int unit, const model::ParameterSpec& parameter, Slice slice, const at::Tensor& flat,
                         const at::Tensor& gathered) const;

  // This rank's micro-batches, filled up with empty ones to the largest count of any rank: their work is collective.
  std::vector<MicroBatch> micro_batches(const TrainingBatch& batch, bool everything);
  // Unmasked completions over all ranks; fills the token counts of `stats`.
  BatchTotals count(const TrainingBatch& batch, StepStats& stats);
  // Objective and derivative for loss tokens [begin, end) of a micro-batch.
  void evaluate(const MicroBatch& batch, const Objective& objective, const std::vector<double>& weights,
                const Companions& companions, std::int64_t begin, std::int64_t end, const RowStats* stats,
                float* gradient, UpdateSums& sums);
  void reduce(UpdateSums& sums);
  // Clips and steps, or skips where loss or gradient is not finite. Returns the gradient's norm.
  double optimize(double loss, double learning_rate, bool& skipped);
  StepStats run(const TrainingBatch& batch, const Objective& objective, const std::string& loss_kind,
                double temperature, double learning_rate, int updates, bool reference);

  RunConfig config;
  at::Device device;
  model::ModelSpec spec;
  model::LowRankSpec low_rank;
  comm::Communicator& communicator;
  ShardedParameters parameters;                 // frozen where there are adapters
  std::unique_ptr<ShardedParameters> adapters;  // or null
  Network network;
  std::unique_ptr<Objective> policy_objective, imitation_objective;
  std::int64_t optimizer_steps = 0;
  int skipped_in_a_row = 0;
};

std::unique_ptr<ShardedParameters> Learner::State::make_adapters() const {
  if (low_rank.rank == 0) return nullptr;
  const auto table = model::adapter_table(spec, low_rank);
  std::map<std::string, const model::ParameterSpec*> by_name;
  for (const auto& adapter : table) by_name[adapter.name] = &adapter;
  Sharding how = sharding(true);
  how.reference = false;
  return std::make_unique<ShardedParameters>(
      unit_layouts(table, model::unit_count(spec), communicator.size()),
      [&](const std::string& name, std::int64_t begin, std::int64_t end, float* out) {
        model::initial_adapter(*by_name.at(name), config.run.seed, begin, end, out);
      },
      communicator, how);
}

Adapter Learner::State::adapter_of(int unit, const model::ParameterSpec& parameter, const at::Tensor& gathered) const {
  if (parameter.shape.size() != 2) return {};
  const std::string module = parameter.name.substr(0, parameter.name.rfind('.'));
  const auto& layout = adapters->layout(unit);
  return {layout.view(gathered, module + ".lora_A.weight"), layout.view(gathered, module + ".lora_B.weight")};
}

at::Tensor Learner::State::merge_slice(int unit, const model::ParameterSpec& parameter, Slice slice,
                                       const at::Tensor& flat, const at::Tensor& gathered) const {
  const Adapter adapter = adapter_of(unit, parameter, gathered);
  if (!adapter.defined()) return flat;
  const std::int64_t columns = parameter.shape[1];
  const std::int64_t first = slice.begin / columns, last = (slice.end + columns - 1) / columns;
  const at::Tensor rows = at::zeros({(last - first) * columns}, flat.options());
  rows.narrow(0, slice.begin - first * columns, flat.numel()).copy_(flat);
  return merged(rows.view({last - first, columns}), {adapter.a, adapter.b.narrow(0, first, last - first)},
                low_rank.scale())
      .view(-1)
      .narrow(0, slice.begin - first * columns, flat.numel());
}

void Learner::State::drop_copies() {
  parameters.drop_copies();
  if (adapters) adapters->drop_copies();
}

std::vector<MicroBatch> Learner::State::micro_batches(const TrainingBatch& batch, bool everything) {
  auto result = pack(batch, config.learn.micro_batch_tokens, spec.vocabulary, everything);
  double count = static_cast<double>(result.size());
  communicator.all_reduce(&count, 1, comm::Reduction::max);
  result.resize(static_cast<std::size_t>(count));
  for (auto& part : result) {
    for (at::Tensor* rows : {&part.ids, &part.positions, &part.loss_rows}) {
      if (rows->defined()) *rows = rows->to(device);
    }
  }
  return result;
}

BatchTotals Learner::State::count(const TrainingBatch& batch, StepStats& stats) {
  double counts[3] = {0, 0, 0};  // loss tokens, completions, all tokens with prompts
  for (const auto& group : batch.groups) {
    double tokens = 0;
    for (const auto& sequence : group.sequences) {
      const auto targets = static_cast<double>(sequence.targets());
      if (sequence.masked || targets == 0) continue;
      counts[0] += targets;
      counts[1] += 1;
      tokens += static_cast<double>(sequence.tokens.size());
    }
    if (tokens > 0) counts[2] += tokens + static_cast<double>(group.prompt.size());
  }
  communicator.all_reduce(counts, 3, comm::Reduction::sum);
  stats.tokens = static_cast<std::int64_t>(counts[0]);
  stats.total_tokens = static_cast<std::int64_t>(counts[2]);
  return {counts[0], counts[1]};
}

void Learner::State::evaluate(const MicroBatch& batch, const Objective& objective, const std::vector<double>& weights,
                              const Companions& companions, std::int64_t begin, std::int64_t end, const RowStats* stats,
                              float* gradient, UpdateSums& sums) {
  std::vector<float> logprobs(static_cast<std::size_t>(end - begin));
  for (std::size_t i = 0; i < logprobs.size(); ++i) {
    logprobs[i] = stats[i].logprob;
    sums.entropy += stats[i].entropy;
  }
  for (std::size_t s = 0; s < batch.sequences.size(); ++s) {
    const auto& packed = batch.sequences[s];
    const std::int64_t first = std::max(begin, packed.loss_begin);
    const std::int64_t last = std::min(end, packed.loss_begin + packed.count);
    if (first >= last) continue;
    const auto beside = [&](const std::vector<float>& values, std::int64_t origin) {
      return values.empty() ? nullptr : values.data() + (first - origin);
    };
    TokenSpan span;
    span.count = last - first;
    span.logprob = logprobs.data() + (first - begin);
    span.old_logprob = beside(companions.old_logprobs, 0);
    span.reference_logprob = beside(companions.reference_logprobs, 0);
    span.rollout_logprob = beside(packed.rollout_logprobs, packed.loss_begin);
    span.advantage = packed.sequence->advantage;
    span.token_weight = weights[s];
    objective.evaluate(span, gradient + (first - begin), sums.objective);
    if (span.rollout_logprob == nullptr) continue;
    for (std::int64_t i = 0; i < span.count; ++i) {
      const double gap = std::abs(static_cast<double>(span.logprob[i]) - span.rollout_logprob[i]);
      sums.gap += gap;
      sums.gap_max = std::max(sums.gap_max, gap);
    }
    sums.gap_tokens += static_cast<double>(span.count);
  }
}

void Learner::State::reduce(UpdateSums& sums) {
  double values[6] = {sums.objective.loss, sums.objective.clipped, sums.objective.kl, sums.entropy, sums.gap,
                      sums.gap_tokens};
  communicator.all_reduce(values, 6, comm::Reduction::sum);
  communicator.all_reduce(&sums.gap_max, 1, comm::Reduction::max);
  sums.objective = {values[0], values[1], values[2]};
  sums.entropy = values[3];
  sums.gap = values[4];
  sums.gap_tokens = values[5];
}

double Learner::State::optimize(double loss, double learning_rate, bool& skipped) {
  const LearnSection& learn = config.learn;
  double squared = trained().squared_gradient_norm();
  communicator.all_reduce(&squared, 1, comm::Reduction::sum);
  const double norm = std::sqrt(squared);
  skipped = !std::isfinite(loss) || !std::isfinite(norm);
  if (skipped) {
    ++skipped_in_a_row;
    log::warning("step skipped: loss {}, gradient norm {} ({} in a row)", loss, norm, skipped_in_a_row);
    if (skipped_in_a_row > learn.max_skipped_steps) {
      throw_user_error(
          "loss or gradient was not finite in {} steps in a row: lower learn.learning_rate (or sft.learning_rate) or "
          "learn.grad_clip, set model.dtype to float32, or raise learn.max_skipped_steps (now {})",
          skipped_in_a_row, learn.max_skipped_steps);
    }
  } else {
    skipped_in_a_row = 0;
    ++optimizer_steps;
    const auto correction = [&](double beta) {
      return static_cast<float>(1 - std::pow(beta, static_cast<double>(optimizer_steps)));
    };
    AdamwStep step;
    step.learning_rate = static_cast<float>(learning_rate);
    step.beta1 = static_cast<float>(learn.beta1);
    step.beta2 = static_cast<float>(learn.beta2);
    step.epsilon = static_cast<float>(learn.epsilon);
    step.weight_decay = static_cast<float>(learn.weight_decay);
    step.correction1 = correction(learn.beta1);
    step.correction2 = correction(learn.beta2);
    // As torch.nn.utils.clip_grad_norm_; 0 switches clipping off.
    step.gradient_scale =
        learn.grad_clip > 0 ? static_cast<float>(std::min(1.0, learn.grad_clip / (norm + 1e-6))) : 1.0f;
    trained().update(step);
  }
  trained().zero_gradients();
  return norm;
}

StepStats Learner::State::run(const TrainingBatch& batch, const Objective& objective, const std::string& loss_kind,
                              double temperature, double learning_rate, int updates, bool reference) {
  StepStats stats;
  stats.learning_rate = learning_rate;
  const BatchTotals totals = count(batch, stats);
  if (totals.tokens == 0) return stats;
  const auto parts = micro_batches(batch, false);
  stats.micro_batches = static_cast<std::int64_t>(parts.size());
  std::vector<Companions> companions(parts.size());
  if (reference) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const auto rows = network.evaluate(parts[i], temperature, ShardedParameters::Version::reference);
      for (const auto& row : rows) companions[i].reference_logprobs.push_back(row.logprob);
    }
  }
  int done = 0;
  for (int update = 0; update < updates && !stats.skipped; ++update, ++done) {
    UpdateSums sums;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      std::vector<double> weights;
      for (const auto& sequence : parts[i].sequences) {
        weights.push_back(token_weight(loss_kind, totals, sequence.count, config.rollout.max_new_tokens));
      }
      // The first update is made at the old policy itself: its log-probabilities are what later updates compare with.
      std::vector<float> seen(updates > 1 && update == 0 ? parts[i].targets.size() : 0);
      Network::Loss loss;
      loss.whole = objective.whole_sequences();
      loss.gradient = [&](std::int64_t begin, std::int64_t end, const RowStats* rows, float* gradient) {
        evaluate(parts[i], objective, weights, companions[i], begin, end, rows, gradient, sums);
        for (std::int64_t at = begin; at < end && !seen.empty(); ++at) {
          seen[static_cast<std::size_t>(at)] = rows[at - begin].logprob;
        }
      };
      network.train(parts[i], temperature, loss);
      if (!seen.empty()) companions[i].old_logprobs = std::move(seen);
    }
    reduce(sums);
    if (update == 0 && sums.gap_tokens > 0) {
      stats.logprob_gap_mean = sums.gap / sums.gap_tokens;
      stats.logprob_gap_max = sums.gap_max;
    }
    stats.loss += sums.objective.loss;
    stats.clip_fraction += sums.objective.clipped / totals.tokens;
    stats.kl += sums.objective.kl / totals.tokens;
    stats.entropy += sums.entropy / totals.tokens;
    stats.grad_norm += optimize(sums.objective.loss, learning_rate, stats.skipped);
  }
  drop_copies();
  for (double* value : {&stats.loss, &stats.clip_fraction, &stats.kl, &stats.entropy, &stats.grad_norm}) *value /= done;
  return stats;
}

Learner::Learner(const RunConfig& config, const model::WeightSource& source, comm::Communicator& communicator,
                 at::Device device)
    : state_(make_state(config, source, communicator, device)) {}

Learner::~Learner() = default;

std::unique_ptr<Learner::State> Learner::make_state(const RunConfig& config, const model::WeightSource& source,
                                                    comm::Communicator& communicator, at::Device device) {
  try {
    return std::make_unique<State>(config, source, communicator, device);
  } catch (const c10::Error&) {
    // The only thing that the library can refuse here is memory.
    const auto element = static_cast<std::int64_t>(c10::elementSize(compute_dtype(config, device)));
    const auto gigabytes = [&](int ranks) {
      return static_cast<double>(state_bytes(source.spec(), config.learn, element, ranks).sum()) / 1e9;
    };
    const int ranks = communicator.size();
    throw_user_error(
        "not enough memory for the learner: weights, gradients and optimizer of this model take {:.2f} GB a rank on {} "
        "learner rank{}; use more (topology.learner; {:.2f} GB on {}), on more hosts, or train adapters "
        "(learn.lora_rank)",
        gigabytes(ranks), ranks, ranks == 1 ? "" : "s", gigabytes(4 * ranks), 4 * ranks);
  }
}

StepStats Learner::reinforce(const TrainingBatch& batch, std::int64_t step, std::int64_t total_steps) {
  const auto& config = state_->config;
  const double rate = config.learn.learning_rate *
                      schedule_factor(config.learn.schedule, config.learn.warmup_fraction, step, total_steps);
  return state_->run(batch, *state_->policy_objective, config.learn.loss, config.rollout.temperature, rate,
                     config.learn.updates_per_batch, config.learn.kl_coefficient > 0);
}

StepStats Learner::imitate(const TrainingBatch& batch, std::int64_t step, std::int64_t total_steps) {
  const auto& config = state_->config;
  const double rate =
      config.sft.learning_rate * schedule_factor(config.sft.schedule, config.sft.warmup_fraction, step, total_steps);
  return state_->run(batch, *state_->imitation_objective, "token_mean", 1.0, rate, 1, false);
}

std::vector<std::vector<std::vector<float>>> Learner::logprobs(const TrainingBatch& batch, double temperature) {
  std::vector<std::vector<std::vector<float>>> result(batch.groups.size());
  for (std::size_t i = 0; i < result.size(); ++i) result[i].resize(batch.groups[i].sequences.size());
  for (const auto& part : state_->micro_batches(batch, true)) {
    const auto rows = state_->network.evaluate(part, temperature, ShardedParameters::Version::current);
    for (const auto& sequence : part.sequences) {
      auto& out = result[sequence.group][sequence.index];
      for (std::int64_t i = 0; i < sequence.count; ++i) {
        out.push_back(rows[static_cast<std::size_t>(sequence.loss_begin + i)].logprob);
      }
    }
  }
  state_->drop_copies();
  return result;
}

void Learner::for_each_parameter(const std::function<void(const model::ParameterSpec&, const at::Tensor&)>& visit) {
  int unit = -1;
  at::Tensor flat, adapters;
  for (const auto& parameter : model::parameter_table(state_->spec)) {
    if (parameter.unit != unit) {
      unit = parameter.unit;
      flat.reset();
      adapters.reset();
      state_->drop_copies();
      flat = state_->parameters.gather(unit);
      if (state_->adapters) adapters = state_->adapters->gather(unit);
    }
    at::Tensor weight = state_->parameters.layout(unit).view(flat, parameter.name);
    if (state_->adapters) {
      weight = merged(weight, state_->adapter_of(unit, parameter, adapters), state_->low_rank.scale());
    }
    visit(parameter, weight);
  }
  state_->drop_copies();
}

std::vector<model::HeldSlice> Learner::own_slices() const {
  return held_slices(state_->parameters.layouts(), model::parameter_table(state_->spec), state_->communicator.rank());
}

std::vector<at::Tensor> Learner::own_values(int unit) {
  const at::Tensor shard = state_->parameters.own_shard(unit);
  at::Tensor adapters;
  if (state_->adapters) adapters = state_->adapters->gather(unit);
  std::vector<at::Tensor> values;
  for_each_own_slice(
      state_->parameters.layout(unit), state_->communicator.rank(),
      [&](const Slot& slot, const Slice& slice, std::int64_t offset) {
        const at::Tensor flat = shard.narrow(0, offset, slice.end - slice.begin);
        values.push_back(state_->adapters ? state_->merge_slice(unit, slot.parameter, slice, flat, adapters) : flat);
      });
  if (state_->adapters) state_->adapters->drop_copies();
  return values;
}

std::vector<TensorView> Learner::state() {
  return state_->trained().state();
}
void Learner::adopt_state() {
  state_->trained().adopt_state();
}
std::int64_t Learner::optimizer_steps() const {
  return state_->optimizer_steps;
}
void Learner::set_optimizer_steps(std::int64_t steps) {
  state_->optimizer_steps = steps;
}
void Learner::reset_optimizer() {
  state_->optimizer_steps = 0;
  state_->trained().zero_moments();
}

}  // namespace setrl::learn
