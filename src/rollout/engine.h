// Batched sampling with a KV cache. A completion depends on (weights, seed, problem id, sample index) only: not on the
// batch it ran in, nor on the rank. One thread calls an engine; it uses the process's compute threads inside
// (at::get_num_threads()).
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/model_spec.h"
#include "records/completion.h"
#include "rollout/isa.h"

namespace setrl::rollout {

struct SamplingOptions {
  double temperature = 1.0;  // 0 = greedy (log-probabilities then of the untempered policy)
  int top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
  int max_new_tokens = 256;
  std::uint64_t seed = 0;
  std::vector<std::int32_t> stop_ids;  // end-of-turn tokens: kept as the last token, finish = end_of_turn
};

// One prompt and how many completions of it are wanted; sample indices first_sample .. first_sample + samples - 1.
struct GenerationRequest {
  std::int64_t tag = 0;  // given back with the result
  std::string problem_id;
  std::vector<std::int32_t> prompt;
  int samples = 1;
  int first_sample = 0;
};

struct EngineStats {
  std::int64_t prompt_tokens = 0, new_tokens = 0;
  double prefill_s = 0, decode_s = 0;
};

class Engine {
 public:
  // `dtype`: float32 or bfloat16. `max_batch`: sequences decoded together. `isa`: the best this CPU has, unless given.
  // Memory: the weights once in `dtype` (tied embeddings once), KV pages for the tokens in flight (at most about
  // max_batch completions with their prompts, each prompt once; kept for the next call), logits of max_batch rows.
  Engine(const model::ModelSpec& spec, at::ScalarType dtype, int max_batch, std::optional<Isa> isa = std::nullopt);
  ~Engine();

  // Weight update, tensor by tensor under Hugging Face names, any dtype (converted). Between begin and end no
  // generation.
  void begin_update();
  void update(const std::string& name, const at::Tensor& tensor);
  void end_update(std::int64_t version);  // throws BugError where a parameter never came
  std::int64_t version() const;

  // Generates all requests with continuous batching; calls `done` once a request's last completion is finished (in
  // order of finishing). `on_token` (may be empty) sees each token as it is sampled: request tag, sample index, id.
  // A completion also ends (as `length`) where the model's max_positions is reached. Throws UserError on an empty or
  // too long prompt, an id outside the vocabulary, options out of range, and logits that are not finite (diverged
  // weights).
  using Done = std::function<void(const GenerationRequest&, std::vector<Completion>)>;
  using OnToken = std::function<void(std::int64_t tag, int sample, std::int32_t id)>;
  EngineStats generate(const std::vector<GenerationRequest>& requests, const SamplingOptions& sampling,
                       const Done& done, const OnToken& on_token = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace setrl::rollout
