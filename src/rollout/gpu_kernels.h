// The engine's kernels for GPUs, as functions on plain pointers into the device's memory. Each puts its work on
// `stream` (a cudaStream_t) and returns; nothing is read on the host, so a sequence of calls can be captured as a CUDA
// graph. M rows, E hidden, H heads, N kv heads, D head size, I inner, V vocabulary, all of this rank. "T": the storage
// type, float32 or (bf16) bfloat16. Everything is summed in an order that depends on a row's own length only.
#pragma once

#include <cstdint>

namespace setrl::rollout::gpu {

using Stream = void*;

constexpr int kPage = 32;           // positions of a page, as PagePool has it
constexpr int kChunk = 128;         // positions that one step of attention reads; chunks begin at multiples of it
constexpr int kMostQueryRows = 32;  // of an attention item: rows times heads of a kv head
constexpr int kFewQueryRows = 8;    // of items that are not `wide`
constexpr int kMostHeadSize = 128;
constexpr int kVectorBytes = 16;  // of one load

// Rows [first_row, first_row + rows) against chunks [first_chunk, first_chunk + chunks), whose pages they share (those
// of the first row are read). rows = 0: nothing to do.
struct AttentionItem {
  std::int32_t first_row = 0, rows = 0, first_chunk = 0, chunks = 0;
};

// A page holds, for each layer and kv head, keys and then values. Keys: [Dp / L][32][L], where L elements fill a
// 16-byte load and Dp is D rounded up to L, so that neighbouring threads read neighbouring positions. Values: [32][Dp].
struct Cache {
  void* data = nullptr;            // T
  std::int64_t page_elements = 0;  // of all layers
  std::int64_t kv_heads = 0, head_size = 0;
  bool bf16 = false;
};
std::int64_t padded_head_size(std::int64_t head_size, bool bf16);

// Where each row's keys are: page number i of a row is pages[page_begin[row] + i].
struct PageTable {
  const std::int32_t* positions = nullptr;   // [M]
  const std::int32_t* page_begin = nullptr;  // [M]
  const std::int32_t* pages = nullptr;
};

// out [M, E] float32: the rows of `table` [V, E] (T) of tokens first_id .. first_id + V - 1; zero for other tokens.
void embed(const void* table, bool bf16, const std::int32_t* tokens, std::int64_t first_id, std::int64_t vocabulary,
           std::int64_t rows, std::int64_t hidden, float* out, Stream stream);

// What is added to the rows of a residual stream: [parts, M, E / parts] float32, so parts of the columns, each of all
// rows, one after another; null: nothing.
struct Addend {
  const float* data = nullptr;
  std::int64_t parts = 1;  // a divisor of E
};
// residual [M, E] float32 += addend; out [M, E] = residual / rms(residual) * weight as T.
void add_norm(float* residual, const Addend& addend, const float* weight, float epsilon, std::int64_t rows,
              std::int64_t hidden, void* out, bool bf16, Stream stream);

// Of the norms and biases, null: the family has none.
struct RotateArgs {
  float* qkv = nullptr;  // [M, (H + 2 N) D]; q is rotated in place
  const float* bias = nullptr;
  const float *q_norm = nullptr, *k_norm = nullptr;  // [D]
  float epsilon = 0;
  const float *cos = nullptr, *sin = nullptr;  // [positions, D/2]
  std::int64_t rows = 0, heads = 0, layer = 0;
};
// Bias, norm of each head and rotary embedding ("rotate half") of q and k; k and v go to the cache.
void rotate_and_store(const RotateArgs& args, const PageTable& table, const Cache& cache, Stream stream);

struct AttendArgs {
  const float* qkv = nullptr;  // rotated
  std::int64_t heads = 0, layer = 0;
  const AttentionItem* items = nullptr;
  std::int64_t item_count = 0;
  bool wide = false;  // an item may have up to kMostQueryRows query rows; else up to kFewQueryRows
  // Rows whose keys are split over several items: partial results of chunk c of row r are those number
  // partial_begin[r] + c. Below 0: one item has all of the row's chunks, and writes to `out`.
  const std::int32_t* partial_begin = nullptr;  // [M]
  float *partial_out = nullptr, *partial_max = nullptr,
        *partial_sum = nullptr;  // [partials, H, D], [partials, H] twice
  void* out = nullptr;           // T [M, H D]
};
// Causal attention of all items; then merge_partials for the rows that were split. The same bits either way.
void attend(const AttendArgs& args, const PageTable& table, const Cache& cache, Stream stream);
void merge_partials(const AttendArgs& args, const PageTable& table, const Cache& cache, std::int64_t rows,
                    Stream stream);

// out [M, I] (T) = silu(gate_up[:, :I]) * gate_up[:, I:]; gate_up [M, 2 I] float32.
void silu_mul(const float* gate_up, std::int64_t rows, std::int64_t inner, void* out, bool bf16, Stream stream);

// out[i] = in[rows[i]], `bytes` a row (a multiple of 4).
void gather_rows(const void* in, const std::int32_t* rows, std::int64_t count, std::int64_t bytes, void* out,
                 Stream stream);

// What one draw needs; see Sampler, whose results these are up to the rounding of sums.
struct DrawOrder {
  double uniform = 0, temperature = 1, top_p = 1;
  double min_p_distance = 0;      // temperature * log(min_p), where min_p > 0
  float inverse_temperature = 1;  // of the recorded policy: 1 where greedy
  std::int32_t logits = -1;       // row of the logits; below 0: nothing to do
  std::int32_t top_k = 0, forced = -1;
  std::int32_t greedy = 0, has_min_p = 0;
};
struct DrawResult {
  std::int32_t id = 0;
  float logprob = 0;
  std::int32_t finite = 0;
  std::int32_t unused = 0;
};
constexpr std::int64_t kMostVocabulary = std::int64_t{1} << 19;
// `logits`: float32, rows `stride` apart. Weights exp((logit - max) / temperature) are summed as
// integers of 2^-44, so results do not depend on the number of threads: 0 (chosen by V) or a multiple of 32.
void sample(const float* logits, std::int64_t stride, std::int64_t vocabulary, const DrawOrder* orders,
            std::int64_t count, DrawResult* results, int threads, Stream stream);

}  // namespace setrl::rollout::gpu
