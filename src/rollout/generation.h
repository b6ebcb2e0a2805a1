// One call of Engine::generate: which rows run in which step (continuous batching), and what their draws mean.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "rollout/engine.h"
#include "rollout/forward.h"
#include "rollout/sampler.h"

namespace setrl::rollout {

class Generation {
 public:
  Generation(const model::ModelSpec& spec, const Kernels& kernels, KvCache& cache, Forward& forward, ThreadTeam& team,
             const std::vector<GenerationRequest>& requests, const SamplingOptions& sampling, int max_batch,
             std::int64_t version);
  ~Generation();  // gives all pages back, also after an exception

  EngineStats run(const Engine::Done& done, const Engine::OnToken& on_token);

 private:
  // A prompt on its way: prefilled once, its whole pages shared by its samples.
  struct Prompt {
    std::vector<KvCache::Page> pages;
    std::int64_t prefilled = 0;
    int started = 0, finished = 0;
    std::uint64_t stream = 0;
    std::vector<Completion> completions;
  };
  struct Sequence {
    std::size_t request = 0;
    int sample = 0;                    // 0 .. samples - 1
    std::vector<KvCache::Page> pages;  // the first `shared` belong to the prompt
    std::size_t shared = 0;
  };
  // One token to draw: from which logits, for which completion.
  struct Draw {
    std::int64_t logits = 0;
    std::size_t request = 0;
    int sample = 0;
    bool first = false;
    Drawn result;
  };

  void check_requests() const;
  std::int64_t prompt_length(std::size_t request) const {
    return static_cast<std::int64_t>(requests_[request].prompt.size());
  }
  void fill_slots();
  void start_sequence(Sequence& sequence);
  void add_prefill(std::int64_t budget);
  void add_decode();
  void add_tile(std::int64_t first_row, std::int64_t rows, std::int64_t shared_pages);
  void draw(int thread, std::int64_t index);
  void take_result(const Draw& draw, const Engine::Done& done, const Engine::OnToken& on_token);
  void finish(std::size_t request, const Engine::Done& done);

  const model::ModelSpec& spec_;
  KvCache& cache_;
  Forward& forward_;
  ThreadTeam& team_;
  const std::vector<GenerationRequest>& requests_;
  const SamplingOptions& options_;
  const Sampler sampler_;
  const std::size_t max_batch_;
  const std::int64_t version_;

  std::vector<Prompt> prompts_;
  std::deque<std::size_t> prefilling_;  // requests whose prompt is being computed, in order
  std::deque<Sequence> ready_;          // have their first token, wait for a slot
  std::vector<Sequence> active_;        // in order of (request, sample)
  std::size_t next_request_ = 0, finished_requests_ = 0, prefilling_samples_ = 0;
  Batch batch_;
  std::vector<Draw> draws_;
  std::vector<SamplerScratch> scratch_;
  EngineStats stats_;
};

}  // namespace setrl::rollout
