// The arithmetic of the engine, one table of functions per instruction set and storage type. Every function's result
// for a row depends on that row only and is summed in one fixed order, whatever rows or threads surround it: batch
// invariance rests on this. "act" is the type in which activations enter a matrix product: bfloat16 where the CPU
// multiplies it natively, float32 elsewhere.
#pragma once

#include <cstdint>

namespace setrl::rollout {

// c[r, 0..32) = (add ? c : 0) + sum over k of a[r, k] * B[0..32, k], for 1..max_rows rows r. B: two panels (layout.h).
struct TileCall {
  const void* a = nullptr;    // act
  std::int64_t a_stride = 0;  // bytes
  const void* b = nullptr;    // storage type
  std::int64_t panel_bytes = 0;
  std::int64_t depth = 0;  // K; even in bfloat16
  float* c = nullptr;
  std::int64_t c_stride = 0;  // floats
  bool add = false;
  bool reuse_b = false;  // B is wanted again soon and these rows of A are not, else the other way round: a hint
  // Memory wanted soon: at each step over k (one depth in float32, two in bfloat16) the next `prefetch_step` bytes are
  // fetched. With a step of 128 a call fetches as much as it reads of B.
  const char* prefetch = nullptr;
  std::int64_t prefetch_step = 0;
};

inline constexpr int kMaxTileRows = 32;

struct Kernels {
  const char* name;
  int max_rows;   // of one tile call, at most kMaxTileRows
  int act_bytes;  // 2 or 4
  void (*tile)(int rows, const TileCall& call);
  // A thread calls this after its last tile call, before other code may use what they hold of it (AMX tiles).
  void (*release)();

  // out = x / sqrt(mean(x^2) + epsilon) * weight, as act or (norm_head) as float32 in place.
  void (*rms_norm)(const float* x, const float* weight, float epsilon, std::int64_t n, void* out);
  void (*norm_head)(float* x, const float* weight, float epsilon, std::int64_t n);
  // Rotary embedding in place of x [2 * half], "rotate half" layout; cos, sin [half].
  void (*rotate)(float* x, const float* cos, const float* sin, std::int64_t half);
  // out[i] = x[i] * factor, as act.
  void (*to_act)(const float* x, float factor, std::int64_t n, void* out);
  // out[0..16) = silu(tile[0..16)) * tile[16..32) for each row of a tile [rows, 32], as act.
  void (*silu_mul)(const float* tile, int rows, void* out, std::int64_t out_stride_bytes);
  // probs[i] = exp((scores[i] - max) * scale) as act for i < length, 0 up to padded (a multiple of 16); returns their
  // sum in float32. Writes over scores[length..padded).
  float (*softmax)(float* scores, std::int64_t length, std::int64_t padded, float scale, void* probs);

  // Largest of n logits; false where one is not finite.
  bool (*max_logit)(const float* logits, std::int64_t n, float* max);
  // weights[i] = exp((logits[i] - max) * inverse_temperature) where weights is given; returns the sum in float32.
  float (*exp_weights)(const float* logits, std::int64_t n, float max, float inverse_temperature, float* weights);
};

// One per source file; `bf16`: storage type of weights and KV cache.
const Kernels& portable_kernels(bool bf16);
const Kernels& avx2_kernels(bool bf16);
const Kernels& avx512_kernels(bool bf16);
const Kernels& avx512_bf16_kernels();
const Kernels& amx_bf16_kernels();

}  // namespace setrl::rollout
