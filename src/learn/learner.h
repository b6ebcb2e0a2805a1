// The sharded learner: FSDP units over a communicator, packed groups with shared prompts, chunked head and loss, AdamW.
// Every member function is collective over the learners' communicator. One thread calls it.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "config/run_config.h"
#include "model/model_spec.h"
#include "model/weight_source.h"
#include "records/tensor_view.h"
#include "records/training_batch.h"

namespace setrl::learn {

// Means over all learners' tokens; equal on every rank.
struct StepStats {
  double loss = 0, grad_norm = 0, clip_fraction = 0, kl = 0, entropy = 0;
  double logprob_gap_mean = 0, logprob_gap_max = 0;  // |rollout - learner|, natural log
  double learning_rate = 0;
  std::int64_t tokens = 0;         // completion tokens trained on (forced ones are not), all ranks
  std::int64_t total_tokens = 0;   // with prompts, each prompt once
  std::int64_t micro_batches = 0;  // of an update: the largest count of any rank
  bool skipped = false;            // loss or gradient was not finite
};

class Learner {
 public:
  // Reads its shards from `source`. Borrows `communicator`, which must know memory of `device`, where it computes.
  // UserError where the memory does not suffice.
  Learner(const RunConfig& config, const model::WeightSource& source, comm::Communicator& communicator,
          at::Device device = at::kCPU);
  ~Learner();

  // One GRPO update (config.learn.*) from this rank's share. `total_steps` for the schedule.
  StepStats reinforce(const TrainingBatch& batch, std::int64_t step, std::int64_t total_steps);

  // One supervised update: mean negative log-likelihood of the sequences' tokens (config.sft.learning_rate).
  StepStats imitate(const TrainingBatch& batch, std::int64_t step, std::int64_t total_steps);

  // Log-probabilities of every sequence's tokens under the current weights at `temperature`; no gradient.
  std::vector<std::vector<std::vector<float>>> logprobs(const TrainingBatch& batch, double temperature);

  // Gathers unit after unit in the compute dtype and shows each parameter whole, on every rank, in table order;
  // adapters (learn.lora_rank) are merged in. On the learner's device, as own_values.
  void for_each_parameter(const std::function<void(const model::ParameterSpec&, const at::Tensor&)>& visit);

  // What this rank holds of the policy, unit by unit, of the parameters in model::parameter_table, for a push from
  // shard to shard. The same as long as the learner lives.
  std::vector<model::HeldSlice> own_slices() const;
  // Their values in the compute dtype, flat, for one unit; adapters are merged in (those are gathered, nothing else
  // is).
  std::vector<at::Tensor> own_values(int unit);

  // This rank's slices of "parameters/NAME", "moment1/NAME", "moment2/NAME" (float32, writable) for the store, and the
  // number of optimizer steps done (bias correction). With learn.lora_rank: of the adapters (model/low_rank.h), which
  // are all that changes. In host memory: of a learner on a GPU a copy, made anew by each call.
  std::vector<TensorView> state();
  void adopt_state();  // after something was written to it
  std::int64_t optimizer_steps() const;
  void set_optimizer_steps(std::int64_t steps);
  void reset_optimizer();  // moments and step count to zero (between sft and reinforcement)

 private:
  struct State;
  // Turns a refused allocation into a UserError that says what fits.
  static std::unique_ptr<State> make_state(const RunConfig& config, const model::WeightSource& source,
                                           comm::Communicator& communicator, at::Device device);
  std::unique_ptr<State> state_;
};

}  // namespace setrl::learn
