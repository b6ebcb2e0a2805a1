#include "learn/attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "learn/gpu_ops.h"
#include "learn/grouped_attention.h"
#include "learn/kernels.h"

namespace setrl::learn {

namespace {

// Pieces of work that the backward is cut into, about: enough for many threads. They follow from the batch alone, so
// that sums do not depend on the number of threads.
constexpr std::int64_t kParts = 64;

// A prompt or a completion.
struct Segment {
  std::int64_t begin = 0, rows = 0;  // packed rows
  std::int64_t prompt = -1;          // index of its prompt's segment; -1 for a prompt
  std::int64_t blocks_begin = 0;     // of its first block among all packed blocks
};

// Prompts first, then the completions of all groups in their order.
std::vector<Segment> segments_of(const std::vector<PackedGroup>& groups) {
  std::vector<Segment> segments;
  for (const auto& group : groups) segments.push_back({group.prompt_begin, group.prompt_rows, -1, 0});
  for (std::size_t g = 0; g < groups.size(); ++g) {
    std::int64_t row = groups[g].completions_begin;
    for (const std::int64_t rows : groups[g].completion_rows) {
      if (rows > 0) segments.push_back({row, rows, static_cast<std::int64_t>(g), 0});
      row += rows;
    }
  }
  std::int64_t blocks = 0;
  for (auto& segment : segments) {
    segment.blocks_begin = blocks;
    blocks += key_blocks(segment.rows);
  }
  return segments;
}

// body(index, scratch of `scratch_bytes`) for every index below count, on all threads; each takes the next index.
void for_each_task(std::int64_t count, std::int64_t scratch_bytes,
                   const std::function<void(std::int64_t, void*)>& body) {
  std::atomic<std::int64_t> next{0};
  const std::int64_t threads = std::min<std::int64_t>(count, at::get_num_threads());
  at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) {
    const at::Tensor scratch = at::empty({scratch_bytes}, at::kByte);
    for (std::int64_t i = next++; i < count; i = next++) body(i, scratch.data_ptr());
  });
}

template <typename T>
class PackedAttention {
 public:
  // qkv: [T, W]; the tensors outlive this object.
  PackedAttention(const AttentionShape& shape, const std::vector<PackedGroup>& groups, const at::Tensor& qkv)
      : shape_(shape), segments_(segments_of(groups)), prompts_(static_cast<std::int64_t>(groups.size())), qkv_(qkv) {
    const auto& last = segments_.back();
    blocks_ = last.blocks_begin + key_blocks(last.rows);
  }

  void forward(const AttentionResult& result) {
    pack(k_columns_, shape_.heads, true, false);
    pack(v_rows_, shape_.heads + shape_.kv_heads, false, true);
    struct Tile {
      std::int64_t segment, begin;
    };
    std::vector<Tile> tiles;
    for (std::int64_t s = 0; s < count(); ++s) {
      for (std::int64_t begin = 0; begin < segment(s).rows; begin += kQueryTile) tiles.push_back({s, begin});
    }
    for_each_task(static_cast<std::int64_t>(tiles.size()) * shape_.heads, attention_scratch_bytes(shape_.size),
                  [&](std::int64_t task, void* scratch) {
                    const Tile& tile = tiles[static_cast<std::size_t>(task / shape_.heads)];
                    auto queries = queries_of(tile.segment, task % shape_.heads, result);
                    queries.begin = tile.begin;
                    queries.end = std::min(queries.end, tile.begin + kQueryTile);
                    kernel_table<T>().attention.forward(queries, scratch);
                  });
  }

  // A part is some of a group's completions for one kv head, the first part with the prompt itself. Gradients of the
  // prompt's keys are summed part by part in the end.
  void backward(const AttentionResult& result, const at::Tensor& d_out, const at::Tensor& d_qkv);

 private:
  struct Part {
    std::int64_t prompt = 0, begin = 0, end = 0;  // completions are segments [begin, end)
    bool with_prompt = false;
    std::int64_t sums_begin = 0;  // of its sums for the prompt's keys, in blocks
  };
  std::int64_t count() const { return static_cast<std::int64_t>(segments_.size()); }
  const Segment& segment(std::int64_t index) const { return segments_[static_cast<std::size_t>(index)]; }
  std::int64_t block_numbers() const { return kKeyBlock * padded_size(shape_.size); }

