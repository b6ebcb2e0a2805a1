#include "learn/sharded_parameters.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "base/error.h"
#include "learn/tensor_ops.h"

namespace setrl::learn {

ShardedParameters::ShardedParameters(std::vector<UnitLayout> layouts, const ReadSlice& read,
                                     comm::Communicator& communicator, const Sharding& sharding)
    : communicator_(communicator), sharding_(sharding), layouts_(std::move(layouts)) {
  for (const auto& layout : layouts_) {
    Shard shard;
    shard.weights = at::zeros({layout.shard}, at::kFloat);
    for_each_own_slice(layout, communicator.rank(), [&](const Slot& slot, const Slice& slice, std::int64_t offset) {
      read(slot.parameter.name, slice.begin, slice.end, shard.weights.data_ptr<float>() + offset);
    });
    if (sharding.trainable) {
      shard.moment1 = at::zeros_like(shard.weights);
      shard.moment2 = at::zeros_like(shard.weights);
      shard.gradient = at::zeros_like(shard.weights);
      if (sharding.reference) shard.reference = shard.weights.to(sharding.dtype, false, true);
    } else {
      shard.weights = shard.weights.to(sharding.dtype);
    }
    shards_.push_back(std::move(shard));
  }
}

const at::Tensor& ShardedParameters::source(int unit, Version version) const {
  const auto& shard = shards_[static_cast<std::size_t>(unit)];
  // What is frozen is its own reference.
  return version == Version::reference && sharding_.trainable ? shard.reference : shard.weights;
}

bool ShardedParameters::kept(Version version) const {
  return version == Version::current && (communicator_.size() == 1 || !sharding_.reshard);
}

void ShardedParameters::start_gather(int unit, Version version) {
  if (kept(version) && shards_[static_cast<std::size_t>(unit)].copy.defined()) return;
  const at::Tensor& shard = source(unit, version);
  const int ranks = communicator_.size();
  Gather gather{unit, version, {}, nullptr};
  if (ranks == 1 && shard.scalar_type() == sharding_.dtype) {
    gather.whole = shard;
  } else {
    gather.whole = at::empty({ranks * shard.size(0)}, at::TensorOptions().dtype(sharding_.dtype));
    const at::Tensor mine = gather.whole.narrow(0, communicator_.rank() * shard.size(0), shard.size(0));
    if (shard.scalar_type() == at::kFloat) {
      from_float(shard, mine);
    } else {
      mine.copy_(shard);
    }
    if (ranks > 1 && shard.size(0) > 0) {
      gather.request = communicator_.start_all_gather(mine.data_ptr(), static_cast<std::size_t>(mine.nbytes()),
                                                      gather.whole.data_ptr());
    }
  }
  gathers_.push_back(std::move(gather));
}

at::Tensor ShardedParameters::gather(int unit, Version version) {
  auto& shard = shards_[static_cast<std::size_t>(unit)];
  if (kept(version) && shard.copy.defined()) return shard.copy;
  if (gathers_.empty()) start_gather(unit, version);
  Gather gather = std::move(gathers_.front());
  gathers_.pop_front();
  SETRL_CHECK(gather.unit == unit && gather.version == version, "unit {} is asked for, unit {} was started", unit,
              gather.unit);
  if (gather.request) gather.request->wait();
  if (kept(version)) shard.copy = gather.whole;
  return gather.whole;
}

void ShardedParameters::drop_copies() {
  for (auto& shard : shards_) shard.copy.reset();
}

at::Tensor ShardedParameters::own_shard(int unit) const {
  const at::Tensor& shard = source(unit, Version::current);
  if (shard.scalar_type() == sharding_.dtype) return shard;
  const at::Tensor rounded = at::empty(shard.sizes(), at::TensorOptions().dtype(sharding_.dtype));
  from_float(shard, rounded);
  return rounded;
}

at::Tensor ShardedParameters::gradient_buffer(int unit) {
  if (!sharding_.trainable) return {};
  if (communicator_.size() == 1) return shards_[static_cast<std::size_t>(unit)].gradient;
  return at::zeros({communicator_.size() * layout(unit).shard}, at::kFloat);
}

void ShardedParameters::start_reduce(int unit, at::Tensor gradient) {
  if (!sharding_.trainable || communicator_.size() == 1 || layout(unit).shard == 0) return;
  finish_reduce();
  reduction_.unit = unit;
  reduction_.gradient = std::move(gradient);
  reduction_.part = at::empty({layout(unit).shard}, at::kFloat);
  reduction_.request =
      communicator_.start_reduce_scatter_sum(reduction_.gradient.data_ptr<float>(), reduction_.part.data_ptr<float>(),
                                             static_cast<std::size_t>(reduction_.part.numel()));
}

void ShardedParameters::finish_reduce() {
  if (!reduction_.request) return;
  reduction_.request->wait();
  add_to_float(reduction_.part, shards_[static_cast<std::size_t>(reduction_.unit)].gradient);
  reduction_ = {};
}

void ShardedParameters::zero_gradients() {
  if (!sharding_.trainable) return;
  for (auto& shard : shards_) shard.gradient.zero_();
}

double ShardedParameters::squared_gradient_norm() const {
  double sum = 0;
  if (!sharding_.trainable) return sum;
  for (const auto& shard : shards_) sum += sum_of_squares(shard.gradient);
  return sum;
}

void ShardedParameters::update(AdamwStep step) {
  if (!sharding_.trainable) return;
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
  if (!sharding_.trainable) return;
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
        view.data = (shards_[unit].*member).data_ptr<float>() + offset_of(layout, slot, slice, communicator_.rank());
      }
      views.push_back(std::move(view));
    }
  }
}

std::vector<TensorView> ShardedParameters::state() {
  std::vector<TensorView> views;
  if (!sharding_.trainable) return views;
  add_views("parameters/", &Shard::weights, views);
  add_views("moment1/", &Shard::moment1, views);
  add_views("moment2/", &Shard::moment2, views);
  return views;
}

}  // namespace setrl::learn
