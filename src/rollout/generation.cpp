#include "rollout/generation.h"

#include <algorithm>
#include <tuple>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"

namespace setrl::rollout {

namespace {
// Rows of prompts in one step: enough that a pass over the weights is paid by arithmetic.
constexpr std::int64_t kPrefillRows = 256;
}  // namespace

Generation::Generation(const model::ModelSpec& spec, const Kernels& kernels, KvCache& cache, Forward& forward,
                       ThreadTeam& team, const std::vector<GenerationRequest>& requests,
                       const SamplingOptions& sampling, int max_batch, std::int64_t version)
    : spec_(spec),
      cache_(cache),
      forward_(forward),
      team_(team),
      requests_(requests),
      options_(sampling),
      sampler_(kernels, spec.vocabulary, sampling),
      max_batch_(static_cast<std::size_t>(max_batch)),
      version_(version),
      prompts_(requests.size()),
      scratch_(static_cast<std::size_t>(team.size())) {
  check_requests();
  for (std::size_t i = 0; i < requests.size(); ++i) {
    prompts_[i].stream = stable_hash(requests[i].problem_id);
    prompts_[i].completions.resize(static_cast<std::size_t>(requests[i].samples));
  }
}

Generation::~Generation() {
  const auto give_back = [&](Sequence& sequence) {
    for (std::size_t p = sequence.shared; p < sequence.pages.size(); ++p) cache_.give_back(sequence.pages[p]);
  };
  for (auto& sequence : active_) give_back(sequence);
  for (auto& prompt : prompts_) {
    for (const auto page : prompt.pages) cache_.give_back(page);
  }
}

void Generation::check_requests() const {
  if (options_.max_new_tokens < 1)
    throw_user_error("max_new_tokens is {}: must be at least 1", options_.max_new_tokens);
  for (const auto& request : requests_) {
    if (request.prompt.empty()) throw_user_error("the prompt of problem {} is empty", request.problem_id);
    if (request.samples < 1) throw_user_error("problem {} asks for {} samples", request.problem_id, request.samples);
    const auto length = static_cast<std::int64_t>(request.prompt.size());
    if (spec_.max_positions > 0 && length >= spec_.max_positions) {
      throw_user_error("the prompt of problem {} has {} tokens, but the model ends at {} positions: shorten the prompt",
                       request.problem_id, length, spec_.max_positions);
    }
    for (const auto id : request.prompt) {
      if (id < 0 || id >= spec_.vocabulary) {
        throw_user_error(
            "the prompt of problem {} holds token {}, but the vocabulary has {} entries: tokenizer and "
            "model do not fit",
            request.problem_id, id, spec_.vocabulary);
      }
    }
  }
}

EngineStats Generation::run(const Engine::Done& done, const Engine::OnToken& on_token) {
  while (finished_requests_ < requests_.size()) {
    const Stopwatch clock;
    fill_slots();
    batch_.clear();
    draws_.clear();
    // Decoding joins a step with prefill only where that ends the backlog: at the start all sequences begin together,
    // later a newcomer's prompt rides along.
    std::int64_t backlog = 0;
    for (const auto request : prefilling_) backlog += prompt_length(request) - prompts_[request].prefilled;
    add_prefill(kPrefillRows);
    const auto prefill_rows = static_cast<double>(batch_.rows.size());
    if (backlog <= kPrefillRows) add_decode();
    batch_.draws = static_cast<std::int64_t>(draws_.size());
    forward_.run(team_, batch_, [&](int thread, std::int64_t index) { draw(thread, index); });
    for (const auto& result : draws_) take_result(result, done, on_token);
    const double prefill_share = prefill_rows / static_cast<double>(batch_.rows.size()), seconds = clock.seconds();
    stats_.prefill_s += seconds * prefill_share;
    stats_.decode_s += seconds * (1 - prefill_share);
  }
  return stats_;
}

void Generation::fill_slots() {
  while (active_.size() < max_batch_ && !ready_.empty()) {
    const auto place =
        std::upper_bound(active_.begin(), active_.end(), ready_.front(), [](const Sequence& a, const Sequence& b) {
          return std::tie(a.request, a.sample) < std::tie(b.request, b.sample);
        });
    start_sequence(*active_.insert(place, std::move(ready_.front())));
    ready_.pop_front();
  }
  while (next_request_ < requests_.size() && active_.size() + ready_.size() + prefilling_samples_ < max_batch_) {
    prefilling_samples_ += static_cast<std::size_t>(requests_[next_request_].samples);
    prefilling_.push_back(next_request_++);
  }
}

void Generation::start_sequence(Sequence& sequence) {
  Prompt& prompt = prompts_[sequence.request];
  sequence.shared = static_cast<std::size_t>(prompt_length(sequence.request) / kPageTokens);
  sequence.pages.assign(prompt.pages.begin(), prompt.pages.begin() + static_cast<std::ptrdiff_t>(sequence.shared));
  ++prompt.started;
  if (prompt.pages.size() == sequence.shared) return;
  // The prompt's last page is not full: each sample writes into its own copy, the last one into the page itself.
  if (prompt.started == requests_[sequence.request].samples) {
    sequence.pages.push_back(prompt.pages.back());
    prompt.pages.pop_back();
  } else {
    sequence.pages.push_back(cache_.take_copy(prompt.pages.back()));
  }
}

void Generation::add_tile(std::int64_t first_row, std::int64_t rows, std::int64_t shared_pages) {
  batch_.tiles.push_back({first_row, rows, shared_pages});
}

void Generation::add_prefill(std::int64_t budget) {
  while (budget > 0 && !prefilling_.empty()) {
    const std::size_t request = prefilling_.front();
    Prompt& prompt = prompts_[request];
    const std::int64_t length = prompt_length(request), end = std::min(length, prompt.prefilled + budget);
    budget -= end - prompt.prefilled;
    stats_.prompt_tokens += end - prompt.prefilled;
    while (static_cast<std::int64_t>(prompt.pages.size()) * kPageTokens < end) prompt.pages.push_back(cache_.take());
    const std::int64_t tile_rows = forward_.attention().tile_rows(length);
    while (prompt.prefilled < end) {
      const std::int64_t rows = std::min(tile_rows, end - prompt.prefilled);
      add_tile(static_cast<std::int64_t>(batch_.rows.size()), rows, (prompt.prefilled + rows - 1) / kPageTokens + 1);
      for (std::int64_t i = 0; i < rows; ++i, ++prompt.prefilled) {
        batch_.rows.push_back({requests_[request].prompt[static_cast<std::size_t>(prompt.prefilled)],
                               static_cast<std::int32_t>(prompt.prefilled), prompt.pages.data()});
      }
    }
    if (end < length) return;
    for (int sample = 0; sample < requests_[request].samples; ++sample) {
      draws_.push_back({static_cast<std::int64_t>(batch_.logit_rows.size()), request, sample, true, {}});
    }
    batch_.logit_rows.push_back(static_cast<std::int64_t>(batch_.rows.size()) - 1);
    prefilling_.pop_front();
    prefilling_samples_ -= static_cast<std::size_t>(requests_[request].samples);
  }
}

void Generation::add_decode() {
  std::int64_t tile_begin = 0;
  for (std::size_t i = 0; i < active_.size(); ++i) {
    Sequence& sequence = active_[i];
    const auto& tokens = prompts_[sequence.request].completions[static_cast<std::size_t>(sequence.sample)].tokens;
    const std::int64_t position = prompt_length(sequence.request) + static_cast<std::int64_t>(tokens.size()) - 1;
    if (static_cast<std::int64_t>(sequence.pages.size()) * kPageTokens <= position) {
      sequence.pages.push_back(cache_.take());
    }
    const auto row = static_cast<std::int64_t>(batch_.rows.size());
    batch_.rows.push_back({tokens.back(), static_cast<std::int32_t>(position), sequence.pages.data()});
    draws_.push_back(
        {static_cast<std::int64_t>(batch_.logit_rows.size()), sequence.request, sequence.sample, false, {}});
    batch_.logit_rows.push_back(row);
    const bool joins = i > 0 && active_[i - 1].request == sequence.request &&
                       row - tile_begin < forward_.attention().tile_rows(position + 1);
    if (joins) {
      ++batch_.tiles.back().rows;
    } else {
      tile_begin = row;
      add_tile(row, 1, static_cast<std::int64_t>(sequence.shared));
    }
  }
}

void Generation::draw(int thread, std::int64_t index) {
  Draw& draw = draws_[static_cast<std::size_t>(index)];
  const Completion& completion = prompts_[draw.request].completions[static_cast<std::size_t>(draw.sample)];
  const auto sample = static_cast<std::uint32_t>(requests_[draw.request].first_sample + draw.sample);
  const double uniform = uniform_at(options_.seed, prompts_[draw.request].stream, sample,
                                    static_cast<std::uint32_t>(completion.tokens.size()));
  draw.result = sampler_.draw(forward_.logits(draw.logits), uniform, scratch_[static_cast<std::size_t>(thread)]);
}

void Generation::take_result(const Draw& draw, const Engine::Done& done, const Engine::OnToken& on_token) {
  const GenerationRequest& request = requests_[draw.request];
  Prompt& prompt = prompts_[draw.request];
  Completion& completion = prompt.completions[static_cast<std::size_t>(draw.sample)];
  if (!draw.result.finite) {
    throw_user_error(
        "the logits of problem {} are not finite after {} new tokens: the weights have diverged or are "
        "damaged",
        request.problem_id, completion.tokens.size());
  }
  if (draw.first) {
    completion.problem_id = request.problem_id;
    completion.sample_index = request.first_sample + draw.sample;
    completion.oldest_version = version_;
    completion.newest_version = version_;
  }
  completion.tokens.push_back(draw.result.id);
  completion.logprobs.push_back(draw.result.logprob);
  ++stats_.new_tokens;
  if (on_token) on_token(request.tag, completion.sample_index, draw.result.id);

  const auto& stops = options_.stop_ids;
  const bool stopped = std::find(stops.begin(), stops.end(), draw.result.id) != stops.end();
  const auto count = static_cast<std::int64_t>(completion.tokens.size());
  const bool full = count >= options_.max_new_tokens ||
                    (spec_.max_positions > 0 && prompt_length(draw.request) + count >= spec_.max_positions);
  if (!stopped && !full) {
    if (draw.first) ready_.push_back({draw.request, draw.sample, {}, 0});
    return;
  }
  completion.finish = stopped ? FinishReason::end_of_turn : FinishReason::length;
  if (draw.first) {
    ++prompt.started;
  } else {
    const auto sequence = std::find_if(active_.begin(), active_.end(), [&](const Sequence& s) {
      return s.request == draw.request && s.sample == draw.sample;
    });
    for (std::size_t p = sequence->shared; p < sequence->pages.size(); ++p) cache_.give_back(sequence->pages[p]);
    active_.erase(sequence);
  }
  if (++prompt.finished == request.samples) finish(draw.request, done);
}

void Generation::finish(std::size_t request, const Engine::Done& done) {
  Prompt& prompt = prompts_[request];
  for (const auto page : prompt.pages) cache_.give_back(page);
  prompt.pages.clear();
  ++finished_requests_;
  if (done) done(requests_[request], std::move(prompt.completions));
}

}  // namespace setrl::rollout
