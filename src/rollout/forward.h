// One forward pass of the decoder over a batch of rows (tokens of any sequences, prefill and decode mixed), inference
// only. Residual stream, norms, RoPE, softmax and logits in float32; matrix products take act and storage types
// (kernels.h) and sum in float32. M rows, E hidden, H heads, N kv heads, D head size, I inner, V vocabulary. With
// tensor parallelism H, N, I are this rank's; the partial sums of the output and down projections are added over the
// ranks in rank order, so all ranks hold the same bits of the residual stream and of the logits, and draw the same
// tokens.
#pragma once

#include <cstdint>
#include <exception>
#include <vector>

#include "rollout/attention.h"
#include "rollout/profile.h"
#include "rollout/sampler.h"
#include "rollout/thread_team.h"
#include "rollout/weights.h"

namespace setrl::rollout {

class Forward {
 public:
  Forward(const Weights& weights, const Kernels& kernels, const KvCache& cache);

  // Stores keys and values of all rows, then the logits of `logit_rows`, then draws from them. Throws what the
  // communicator throws.
  void run(ThreadTeam& team, const Batch& batch, std::vector<Drawn>& results);

  const Attention& attention() const { return attention_; }
  const StageSeconds& stage_seconds() const { return clock_.seconds(); }  // of all passes

 private:
  // Activations of a layer: rows `stride` bytes apart, columns behind the last are zero.
  struct Rows {
    MemoryBlock block;
    std::int64_t stride = 0;
    char* at(std::int64_t row) const { return block.data() + row * stride; }
    float* floats(std::int64_t row) const { return reinterpret_cast<float*>(at(row)); }
  };

  template <class Verb>
  void communicate(ThreadTeam& team, int thread, const Verb& verb);
  void lap(int thread, Stage stage) {
    if (thread == 0) clock_.lap(stage);
  }
  void add_partial(ThreadTeam& team, int thread, std::int64_t rows);
  void gather_logits(ThreadTeam& team, int thread, std::int64_t rows);
  void embed(std::int32_t token, float* out) const;
  void reserve(const ThreadTeam& team, const Batch& batch);
  void find_last_tiles(const Batch& batch);
  void grow_rope(std::int64_t positions);
  void work(ThreadTeam& team, int thread, const Batch& batch, std::vector<Drawn>& results);
  Drawn draw(const DrawOrder& order, SamplerScratch& scratch) const;
  // A layer up to its keys and values, of all rows; then the rest of it, of the rows of `tiles`.
  void store_keys(ThreadTeam& team, int thread, const Batch& batch, std::int64_t index);
  void attend(ThreadTeam& team, int thread, const Batch& batch, const std::vector<AttentionTile>& tiles,
              std::int64_t index);
  void finish_layer(ThreadTeam& team, int thread, std::int64_t rows, std::int64_t index);
  void norm(ThreadTeam& team, int thread, const std::vector<float>& weight, std::int64_t rows);
  // body(row) of each row, on the threads.
  template <class Body>
  void for_each_row(ThreadTeam& team, int thread, std::int64_t rows, const Body& body);
  void rotate_and_store(const Batch& batch, const LayerWeights& layer, std::int64_t index, std::int64_t row);
  // c[row, 32 * tile ..] of every row and tile; `make(tile, row, rows, call)` finishes the call and runs it.
  // A thread makes `group` neighbouring tiles.
  template <class Make>
  void product(ThreadTeam& team, int thread, const PackedMatrix& weight, std::int64_t group, const Rows& input,
               std::int64_t rows, const Make& make);
  void product_into(ThreadTeam& team, int thread, const PackedMatrix& weight, const Rows& input, std::int64_t rows,
                    float* out, std::int64_t out_stride, bool add);

  const Weights& weights_;
  const Kernels& kernels_;
  const KvCache& cache_;
  Attention attention_;
  const model::ModelSpec& spec_;  // this rank's part
  comm::Communicator* const comm_;
  std::int64_t capacity_ = 0, logit_capacity_ = 0, logit_stride_ = 0, q_stride_ = 0;
  Rows residual_, normed_, qkv_, attended_, inner_, final_;
  Rows partial_;                         // this rank's part of a sum over the ranks
  MemoryBlock q_, logits_;               // q: act [N][M][H/N * D]
  MemoryBlock local_logits_, gathered_;  // [M, V / ranks] of this rank and of all
  std::int64_t local_stride_ = 0;
  StageClock clock_;                       // thread 0 only
  std::vector<AttentionTile> last_tiles_;  // those of `logit_rows`: of the last layer nothing else is needed
  std::exception_ptr failure_;             // of the communicator, within a pass
  std::vector<AttentionScratch> scratch_;
  std::vector<SamplerScratch> draw_scratch_;
  std::vector<float> cos_, sin_;  // [positions, D/2]
};

}  // namespace setrl::rollout