  // Packs the `kv_heads` heads from `first_head` of every segment: [kv_heads, blocks, block numbers].
  void pack(at::Tensor& packed, std::int64_t first_head, bool columns, bool rows) const {
    packed = at::empty({shape_.kv_heads, blocks_, block_numbers()}, qkv_.options());
    for_each_task(count() * shape_.kv_heads, 0, [&](std::int64_t task, void*) {
      const Segment& from = segment(task / shape_.kv_heads);
      const std::int64_t head = task % shape_.kv_heads;
      T* out = block(packed, head, from.blocks_begin);
      kernel_table<T>().attention.pack(row(qkv_, from.begin) + (first_head + head) * shape_.size, qkv_.size(1),
                                       from.rows, shape_.size, columns ? out : nullptr, rows ? out : nullptr);
    });
  }
  T* block(const at::Tensor& packed, std::int64_t kv_head, std::int64_t index) const {
    if (!packed.defined()) return nullptr;
    return static_cast<T*>(packed.data_ptr()) + (kv_head * blocks_ + index) * block_numbers();
  }
  static T* row(const at::Tensor& x, std::int64_t index) { return static_cast<T*>(x.data_ptr()) + index * x.stride(0); }

  PackedKeys<T> keys_of(std::int64_t index, std::int64_t kv_head) const {
    const Segment& of = segment(index);
    const auto at = [&](const at::Tensor& packed) { return block(packed, kv_head, of.blocks_begin); };
    return {of.rows, at(k_columns_), at(k_rows_), at(v_columns_), at(v_rows_), nullptr, nullptr};
  }
  AttentionQueries<T> queries_of(std::int64_t index, std::int64_t head, const AttentionResult& result) const {
    const Segment& of = segment(index);
    const std::int64_t kv_head = head / (shape_.heads / shape_.kv_heads);
    AttentionQueries<T> queries;
    queries.end = of.rows;
    queries.size = shape_.size;
    queries.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape_.size)));
    queries.q = row(qkv_, of.begin) + head * shape_.size;
    queries.q_stride = qkv_.size(1);
    queries.out = row(result.out, of.begin) + head * shape_.size;
    queries.out_stride = shape_.heads * shape_.size;
    queries.lse = result.lse.template data_ptr<float>() + of.begin * shape_.heads + head;
    queries.lse_stride = shape_.heads;
    queries.own = keys_of(index, kv_head);
    if (of.prompt >= 0) queries.shared = keys_of(of.prompt, kv_head);
    return queries;
  }

  std::vector<Part> parts() const {
    const std::int64_t per_group = std::max<std::int64_t>(1, kParts / (prompts_ * shape_.kv_heads));
    std::vector<Part> parts;
    std::int64_t begin = prompts_, sums = 0;
    for (std::int64_t prompt = 0; prompt < prompts_; ++prompt) {
      std::int64_t end = begin;
      while (end < count() && segment(end).prompt == prompt) ++end;
      const std::int64_t pieces = std::clamp<std::int64_t>(end - begin, 1, per_group);
      for (std::int64_t i = 0; i < pieces; ++i) {
        parts.push_back(
            {prompt, begin + (end - begin) * i / pieces, begin + (end - begin) * (i + 1) / pieces, i == 0, sums});
        sums += key_blocks(segment(prompt).rows);
      }
      begin = end;
    }
    return parts;
  }
  // [rows, padded size] float32 -> column `head` of d_qkv.
  void store_gradient(const float* sum, const Segment& to, std::int64_t head, const at::Tensor& d_qkv) const {
    for (std::int64_t i = 0; i < to.rows; ++i) {
      kernel_table<T>().from_float(sum + i * padded_size(shape_.size), shape_.size,
                                   row(d_qkv, to.begin + i) + head * shape_.size);
    }
  }

  AttentionShape shape_;
  std::vector<Segment> segments_;
  std::int64_t prompts_, blocks_ = 0;
  const at::Tensor& qkv_;
  at::Tensor k_columns_, k_rows_, v_columns_, v_rows_;
};

