#include "learn/sharded_parameters.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "base/error.h"
#include "learn/tensor_ops.h"

namespace setrl::learn {

namespace {

// Elements [begin, end) of a slot that lie in the shard of `rank`, relative to the slot; empty where begin >= end.
struct Slice {
  std::int64_t begin, end;
};
Slice slice_of(const UnitLayout& layout, const Slot& slot, int rank) {
  const std::int64_t first = rank * layout.shard;
  const std::int64_t begin = std::max(slot.begin, first);
  const std::int64_t end = std::min(slot.end(), first + layout.shard);
  return {begin - slot.begin, std::max(begin, end) - slot.begin};
}

}  // namespace

ShardedParameters::ShardedParameters(const model::WeightSource& source, comm::Communicator& communicator,
                                     at::ScalarType dtype, bool reference)
    : communicator_(communicator), dtype_(dtype), layouts_(unit_layouts(source.spec(), communicator.size())) {
  for (const auto& layout : layouts_) {
    Shard shard;
    shard.weights = at::zeros({layout.shard}, at::kFloat);
    shard.moment1 = at::zeros_like(shard.weights);
    shard.moment2 = at::zeros_like(shard.weights);
    shard.gradient = at::zeros_like(shard.weights);
    for (const auto& slot : layout.slots) {
      const Slice slice = slice_of(layout, slot, communicator.rank());
      if (slice.begin >= slice.end) continue;
      source.read(slot.parameter.name, slice.begin, slice.end,
                  shard.weights.data_ptr<float>() + slot.begin + slice.begin - communicator.rank() * layout.shard);
    }
    if (reference) shard.reference = shard.weights.to(dtype, false, true);
    shards_.push_back(std::move(shard));
  }
}

at::Tensor ShardedParameters::gather_shard(const at::Tensor& shard) {
  const int ranks = communicator_.size();
  if (ranks == 1 && shard.scalar_type() == dtype_) return shard;
  const at::Tensor whole = at::empty({ranks * shard.size(0)}, at::TensorOptions().dtype(dtype_));
  const at::Tensor mine = whole.narrow(0, communicator_.rank() * shard.size(0), shard.size(0));
  if (shard.scalar_type() == at::kFloat) {
    from_float(shard, mine);
  } else {
    mine.copy_(shard);
  }
  if (ranks > 1) {
    communicator_.all_gather(mine.data_ptr(), static_cast<std::size_t>(mine.nbytes()), whole.data_ptr());
  }
  return whole;
}

at::Tensor ShardedParameters::gather(int unit, Version version) {
  auto& shard = shards_[static_cast<std::size_t>(unit)];
  if (version == Version::reference) return gather_shard(shard.reference);
  if (communicator_.size() > 1) return gather_shard(shard.weights);
  if (!shard.copy.defined()) shard.copy = gather_shard(shard.weights);
  return shard.copy;
}

void ShardedParameters::drop_copies() {
  for (auto& shard : shards_) shard.copy.reset();
}

at::Tensor ShardedParameters::gradient_buffer(int unit) {
  if (communicator_.size() == 1) return shards_[static_cast<std::size_t>(unit)].gradient;
  return at::zeros({communicator_.size() * layout(unit).shard}, at::kFloat);
}

void ShardedParameters::reduce(int unit, const at::Tensor& gradient) {
  if (communicator_.size() == 1) return;
  auto& shard = shards_[static_cast<std::size_t>(unit)];
  const at::Tensor part = at::empty_like(shard.gradient);
  communicator_.reduce_scatter_sum(gradient.data_ptr<float>(), part.data_ptr<float>(),
                                   static_cast<std::size_t>(part.numel()));
  add_to_float(part, shard.gradient);
}

void ShardedParameters::zero_gradients() {
  for (auto& shard : shards_) shard.gradient.zero_();
}

double ShardedParameters::squared_gradient_norm() {
  double sum = 0;
  for (const auto& shard : shards_) sum += sum_of_squares(shard.gradient);
  communicator_.all_reduce(&sum, 1, comm::Reduction::sum);
  return sum;
}

void ShardedParameters::update(AdamwStep step) {
  for (std::size_t unit = 0; unit < shards_.size(); ++unit) {
    auto& shard = shards_[unit];
    const std::int64_t matrices = std::clamp<std::int64_t>(
        layouts_[unit].matrix_elements - communicator_.rank() * layouts_[unit].shard, 0, layouts_[unit].shard);
    const auto run = [&](std::int64_t first, std::int64_t last, const AdamwStep& how) {
      at::parallel_for(first, last, 16384, [&](std::int64_t begin, std::int64_t end) {
        kernels().flat.adamw(shard.weights.data_ptr<float>() + begin, shard.moment1.data_ptr<float>() + begin,
                             shard.moment2.data_ptr<float>() + begin, shard.gradient.data_ptr<float>() + begin,
                             end - begin, how);
      });
    };
    AdamwStep without_decay = step;
    without_decay.weight_decay = 0;
    run(0, matrices, step);
    run(matrices, layouts_[unit].shard, without_decay);
  }
  drop_copies();
}

void ShardedParameters::zero_moments() {
  for (auto& shard : shards_) {
    shard.moment1.zero_();
    shard.moment2.zero_();
  }
}

void ShardedParameters::add_views(const std::string& prefix, at::Tensor Shard::*member,
                                  std::vector<TensorView>& views) {
  for (std::size_t unit = 0; unit < shards_.size(); ++unit) {
    const auto& layout = layouts_[unit];
    for (const auto& slot : layout.slots) {
      const Slice slice = slice_of(layout, slot, communicator_.rank());
      TensorView view;
      view.name = prefix + slot.parameter.name;
      view.shape = slot.parameter.shape;
      if (slice.begin < slice.end) {
        view.begin = slice.begin;
        view.end = slice.end;
        view.data =
            (shards_[unit].*member).data_ptr<float>() + slot.begin + slice.begin - communicator_.rank() * layout.shard;
      }
      views.push_back(std::move(view));
    }
  }
}

std::vector<TensorView> ShardedParameters::state() {
  std::vector<TensorView> views;
  add_views("parameters/", &Shard::weights, views);
  add_views("moment1/", &Shard::moment1, views);
  add_views("moment2/", &Shard::moment2, views);
  return views;
}

}  // namespace setrl::learn
