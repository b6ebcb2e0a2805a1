// Measures the engine as tools/ peer scripts measure others: `batch` completions of random prompts, `group` consecutive
// ones sharing a prompt, temperature 1, stop ids ignored.
#pragma once

#include "rollout/engine.h"

namespace setrl::rollout {

struct BenchOptions {
  int batch = 32, prompt = 256, new_tokens = 128, group = 1;
  std::uint64_t seed = 0;
  at::Device device = at::kCPU;  // where the engine computes
};

struct BenchResult {
  double seconds = 0;               // of a whole run
  double tokens_per_s = 0;          // new tokens / seconds
  double decode_tokens_per_s = 0;   // batch * (new - 1) / (seconds - seconds of a run of one new token)
  double prefill_tokens_per_s = 0;  // prompt tokens / seconds of a run of one new token
  StageSeconds prefill_stages{};    // where the seconds of a run of one new token went
  StageSeconds decode_stages{};     // where the decode seconds went: a whole run less one of one new token
  // On CPUs a decode step's matrix products alone, through LibTorch's linear. On GPUs the time to read the weights and
  // the keys and values once at the speed of memory.
  double limit_tokens_per_s = 0;
  double fraction_of_limit = 0;   // decode_tokens_per_s / limit_tokens_per_s
  double memory_bytes_per_s = 0;  // of a GPU, where it copies from its own memory to its own: read and written
};

// `engine`: ready, of this spec and dtype, max_batch >= batch. Runs once with two new tokens to warm up, then with one,
// then with `new_tokens`. Throws UserError where batch is not a multiple of group or new_tokens < 2.
BenchResult bench_rollout(Engine& engine, const model::ModelSpec& spec, at::ScalarType dtype,
                          const BenchOptions& options);

// Seconds of one decode step's products (best of five) for `batch` rows through at::linear on random weights. At most
// about 1 GiB of layers is measured and scaled to all of them.
double product_seconds(const model::ModelSpec& spec, at::ScalarType dtype, int batch);

// Bytes that a decode step reads at least, half way through a run: every weight once (of the
// embedding only if it is the head too), keys and values of every sequence, those of a shared prompt once a group.
double decode_step_bytes(const model::ModelSpec& spec, at::ScalarType dtype, const BenchOptions& options);

}  // namespace setrl::rollout