template <typename T>
void PackedAttention<T>::backward(const AttentionResult& result, const at::Tensor& d_out, const at::Tensor& d_qkv) {
  pack(k_columns_, shape_.heads, true, false);
  pack(k_rows_, shape_.heads, false, true);
  pack(v_columns_, shape_.heads + shape_.kv_heads, true, false);
  const std::vector<Part> all = parts();
  const std::int64_t sum_blocks = all.back().sums_begin + key_blocks(segment(all.back().prompt).rows);
  const at::Tensor sums = at::empty({shape_.kv_heads, 2, sum_blocks, block_numbers()}, at::kFloat);
  const auto prompt_sum = [&](std::int64_t kv_head, std::int64_t of_v, const Part& part) {
    return sums.data_ptr<float>() + ((kv_head * 2 + of_v) * sum_blocks + part.sums_begin) * block_numbers();
  };
  std::int64_t largest = 1;
  for (const auto& of : segments_) {
    if (of.prompt >= 0) largest = std::max(largest, key_blocks(of.rows) * block_numbers());
  }
  const std::int64_t heads_each = shape_.heads / shape_.kv_heads, own_bytes = 2 * largest * 4;
  for_each_task(static_cast<std::int64_t>(all.size()) * shape_.kv_heads,
                attention_scratch_bytes(shape_.size) + own_bytes, [&](std::int64_t task, void* memory) {
                  const Part& part = all[static_cast<std::size_t>(task / shape_.kv_heads)];
                  const std::int64_t kv_head = task % shape_.kv_heads;
                  float* own = static_cast<float*>(memory);
                  void* scratch = own + 2 * largest;
                  float *dk = prompt_sum(kv_head, 0, part), *dv = prompt_sum(kv_head, 1, part);
                  const std::int64_t numbers = key_blocks(segment(part.prompt).rows) * block_numbers();
                  std::fill(dk, dk + numbers, 0.0f);
                  std::fill(dv, dv + numbers, 0.0f);
                  const auto run = [&](std::int64_t index, float* own_dk, float* own_dv) {
                    for (std::int64_t head = kv_head * heads_each; head < (kv_head + 1) * heads_each; ++head) {
                      auto queries = queries_of(index, head, result);
                      queries.d_out = row(d_out, segment(index).begin) + head * shape_.size;
                      queries.dq = row(d_qkv, segment(index).begin) + head * shape_.size;
                      queries.own.dk = own_dk;
                      queries.own.dv = own_dv;
                      queries.shared.dk = dk;
                      queries.shared.dv = dv;
                      kernel_table<T>().attention.backward(queries, scratch);
                    }
                  };
                  if (part.with_prompt) run(part.prompt, dk, dv);
                  for (std::int64_t index = part.begin; index < part.end; ++index) {
                    std::fill(own, own + 2 * largest, 0.0f);
                    run(index, own, own + largest);
                    store_gradient(own, segment(index), shape_.heads + kv_head, d_qkv);
                    store_gradient(own + largest, segment(index), shape_.heads + shape_.kv_heads + kv_head, d_qkv);
                  }
                });
  for_each_task(prompts_ * shape_.kv_heads * 2, 0, [&](std::int64_t task, void*) {
    const std::int64_t of_v = task % 2, kv_head = task / 2 % shape_.kv_heads, prompt = task / 2 / shape_.kv_heads;
    const Segment& to = segment(prompt);
    float* total = nullptr;
    for (const Part& part : all) {
      if (part.prompt != prompt) continue;
      float* sum = prompt_sum(kv_head, of_v, part);
      if (total != nullptr) kernel_table<float>().add_to_float(sum, key_blocks(to.rows) * block_numbers(), total);
      if (total == nullptr) total = sum;
    }
    store_gradient(total, to, shape_.heads + of_v * shape_.kv_heads + kv_head, d_qkv);
  });
}

void check(const AttentionShape& shape, const std::vector<PackedGroup>& groups, const at::Tensor& qkv) {
  SETRL_CHECK(!groups.empty() && qkv.is_contiguous(), "attention needs groups and contiguous rows");
  SETRL_CHECK(qkv.size(1) == (shape.heads + 2 * shape.kv_heads) * shape.size, "width of q, k, v is {}", qkv.size(1));
  SETRL_CHECK(shape.size % 2 == 0 && shape.heads % shape.kv_heads == 0, "head size {}, {} heads of {}", shape.size,
              shape.heads, shape.kv_heads);
}

}  // namespace

AttentionResult attention_forward(const AttentionShape& shape, const std::vector<PackedGroup>& groups,
                                  const at::Tensor& qkv) {
  check(shape, groups, qkv);
  if (qkv.is_cuda()) return grouped_attention_forward(gpu::varlen_attention(), shape, groups, qkv);
  AttentionResult result{at::empty({qkv.size(0), shape.heads, shape.size}, qkv.options()),
                         at::empty({qkv.size(0), shape.heads}, at::kFloat)};
  if (qkv.scalar_type() == at::kFloat)
    PackedAttention<float>(shape, groups, qkv).forward(result);
  else
    PackedAttention<Bfloat16>(shape, groups, qkv).forward(result);
  return result;
}

at::Tensor attention_backward(const AttentionShape& shape, const std::vector<PackedGroup>& groups,
                              const at::Tensor& qkv, const AttentionResult& result, const at::Tensor& d_out) {
  check(shape, groups, qkv);
  SETRL_CHECK(d_out.is_contiguous() && result.out.is_contiguous(), "gradients of attention are contiguous");
  if (qkv.is_cuda()) {
    return grouped_attention_backward(gpu::varlen_attention(), shape, groups, qkv, result, d_out);
  }
  const at::Tensor d_qkv = at::empty_like(qkv);
  if (qkv.scalar_type() == at::kFloat)
    PackedAttention<float>(shape, groups, qkv).backward(result, d_out, d_qkv);
  else
    PackedAttention<Bfloat16>(shape, groups, qkv).backward(result, d_out, d_qkv);
  return d_qkv;
}

}  // namespace setrl::learn
