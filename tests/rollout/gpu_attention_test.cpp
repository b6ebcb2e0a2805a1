// Attention on the device, with its page tables and items as the engine plans them, against sums in double.
#include <cmath>

#include "base/random.h"
#include "gpu_standin.h"
#include "rollout/gpu_pass_plan.h"
#include "rollout/layout.h"

namespace setrl::rollout {
namespace {

using GpuAttention = test::GpuStandin;
INSTANTIATE_TEST_SUITE_P(Orders, GpuAttention, test::both_orders(), test::order_name);

float rounded(float value, bool bf16) {
  return bf16 ? from_bf16_bits(to_bf16_bits(value)) : value;
}

struct Shape {
  std::int64_t group = 1, kv_heads = 1, head_size = 64;
  bool bf16 = false;
  std::int64_t heads() const { return group * kv_heads; }
  std::int64_t width() const { return (heads() + 2 * kv_heads) * head_size; }
};

// A sequence whose keys and values are in the cache.
struct Sequence {
  std::vector<PagePool::Page> pages;
  std::vector<float> k, v;  // [positions, N, D], as stored
};

class World {
 public:
  World(gpu::Runtime& runtime, const Shape& shape) : shape_(shape), cache_(runtime, spec_of(shape), shape.bf16, 200) {}

  // Positions from `from` on are new; the pages before are another sequence's, where they are given.
  Sequence sequence(std::int64_t length, const Sequence* prefix = nullptr, std::int64_t shared = 0) {
    Sequence made;
    if (prefix != nullptr) {
      made.pages.assign(prefix->pages.begin(), prefix->pages.begin() + shared);
      const auto floats = shared * kPageTokens * shape_.kv_heads * shape_.head_size;
      made.k.assign(prefix->k.begin(), prefix->k.begin() + floats);
      made.v.assign(prefix->v.begin(), prefix->v.begin() + floats);
    }
    while (static_cast<std::int64_t>(made.pages.size()) < PagePool::pages_of(length))
      made.pages.push_back(cache_.take());
    Batch batch;
    std::vector<float> qkv;
    for (std::int64_t p = shared * kPageTokens; p < length; ++p) {
      batch.rows.push_back({0, static_cast<std::int32_t>(p), made.pages.data()});
      for (std::int64_t i = 0; i < shape_.width(); ++i) qkv.push_back(static_cast<float>(random_.normal()));
      const float* row = qkv.data() + qkv.size() - (2 * shape_.kv_heads) * shape_.head_size;
      for (std::int64_t i = 0; i < shape_.kv_heads * shape_.head_size; ++i) {
        made.k.push_back(rounded(row[i], shape_.bf16));
        made.v.push_back(rounded(row[shape_.kv_heads * shape_.head_size + i], shape_.bf16));
      }
    }
    store(batch, qkv);
    return made;
  }

  void add_row(const Sequence& sequence, std::int64_t position) {
    batch_.rows.push_back({0, static_cast<std::int32_t>(position), sequence.pages.data()});
    owners_.push_back(&sequence);
    for (std::int64_t i = 0; i < shape_.width(); ++i) qkv_.push_back(static_cast<float>(2 * random_.normal()));
  }
  void add_tile(std::int64_t rows, std::int64_t shared_pages) {
    batch_.tiles.push_back({static_cast<std::int64_t>(batch_.rows.size()) - rows, rows, shared_pages});
  }
  void set_tiles(std::vector<AttentionTile> tiles) { batch_.tiles = std::move(tiles); }

