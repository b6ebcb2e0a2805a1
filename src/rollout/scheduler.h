// Which rows run in which forward pass (continuous batching), who holds which KV pages, and what the draws mean.
// Requests are served in the order of submission; where pages run out the youngest holder loses its own and is computed
// again later (preemption by recomputation), so the oldest always gets on, whatever the load.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "rollout/batch.h"
#include "rollout/engine.h"
#include "rollout/model_runner.h"

namespace setrl::rollout {

class Scheduler {
 public:
  Scheduler(const model::ModelSpec& spec, ModelRunner& runner, int max_batch);

  std::int64_t submit(GenerationRequest request, const SamplingOptions& options);  // see Engine
  void for_each_in_flight(const Engine::Visit& visit) const;                       // see Engine
  bool cancel(std::int64_t id);
  void cancel_all();
  void drop_cached();  // keys and values of all requests in flight are computed again
  void step(std::int64_t version, const Engine::Done& done, const Engine::OnToken& on_token);
  std::int64_t in_flight() const { return static_cast<std::int64_t>(requests_.size() + finished_.size()); }
  std::int64_t sequences() const;
  const EngineStats& stats() const { return stats_; }

 private:
  enum class Phase : std::uint8_t { fresh, waiting, active, finished };  // waiting: has tokens, but no slot and pages

  struct Request {
    Request(std::int64_t number, GenerationRequest given, const SamplingOptions& how)
        : id(number), asked(std::move(given)), options(how) {}
    std::int64_t id;
    GenerationRequest asked;
    SamplingOptions options;
    std::uint64_t stream = 0;
    std::vector<PagePool::Page> pages;     // of the prompt: computed once, the whole ones shared by the samples
    std::int64_t prefilled = 0;            // positions
    std::int64_t highest = 0;              // positions ever computed, for the count of recomputed ones
    bool resident = false, drawn = false;  // may hold pages; first tokens were drawn
    int waiting = 0, active = 0, finished = 0;
    std::vector<Phase> phases;
    std::vector<Completion> completions;
    std::vector<StopWatch> watches;  // empty where no rules are given
    std::int64_t length() const { return static_cast<std::int64_t>(asked.prompt.size()); }
    bool cached() const { return prefilled == length(); }
  };
  // A sample that runs.
  struct Sequence {
    Request* request = nullptr;
    int sample = 0;                     // 0 .. samples - 1
    std::vector<PagePool::Page> pages;  // the first `shared` belong to the prompt
    std::int64_t shared = 0;
    std::int64_t computed = 0;  // positions whose keys and values are there
    std::int64_t length() const;
  };
  // Whose token a draw is.
  struct Draw {
    Request* request = nullptr;
    int sample = 0;
  };

  void check_request(const GenerationRequest& request, const SamplingOptions& options) const;
  std::int64_t longest(const Request& request) const;  // positions a completion may reach
  void go_on(Request& request) const;                  // from asked.begun, which it takes

  void admit();
  bool has_room(const Request& request) const;
  bool start(Request& request, int sample);
  PagePool::Page acquire(const Request& request, int sample);
  bool evict_younger(std::int64_t id, int sample);
  void preempt(std::size_t index);
  void release(Sequence& sequence);
  void drop_prompt(Request& request);

  std::int64_t backlog() const;
  void plan(bool decode);
  void plan_prompt(Request& request);
  bool plan_sequence(std::size_t index, bool decode);
  void add_rows(const std::int32_t* tokens, std::int64_t begin, std::int64_t end, const PagePool::Page* pages);
  void add_decode_row(const Sequence& sequence, std::int64_t position);

  void add_draw(Request& request, int sample);
  void take_result(const Draw& draw, const Drawn& result, std::int64_t version, const Engine::OnToken& on_token);
  void finish_sample(Request& request, int sample, FinishReason reason);

  const model::ModelSpec& spec_;
  ModelRunner& runner_;
  PagePool& cache_;
  const std::size_t max_batch_;

  std::map<std::int64_t, Request> requests_;  // unfinished, oldest first
  std::vector<Request*> residents_;           // those that may hold pages, oldest first
  std::vector<Sequence> active_;              // in order of (request, sample)
  std::deque<Request> finished_;              // to be reported
  std::int64_t next_id_ = 0;

  Batch batch_;
  std::int64_t budget_ = 0;             // rows of prompts and recomputation left in this pass
  const Request* tile_of_ = nullptr;    // whose decode rows the last tile holds
  std::vector<std::int32_t> catch_up_;  // tokens of a sequence that is recomputed
  std::vector<Draw> draws_;             // of batch_.draws
  std::vector<Drawn> results_;
  EngineStats stats_;
};

}  // namespace setrl::rollout
