#include "rollout/scheduler.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/random.h"
#include "rollout/sampler.h"

namespace setrl::rollout {

namespace {
// Tokens of a completion for which memory is set aside at its start.
constexpr int kReservedTokens = 4096;
}  // namespace

std::int64_t Scheduler::Sequence::length() const {
  return request->length() +
         static_cast<std::int64_t>(request->completions[static_cast<std::size_t>(sample)].tokens.size());
}

Scheduler::Scheduler(const model::ModelSpec& spec, ModelRunner& runner, int max_batch)
    : spec_(spec), runner_(runner), cache_(runner.pages()), max_batch_(static_cast<std::size_t>(max_batch)) {
  active_.reserve(max_batch_);
}

void Scheduler::check_request(const GenerationRequest& request, const SamplingOptions& options) const {
  if (options.max_new_tokens < 1) throw_user_error("max_new_tokens is {}: must be at least 1", options.max_new_tokens);
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

std::int64_t Scheduler::longest(const Request& request) const {
  const std::int64_t end = request.length() + request.options.max_new_tokens;
  return spec_.max_positions > 0 ? std::min(end, spec_.max_positions) : end;
}

std::int64_t Scheduler::submit(GenerationRequest asked, const SamplingOptions& options) {
  check_request(asked, options);
  check_sampling(options);
  Request request(next_id_, std::move(asked), options);
  // Alone it needs the pages of one sample and the prompt's last page, of which each sample has its own copy.
  const std::int64_t pages = PagePool::pages_of(longest(request)) + 1;
  if (pages > cache_.limit()) {
    throw_user_error(
        "one completion of problem {} ({} prompt tokens and up to {} new ones) needs {} MiB of KV cache, but the "
        "budget is {} MiB: raise rollout.kv_cache_bytes or lower rollout.max_new_tokens",
        request.asked.problem_id, request.length(), options.max_new_tokens, (pages * cache_.page_bytes() >> 20) + 1,
        cache_.limit() * cache_.page_bytes() >> 20);
  }
  request.stream = stable_hash(request.asked.problem_id);
  request.phases.resize(static_cast<std::size_t>(request.asked.samples), Phase::fresh);
  request.completions.resize(static_cast<std::size_t>(request.asked.samples));
  if (options.rules && options.rules->any()) {
    options.rules->check();
    request.watches.resize(static_cast<std::size_t>(request.asked.samples), StopWatch(*options.rules));
  }
  if (!request.asked.begun.empty()) go_on(request);
  requests_.emplace_hint(requests_.end(), next_id_, std::move(request));
  return next_id_++;
}

void Scheduler::go_on(Request& request) const {
  request.completions = std::exchange(request.asked.begun, {});
  SETRL_CHECK(request.completions.size() == request.phases.size(), "problem {}", request.asked.problem_id);
  for (std::size_t i = 0; i < request.phases.size(); ++i) {
    const Completion& completion = request.completions[i];
    const auto count = static_cast<std::int64_t>(completion.tokens.size());
    const bool ended = completion.finish != FinishReason::unfinished;
    SETRL_CHECK(count > 0 && (ended || request.length() + count < longest(request)), "{} tokens cannot go on", count);
    request.phases[i] = ended ? Phase::finished : Phase::waiting;
    ++(ended ? request.finished : request.waiting);
    if (request.watches.empty()) continue;
    for (const auto token : completion.tokens) request.watches[i].push(token);
  }
  SETRL_CHECK(request.waiting > 0, "problem {} is finished", request.asked.problem_id);
  request.drawn = true;
}

void Scheduler::for_each_in_flight(const Engine::Visit& visit) const {
  for (const auto& [id, request] : requests_) {
    if (!request.drawn) continue;
    auto completions = request.completions;
    for (std::size_t i = 0; i < completions.size(); ++i) {
      if (request.phases[i] != Phase::finished) completions[i].finish = FinishReason::unfinished;
    }
    visit(request.asked, completions);
  }
}

bool Scheduler::cancel(std::int64_t id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return false;
  for (std::size_t i = active_.size(); i-- > 0;) {
    if (active_[i].request != &found->second) continue;
    release(active_[i]);
    active_.erase(active_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  drop_prompt(found->second);
  requests_.erase(found);
  return true;
}

void Scheduler::cancel_all() {
  while (!requests_.empty()) cancel(requests_.begin()->first);
  finished_.clear();
}

std::int64_t Scheduler::sequences() const {
  std::int64_t count = 0;
  for (const auto& [id, request] : requests_) count += request.asked.samples - request.finished;
  return count;
}

void Scheduler::drop_cached() {
  for (std::size_t i = active_.size(); i-- > 0;) preempt(i);
  while (!residents_.empty()) drop_prompt(*residents_.back());
}

void Scheduler::step(std::int64_t version, const Engine::Done& done, const Engine::OnToken& on_token) {
  const Stopwatch clock;
  if (!requests_.empty()) {
    admit();
    // Decoding joins a pass with prefill only where that ends the backlog: at the start all sequences begin together,
    // later a newcomer's prompt rides along. (Prompts that wait for pages must not hold up the others.)
    plan(backlog() <= runner_.prefill_rows());
    if (batch_.rows.empty()) plan(true);
    SETRL_CHECK(!batch_.rows.empty(), "{} requests, but none can go on", requests_.size());
    const auto prefill_rows = static_cast<double>(runner_.prefill_rows() - budget_);
    try {
      runner_.run(batch_, results_);
    } catch (...) {
      cancel_all();  // positions count as computed whose keys and values are not there
      throw;
    }
    for (std::size_t i = 0; i < draws_.size(); ++i) {
      if (results_[i].finite) continue;
      const Draw& draw = draws_[i];
      const std::string problem = draw.request->asked.problem_id;
      const auto tokens = draw.request->completions[static_cast<std::size_t>(draw.sample)].tokens.size();
      cancel_all();
      throw_user_error(
          "the logits of problem {} are not finite after {} new tokens: the weights have diverged or are damaged",
          problem, tokens);
    }
    for (std::size_t i = 0; i < draws_.size(); ++i) take_result(draws_[i], results_[i], version, on_token);
    const double prefill_share = prefill_rows / static_cast<double>(batch_.rows.size()), seconds = clock.seconds();
    stats_.prefill_s += seconds * prefill_share;
    stats_.decode_s += seconds * (1 - prefill_share);
  }
  while (!finished_.empty()) {
    Request request = std::move(finished_.front());
    finished_.pop_front();
    if (done) done(request.asked, std::move(request.completions));
  }
}

// --- who may run -----------------------------------------------------------------------------------------------------

void Scheduler::admit() {
  std::size_t reserved = 0;  // slots that run or are spoken for
  for (auto& [id, request] : requests_) {
    if (reserved >= max_batch_) return;
    if (!request.resident) {
      if (id != requests_.begin()->first && !has_room(request)) return;
      request.resident = true;
      residents_.insert(std::upper_bound(residents_.begin(), residents_.end(), id,
                                         [](std::int64_t value, const Request* other) { return value < other->id; }),
                        &request);
    }
    if (request.waiting > 0 && request.cached()) {
      for (int sample = 0; sample < request.asked.samples && active_.size() < max_batch_; ++sample) {
        if (request.phases[static_cast<std::size_t>(sample)] != Phase::waiting) continue;
        if (!start(request, sample)) return;
      }
    }
    reserved += static_cast<std::size_t>(request.asked.samples - request.finished);
  }
}

// Whether a newcomer's prompt and first pages fit besides what those already let in will need soon.
bool Scheduler::has_room(const Request& request) const {
  const auto wanted = [](const Request& r) {
    return PagePool::pages_of(r.length()) - static_cast<std::int64_t>(r.pages.size()) + r.asked.samples - r.finished;
  };
  std::int64_t promised = wanted(request);
  for (const Request* other : residents_) {
    if (promised > cache_.available()) return false;
    promised += std::max<std::int64_t>(wanted(*other), 0);
  }
  return promised <= cache_.available();
}

bool Scheduler::start(Request& request, int sample) {
  Sequence sequence;
  sequence.request = &request;
  sequence.sample = sample;
  sequence.shared = request.length() / kPageTokens;
  const std::int64_t own = PagePool::pages_of(sequence.length()) - sequence.shared;
  // One page for each that runs: what starts must not lose its pages at once. The oldest may always run.
  const bool first = request.id == requests_.begin()->first && request.active == 0;
  if (!first && own + static_cast<std::int64_t>(active_.size()) > cache_.available()) return false;

  sequence.pages.reserve(static_cast<std::size_t>(PagePool::pages_of(longest(request))));
  sequence.pages.assign(request.pages.begin(), request.pages.begin() + sequence.shared);
  sequence.computed = sequence.shared * kPageTokens;
  if (static_cast<std::int64_t>(request.pages.size()) > sequence.shared) {
    // The prompt's last page is not full: each sample writes into its own copy, the last one into the page itself.
    sequence.computed = request.length();
    if (request.waiting == 1) {
      sequence.pages.push_back(request.pages.back());
      request.pages.pop_back();
    } else {
      const PagePool::Page page = acquire(request, sample);
      if (page == nullptr) return false;
      cache_.copy(request.pages.back(), page);
      sequence.pages.push_back(page);
    }
  }
  request.phases[static_cast<std::size_t>(sample)] = Phase::active;
  --request.waiting;
  ++request.active;
  const auto place = std::upper_bound(active_.begin(), active_.end(), sequence, [](const auto& a, const auto& b) {
    return std::tie(a.request->id, a.sample) < std::tie(b.request->id, b.sample);
  });
  active_.insert(place, std::move(sequence));
  return true;
}

// A page for sample `sample` of a request (-1: its prompt), taken from younger holders if need be; null where there is
// none.
PagePool::Page Scheduler::acquire(const Request& request, int sample) {
  while (cache_.available() == 0) {
    if (!evict_younger(request.id, sample)) return nullptr;
  }
  return cache_.take();
}

bool Scheduler::evict_younger(std::int64_t id, int sample) {
  for (std::size_t i = residents_.size(); i-- > 0;) {
    Request& holder = *residents_[i];
    if (holder.id < id) return false;
    if (holder.active > 0) {
      // No younger request has active samples, so the last one is its.
      if (holder.id == id && active_.back().sample <= sample) return false;
      preempt(active_.size() - 1);
      ++stats_.preemptions;
      return true;
    }
    if (holder.id == id) return false;
    stats_.preemptions += holder.pages.empty() ? 0 : 1;
    drop_prompt(holder);
    return true;
  }
  return false;
}

void Scheduler::preempt(std::size_t index) {
  Sequence& sequence = active_[index];
  Request& request = *sequence.request;
  release(sequence);
  request.phases[static_cast<std::size_t>(sequence.sample)] = Phase::waiting;
  ++request.waiting;
  --request.active;
  active_.erase(active_.begin() + static_cast<std::ptrdiff_t>(index));
}

void Scheduler::release(Sequence& sequence) {
  for (auto page = sequence.pages.begin() + sequence.shared; page != sequence.pages.end(); ++page) {
    cache_.give_back(*page);
  }
}

void Scheduler::drop_prompt(Request& request) {
  if (!request.resident) return;
  for (const auto page : request.pages) cache_.give_back(page);
  request.pages.clear();
  request.prefilled = 0;
  request.resident = false;
  residents_.erase(std::find(residents_.begin(), residents_.end(), &request));
}

// --- rows of a pass --------------------------------------------------------------------------------------------------

std::int64_t Scheduler::backlog() const {
  std::int64_t rows = 0;
  for (const Request* request : residents_) rows += request->length() - request->prefilled;
  for (const auto& sequence : active_) rows += sequence.length() - 1 - sequence.computed;
  return rows;
}

// Oldest first: whoever needs a page takes it from younger ones, which have no rows in this pass yet.
void Scheduler::plan(bool decode) {
  batch_.clear();
  draws_.clear();
  budget_ = runner_.prefill_rows();
  tile_of_ = nullptr;
  std::size_t next = 0;                                  // in active_
  for (std::size_t i = 0; i < residents_.size(); ++i) {  // shrinks at its end
    Request& request = *residents_[i];
    if (!request.cached()) plan_prompt(request);
    while (next < active_.size() && active_[next].request == &request) {
      if (plan_sequence(next, decode)) ++next;
    }
  }
}

void Scheduler::plan_prompt(Request& request) {
  const std::int64_t length = request.length(), begin = request.prefilled;
  std::int64_t end = std::min(length, begin + budget_);
  while (static_cast<std::int64_t>(request.pages.size()) * kPageTokens < end) {
    const PagePool::Page page = acquire(request, -1);
    if (page == nullptr) break;
    request.pages.push_back(page);
  }
  end = std::min(end, static_cast<std::int64_t>(request.pages.size()) * kPageTokens);
  if (end <= begin) return;
  budget_ -= end - begin;
  add_rows(request.asked.prompt.data() + begin, begin, end, request.pages.data());
  request.prefilled = end;
  const std::int64_t fresh = std::max<std::int64_t>(end - std::max(begin, request.highest), 0);
  request.highest = std::max(request.highest, end);
  stats_.prompt_tokens += fresh;
  stats_.recomputed_tokens += end - begin - fresh;
  if (end < length || request.drawn) return;
  for (int sample = 0; sample < request.asked.samples; ++sample) add_draw(request, sample);
  batch_.logit_rows.push_back(static_cast<std::int64_t>(batch_.rows.size()) - 1);
  request.drawn = true;
}

// False where the sequence lost its place for want of a page.
bool Scheduler::plan_sequence(std::size_t index, bool decode) {
  Sequence& sequence = active_[index];
  Request& request = *sequence.request;
  const auto& tokens = request.completions[static_cast<std::size_t>(sequence.sample)].tokens;
  const std::int64_t last = sequence.length() - 1, begin = sequence.computed;
  if (begin == last && !decode) return true;
  const std::int64_t end = begin == last ? last + 1 : std::min(last, begin + budget_);
  if (begin >= end) return true;  // the pass is full
  while (static_cast<std::int64_t>(sequence.pages.size()) * kPageTokens < end) {
    const PagePool::Page page = acquire(request, sequence.sample);
    if (page == nullptr) {
      preempt(index);
      ++stats_.preemptions;
      return false;
    }
    sequence.pages.push_back(page);
  }
  sequence.computed = end;
  if (begin == last) {
    add_decode_row(sequence, last);
    return true;
  }
  // Recomputation of what was written before the sequence lost its pages, up to the last token.
  budget_ -= end - begin;
  stats_.recomputed_tokens += end - begin;
  catch_up_.clear();
  for (std::int64_t position = begin; position < end; ++position) {
    catch_up_.push_back(position < request.length() ? request.asked.prompt[static_cast<std::size_t>(position)]
                                                    : tokens[static_cast<std::size_t>(position - request.length())]);
  }
  add_rows(catch_up_.data(), begin, end, sequence.pages.data());
  return true;
}

// Consecutive positions of one sequence, of which all pages are shared.
void Scheduler::add_rows(const std::int32_t* tokens, std::int64_t begin, std::int64_t end,
                         const PagePool::Page* pages) {
  tile_of_ = nullptr;
  const std::int64_t tile_rows = runner_.tile_rows(end);
  for (std::int64_t at = begin; at < end;) {
    const std::int64_t rows = std::min(tile_rows, end - at);
    batch_.tiles.push_back({static_cast<std::int64_t>(batch_.rows.size()), rows, (at + rows - 1) / kPageTokens + 1});
    for (const std::int64_t stop = at + rows; at < stop; ++at) {
      batch_.rows.push_back({tokens[at - begin], static_cast<std::int32_t>(at), pages});
    }
  }
}

void Scheduler::add_decode_row(const Sequence& sequence, std::int64_t position) {
  const auto row = static_cast<std::int64_t>(batch_.rows.size());
  const auto& tokens = sequence.request->completions[static_cast<std::size_t>(sequence.sample)].tokens;
  batch_.rows.push_back({tokens.back(), static_cast<std::int32_t>(position), sequence.pages.data()});
  add_draw(*sequence.request, sequence.sample);
  batch_.logit_rows.push_back(row);
  if (tile_of_ == sequence.request && batch_.tiles.back().rows < runner_.tile_rows(position + 1)) {
    ++batch_.tiles.back().rows;
  } else {
    batch_.tiles.push_back({row, 1, sequence.shared});
    tile_of_ = sequence.request;
  }
}

// The next token of a sample, from the logits of the next of `logit_rows`.
void Scheduler::add_draw(Request& request, int sample) {
  const auto at = static_cast<std::size_t>(sample);
  const auto number = static_cast<std::uint32_t>(request.asked.first_sample + sample);
  const auto position = static_cast<std::uint32_t>(request.completions[at].tokens.size());
  DrawOrder order;
  order.logits = static_cast<std::int64_t>(batch_.logit_rows.size());
  order.options = &request.options;
  order.uniform = uniform_at(request.options.seed, request.stream, number, position);
  if (!request.watches.empty()) order.forced = request.watches[at].forced();
  batch_.draws.push_back(order);
  draws_.push_back({&request, sample});
}

// --- results ---------------------------------------------------------------------------------------------------------

void Scheduler::take_result(const Draw& draw, const Drawn& result, std::int64_t version,
                            const Engine::OnToken& on_token) {
  Request& request = *draw.request;
  const auto index = static_cast<std::size_t>(draw.sample);
  Completion& completion = request.completions[index];
  if (request.phases[index] == Phase::fresh) {
    completion.problem_id = request.asked.problem_id;
    completion.sample_index = request.asked.first_sample + draw.sample;
    completion.oldest_version = version;
    const auto room = static_cast<std::size_t>(std::min(request.options.max_new_tokens, kReservedTokens));
    completion.tokens.reserve(room);
    completion.logprobs.reserve(room);
    request.phases[index] = Phase::waiting;
    ++request.waiting;
  }
  completion.newest_version = version;
  bool ruled = false;
  if (!request.watches.empty()) {
    StopWatch& watch = request.watches[index];
    if (watch.forced() >= 0) {
      // Empty until the first forced token: most completions have none.
      completion.forced.resize(completion.tokens.size());
      completion.forced.push_back(1);
    } else if (!completion.forced.empty()) {
      completion.forced.push_back(0);
    }
    ruled = watch.push(result.id);
  }
  completion.tokens.push_back(result.id);
  completion.logprobs.push_back(result.logprob);
  ++stats_.new_tokens;
  if (on_token) on_token(request.asked.tag, completion.sample_index, result.id);

  const auto& stops = request.options.stop_ids;
  const auto count = static_cast<std::int64_t>(completion.tokens.size());
  if (ruled || std::find(stops.begin(), stops.end(), result.id) != stops.end()) {
    finish_sample(request, draw.sample, FinishReason::end_of_turn);
  } else if (request.length() + count >= longest(request)) {
    finish_sample(request, draw.sample, FinishReason::length);
  }
}

void Scheduler::finish_sample(Request& request, int sample, FinishReason reason) {
  const auto index = static_cast<std::size_t>(sample);
  Completion& completion = request.completions[index];
  completion.finish = reason;
  completion.tokens.shrink_to_fit();
  completion.logprobs.shrink_to_fit();
  if (request.phases[index] == Phase::active) {
    const auto sequence = std::find_if(active_.begin(), active_.end(),
                                       [&](const Sequence& s) { return s.request == &request && s.sample == sample; });
    release(*sequence);
    active_.erase(sequence);
    --request.active;
  } else {
    --request.waiting;
  }
  request.phases[index] = Phase::finished;
  if (++request.finished < request.asked.samples) return;
  drop_prompt(request);
  const std::int64_t id = request.id;
  finished_.push_back(std::move(request));
  requests_.erase(id);
}

}  // namespace setrl::rollout