  // [M, H D].
  std::vector<float> attend() {
    gpu::PassPlan plan(shape_.group);
    plan.make(batch_, cache_);
    const gpu::PassLayout layout(plan.shape());
    const auto rows = plan.shape().rows;
    std::vector<float> qkv = qkv_,
                       partial_out(static_cast<std::size_t>(plan.partials() * shape_.heads() * shape_.head_size), NAN);
    qkv.resize(static_cast<std::size_t>(rows * shape_.width()));
    std::vector<float> partial_max(static_cast<std::size_t>(plan.partials() * shape_.heads()), NAN),
        partial_sum = partial_max;
    std::vector<std::uint16_t> half(static_cast<std::size_t>(rows * shape_.heads() * shape_.head_size));
    std::vector<float> whole(half.size(), NAN);
    gpu::AttendArgs args;
    args.qkv = qkv.data();
    args.heads = shape_.heads();
    args.items = at<gpu::AttentionItem>(plan, layout.items);
    args.item_count = plan.shape().items;
    args.wide = plan.shape().wide;
    args.partial_begin = at<std::int32_t>(plan, layout.partial_begin);
    args.partial_out = partial_out.data();
    args.partial_max = partial_max.data();
    args.partial_sum = partial_sum.data();
    args.out = shape_.bf16 ? static_cast<void*>(half.data()) : whole.data();
    gpu::attend(args, table(plan, layout), cache_.view(), nullptr);
    if (plan.shape().split) gpu::merge_partials(args, table(plan, layout), cache_.view(), rows, nullptr);
    if (shape_.bf16) {
      for (std::size_t i = 0; i < half.size(); ++i) whole[i] = from_bf16_bits(half[i]);
    }
    whole.resize(batch_.rows.size() * static_cast<std::size_t>(shape_.heads() * shape_.head_size));
    return whole;
  }

  double wanted(std::size_t row, std::int64_t head, std::int64_t dimension) const {
    const Sequence& sequence = *owners_[row];
    const std::int64_t size = shape_.head_size, kv_head = head / shape_.group;
    const float* q = qkv_.data() + static_cast<std::int64_t>(row) * shape_.width() + head * size;
    double sum = 0, out = 0;
    for (std::int64_t p = 0; p <= batch_.rows[row].position; ++p) {
      const auto key = (p * shape_.kv_heads + kv_head) * size;
      double score = 0;
      for (std::int64_t d = 0; d < size; ++d)
        score += static_cast<double>(q[d]) * sequence.k[static_cast<std::size_t>(key + d)];
      const double weight = std::exp(score / std::sqrt(static_cast<double>(size)));
      sum += weight;
      out += weight * sequence.v[static_cast<std::size_t>(key + dimension)];
    }
    return out / sum;
  }

  void check(const std::vector<float>& got) const {
    const double bound = shape_.bf16 ? 1e-2 : 2e-5;
    for (std::size_t row = 0; row < batch_.rows.size(); ++row) {
      for (std::int64_t head = 0; head < shape_.heads(); ++head) {
        for (std::int64_t d = 0; d < shape_.head_size; d += 1 + shape_.head_size / 5) {
          const auto place = (static_cast<std::int64_t>(row) * shape_.heads() + head) * shape_.head_size + d;
          ASSERT_NEAR(got[static_cast<std::size_t>(place)], wanted(row, head, d), bound)
              << "row " << row << " at " << batch_.rows[row].position << ", head " << head << ", " << d;
        }
      }
    }
  }

  RandomStream& random() { return random_; }

 private:
  static model::ModelSpec spec_of(const Shape& shape) {
    model::ModelSpec spec;
    spec.layers = 1;
    spec.kv_heads = shape.kv_heads;
    spec.heads = shape.heads();
    spec.head_size = shape.head_size;
    return spec;
  }
  template <typename T>
  static const T* at(const gpu::PassPlan& plan, std::int64_t offset) {
    return reinterpret_cast<const T*>(plan.bytes().data() + offset);
  }
  static gpu::PageTable table(const gpu::PassPlan& plan, const gpu::PassLayout& layout) {
    return {at<std::int32_t>(plan, layout.positions), at<std::int32_t>(plan, layout.page_begin),
            at<std::int32_t>(plan, layout.pages)};
  }
  // Without rotation: cosines of 1, sines of 0.
  void store(const Batch& batch, std::vector<float> qkv) {
    if (batch.rows.empty()) return;
    gpu::PassPlan plan(shape_.group);
    plan.make(batch, cache_);
    const gpu::PassLayout layout(plan.shape());
    qkv.resize(static_cast<std::size_t>(plan.shape().rows * shape_.width()));
    const std::vector<float> cos(static_cast<std::size_t>(plan.longest() * shape_.head_size / 2), 1.0f),
        sin(cos.size());
    gpu::RotateArgs args;
    args.qkv = qkv.data();
    args.cos = cos.data();
    args.sin = sin.data();
    args.rows = plan.shape().rows;
    args.heads = shape_.heads();
    gpu::rotate_and_store(args, table(plan, layout), cache_.view(), nullptr);
  }

