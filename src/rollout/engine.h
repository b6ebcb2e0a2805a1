// Sampling with a KV cache and continuous batching. A completion depends on (weights, sampling options, seed, problem
// id, sample index) only: not on the batch it ran in, nor on how often it was preempted, nor on the rank (on GPUs: but
// for the rounding of products, docs/gpu.md). One thread calls an engine; on CPUs it uses the process's compute threads
// inside (at::get_num_threads()).
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "model/model_spec.h"
#include "records/completion.h"
#include "rollout/isa.h"
#include "rollout/profile.h"
#include "rollout/stop_rules.h"

namespace setrl::rollout {

struct SamplingOptions {
  double temperature = 1.0;  // 0 = greedy (log-probabilities then of the untempered policy)
  int top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
  int max_new_tokens = 256;
  std::uint64_t seed = 0;
  std::vector<std::int32_t> stop_ids;      // end-of-turn tokens: kept as the last token, finish = end_of_turn
  std::shared_ptr<const StopRules> rules;  // ends or steers a completion by its text (also end_of_turn); may be null
};

// One prompt and how many completions of it are wanted; sample indices first_sample .. first_sample + samples - 1.
struct GenerationRequest {
  std::int64_t tag = 0;  // given back with the result
  std::string problem_id;
  std::vector<std::int32_t> prompt;
  int samples = 1;
  int first_sample = 0;
  // [samples] Where a request goes on that was in flight elsewhere (Engine::for_each_in_flight): its completions so
  // far, each with a token at least, one of them unfinished. Empty: all begin at the prompt.
  std::vector<Completion> begun = {};
};

// What happens to the keys and values of completions in flight when new weights come.
enum class KvOnUpdate {
  recompute,  // dropped and computed again with the new weights: each later token is the new policy's own, whatever was
              // preempted; costs a prefill of what is in flight
  keep,       // stay as the old weights made them (a preempted completion is nevertheless recomputed with the new ones)
};

struct EngineOptions {
  at::Device device = at::kCPU;  // or a GPU (kCUDA) in the build for them
  int max_batch = 64;            // sequences decoded together
  // Most memory of keys and values. 0: on CPUs as much as max_batch sequences need, on GPUs most of what is free there.
  std::int64_t kv_cache_bytes = 0;
  KvOnUpdate kv_on_update = KvOnUpdate::recompute;
  // CPUs only:
  bool pin = false;  // each compute thread on a core of its own, this process's by its place among those of the host
  std::optional<Isa> isa;  // the best this CPU has, unless given
};

// Counts and seconds since the engine was made.
struct EngineStats {
  std::int64_t prompt_tokens = 0;      // computed for the first time
  std::int64_t new_tokens = 0;         // sampled
  std::int64_t recomputed_tokens = 0;  // computed again after preemption or new weights
  std::int64_t preemptions = 0;        // sequences and prompts that lost their pages to older ones
  double prefill_s = 0, decode_s = 0;
  EngineStats since(const EngineStats& earlier) const;
};

class Engine {
 public:
  // `dtype`: float32 or bfloat16. Memory: the weights once in `dtype` (tied embeddings once), KV pages for the tokens
  // in flight (each prompt once; kept for later requests), logits of max_batch rows.
  //
  // `ranks` of more than one member: tensor parallelism. Each member holds its part of every layer, makes the same
  // calls with the same arguments in the same order (of the options' kv_cache_bytes and max_batch the smallest counts),
  // and sees the same results. Sums over ranks are in rank order: results are the same in every run with this number of
  // ranks, and differ from those of one rank by float32 rounding of the two sums a layer. Throws UserError where heads,
  // kv heads, inner columns or vocabulary do not divide. `ranks` must outlive the engine; on GPUs it is a communicator
  // for memory of the device (comm/device.h), and its sums are in an order of its own.
  Engine(const model::ModelSpec& spec, at::ScalarType dtype, const EngineOptions& options,
         comm::Communicator* ranks = nullptr);
  Engine(const model::ModelSpec& spec, at::ScalarType dtype, int max_batch, std::optional<Isa> isa = std::nullopt);
  ~Engine();

  // Weight update, tensor by tensor under Hugging Face names, any dtype (converted). No step between begin and end.
  // Requests may be in flight (see KvOnUpdate): their completions keep the version of their first token as
  // oldest_version and get that of their last one as newest_version.
  void begin_update();
  void update(const std::string& name, const at::Tensor& whole);
  // The same where the tensor comes cut: this rank's part of it, in the shape of model::part_shape.
  void update_part(const std::string& name, const at::Tensor& part);
  void end_update(std::int64_t version);  // throws BugError where a parameter never came
  std::int64_t version() const;

  // Called once for a request whose last completion is finished, at the end of a step; may submit and cancel requests.
  using Done = std::function<void(const GenerationRequest&, std::vector<Completion>)>;
  // Sees each token as it is sampled: request tag, sample index, id. Must not call the engine.
  using OnToken = std::function<void(std::int64_t tag, int sample, std::int32_t id)>;

  // Puts a request in the queue and returns its handle; requests are served in this order, each with its own options.
  // A completion also ends (as `length`) where the model's max_positions is reached. Throws UserError on an empty or
  // too long prompt, an id outside the vocabulary, options out of range, and a request that cannot fit kv_cache_bytes
  // even alone.
  std::int64_t submit(GenerationRequest request, const SamplingOptions& sampling);
  // Sees the requests in flight that have tokens, oldest first, with their completions so far; those that are still
  // written are FinishReason::unfinished. Submitted with these, here or elsewhere, a request goes on as if it had lost
  // its pages: keys and values are computed again with the present weights, the next draws are those that it would have
  // had.
  using Visit = std::function<void(const GenerationRequest&, const std::vector<Completion>&)>;
  void for_each_in_flight(const Visit& visit) const;
  // Takes a request and its unfinished completions out; `done` will not see it. False where it is not in flight.
  bool cancel(std::int64_t handle);
  // One forward pass: prompts of newcomers and one token of every running sequence, as pages and slots allow. Nothing
  // where idle. Throws UserError where logits are not finite (diverged weights): all requests are dropped then.
  void step(const Done& done, const OnToken& on_token = nullptr);
  bool idle() const;               // no request in flight
  std::int64_t in_flight() const;  // unfinished requests
  std::int64_t sequences() const;  // unfinished completions of them
  const EngineStats& stats() const;
  const StageSeconds& stage_seconds() const;  // where the time of all passes went

  // Submits all requests and steps until they are finished; the engine must be idle. After an exception it is idle.
  EngineStats generate(const std::vector<GenerationRequest>& requests, const SamplingOptions& sampling,
                       const Done& done, const OnToken& on_token = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace setrl::rollout