  const Shape shape_;
  gpu::GpuKvCache cache_;
  RandomStream random_{17, 3};
  Batch batch_;
  std::vector<const Sequence*> owners_;
  std::vector<float> qkv_;
};

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const std::int64_t group : {1, 3, 4, 8}) {
    for (const std::int64_t size : {64, 128}) {
      for (const bool bf16 : {false, true}) all.push_back({group, group == 3 ? 2 : 1, size, bf16});
    }
  }
  all.push_back({2, 3, 12, false});  // neither whole warps nor, in bfloat16, whole loads
  all.push_back({2, 3, 12, true});
  all.push_back({1, 1, 80, true});
  return all;
}

// Samples of one prompt, rows that stand alone, and consecutive rows of a prompt, of all lengths, in one pass.
TEST_P(GpuAttention, EqualsThePlainSums) {
  for (const Shape& shape : shapes()) {
    if (GetParam() == cuda_standin::Order::backward && !shape.bf16) continue;  // the same code, and half the time
    World world(*runtime_, shape);
    const auto prompt = world.sequence(160 + static_cast<std::int64_t>(world.random().below(60)));
    const std::int64_t shared = static_cast<std::int64_t>(prompt.pages.size()) - 1;
    std::vector<Sequence> samples, alone;
    const std::int64_t tile = gpu::kMostQueryRows / shape.group;
    for (std::int64_t i = 0; i < std::min<std::int64_t>(tile, 3); ++i) {
      samples.push_back(world.sequence(shared * kPageTokens + 1 + static_cast<std::int64_t>(world.random().below(90)),
                                       &prompt, shared));
    }
    for (const auto& sample : samples) {
      world.add_row(sample, static_cast<std::int64_t>(sample.k.size()) / (shape.kv_heads * shape.head_size) - 1);
    }
    world.add_tile(static_cast<std::int64_t>(samples.size()), shared);
    for (const std::int64_t length : {1, 32, 127, 128, 129, 300}) alone.push_back(world.sequence(length));
    for (const auto& each : alone) {
      world.add_row(each, static_cast<std::int64_t>(each.k.size()) / (shape.kv_heads * shape.head_size) - 1);
      world.add_tile(1, 0);
    }
    for (std::int64_t i = 0; i < std::min<std::int64_t>(tile, 5); ++i) world.add_row(alone.back(), 126 + i);
    world.add_tile(std::min<std::int64_t>(tile, 5), 5);
    world.check(world.attend());
    if (HasFatalFailure()) return;
  }
}

// The same bits whether a row decodes together with others of its prompt, alone, or as part of a prompt.
TEST_P(GpuAttention, ARowDoesNotDependOnItsTile) {
  for (const bool bf16 : {false, true}) {
    const Shape shape{4, 2, 64, bf16};
    World world(*runtime_, shape);
    const auto prompt = world.sequence(290);
    const auto a = world.sequence(300, &prompt, 9), b = world.sequence(391, &prompt, 9);
    world.add_row(a, 299);
    world.add_row(b, 390);
    world.set_tiles({{0, 2, 9}});
    const auto together = world.attend();
    world.check(together);
    world.set_tiles({{0, 1, 9}, {1, 1, 9}});
    EXPECT_EQ(world.attend(), together);
    world.set_tiles({{0, 1, 10}, {1, 1, 13}});
    EXPECT_EQ(world.attend(), together);
  }
}

}  // namespace
}  // namespace setrl::rollout
