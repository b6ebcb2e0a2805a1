#include "learn/sharded_parameters.h"

#include <algorithm>

#include "base/error.h"
#include "learn/tensor_ops.h"

namespace setrl::learn {

namespace {

constexpr std::int64_t kStaging = std::int64_t{1} << 24;  // elements that are read at once on their way to a GPU

}  // namespace

ShardedParameters::ShardedParameters(std::vector<UnitLayout> layouts, const ReadSlice& read,
                                     comm::Communicator& communicator, const Sharding& sharding)
    : communicator_(communicator), sharding_(sharding), layouts_(std::move(layouts)) {
  SETRL_CHECK(!sharding.offload || on_gpu(), "state is offloaded from GPUs");
  const bool offload = sharding.offload && sharding.trainable;
  if (offload) streamed_ = std::make_unique<gpu::StreamedAdamw>(sharding.device);
  for (const auto& layout : layouts_) {
    Shard shard;
    shard.weights = zeros(layout.shard, at::kFloat, offload);
    read_shard(layout, read, shard.weights);
    if (sharding.trainable) {
      shard.moment1 = zeros(layout.shard, at::kFloat, offload);
      shard.moment2 = zeros(layout.shard, at::kFloat, offload);
      shard.gradient = zeros(layout.shard, at::kFloat, false);
      if (offload) shard.compute = shard.weights.to(sharding.device).to(sharding.dtype);
      if (sharding.reference) shard.reference = shard.weights.to(sharding.device).to(sharding.dtype, false, true);
    } else {
      shard.weights = shard.weights.to(sharding.dtype);
    }
    shards_.push_back(std::move(shard));
  }
}

at::Tensor ShardedParameters::zeros(std::int64_t count, at::ScalarType dtype, bool offloaded) const {
  if (offloaded) return gpu::pinned_zeros(count, dtype);
  return at::zeros({count}, at::TensorOptions().dtype(dtype).device(sharding_.device));
}

void ShardedParameters::read_shard(const UnitLayout& layout, const ReadSlice& read, const at::Tensor& weights) const {
  at::Tensor staging;
  if (weights.is_cuda()) staging = gpu::pinned_zeros(std::min(kStaging, layout.shard), at::kFloat);
  for_each_own_slice(layout, communicator_.rank(), [&](const Slot& slot, const Slice& slice, std::int64_t offset) {
    if (!staging.defined()) {
      read(slot.parameter.name, slice.begin, slice.end, weights.data_ptr<float>() + offset);
      return;
    }
    for (std::int64_t begin = slice.begin; begin < slice.end; begin += kStaging) {
      const std::int64_t count = std::min(kStaging, slice.end - begin);
      read(slot.parameter.name, begin, begin + count, staging.data_ptr<float>());
      weights.narrow(0, offset + begin - slice.begin, count).copy_(staging.narrow(0, 0, count));
    }
  });
}

const at::Tensor& ShardedParameters::source(int unit, Version version) const {
  const auto& shard = shards_[static_cast<std::size_t>(unit)];
  // What is frozen is its own reference.
  if (version == Version::reference && sharding_.trainable) return shard.reference;
  return shard.compute.defined() ? shard.compute : shard.weights;
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
    const auto options = at::TensorOptions().dtype(sharding_.dtype).device(sharding_.device);
    const std::int64_t count = ranks * shard.size(0);
    gather.whole = on_gpu() ? buffers_.take(count, options) : at::empty({count}, options);
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
  const at::Tensor rounded = at::empty(shard.sizes(), shard.options().dtype(sharding_.dtype));
  from_float(shard, rounded);
  return rounded;
}

at::Tensor ShardedParameters::gradient_buffer(int unit) {
  if (!sharding_.trainable) return {};
  if (communicator_.size() == 1) return shards_[static_cast<std::size_t>(unit)].gradient;
  const std::int64_t count = communicator_.size() * layout(unit).shard;
  const auto options = at::TensorOptions().dtype(at::kFloat).device(sharding_.device);
  return on_gpu() ? buffers_.take(count, options).zero_() : at::zeros({count}, options);
}

void ShardedParameters::start_reduce(int unit, at::Tensor gradient) {
  if (!sharding_.trainable || communicator_.size() == 1 || layout(unit).shard == 0) return;
  finish_reduce();
  reduction_.unit = unit;
  reduction_.gradient = std::move(gradient);
  reduction_.part = at::empty({layout(unit).shard}, reduction_.gradient.options());
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
    const auto run = [&](std::int64_t begin, std::int64_t end, const AdamwStep& how) {
      const auto part = [&](const at::Tensor& of) { return of.narrow(0, begin, end - begin); };
      if (streamed_) {
        streamed_->update(part(shard.weights), part(shard.moment1), part(shard.moment2), part(shard.gradient),
                          part(shard.compute), how);
      } else {
        adamw(part(shard.weights), part(shard.moment1), part(shard.moment2), part(shard.gradient), how);
      }
    };
    AdamwStep without_decay = step;
    without_decay.weight_decay = 0;
    run(0, matrices, step);
    run(matrices, layouts_[unit].shard, without_decay);
  }
  if (streamed_) streamed_->finish();
  drop_copies();
}

void ShardedParameters::zero_moments() {
  if (!sharding_.trainable) return;
  for (auto& shard : shards_) {
    shard.moment1.zero_();
    shard.moment2.zero_();
  }
}

void ShardedParameters::add_views(const std::string& prefix, Member member, std::vector<at::Tensor>& copies,
                                  std::vector<TensorView>& views) {
  copies.resize(shards_.size());
  for (std::size_t unit = 0; unit < shards_.size(); ++unit) {
    at::Tensor values = shards_[unit].*member;
    if (values.is_cuda()) {
      if (!copies[unit].defined()) copies[unit] = gpu::pinned_zeros(values.numel(), at::kFloat);
      copies[unit].copy_(values, true);
      values = copies[unit];
    }
    const auto& layout = layouts_[unit];
    for (const auto& slot : layout.slots) {
      const Slice slice = slice_of(layout, slot, communicator_.rank());
      TensorView view;
      view.name = prefix + slot.parameter.name;
      view.shape = slot.parameter.shape;
      if (slice.begin < slice.end) {
        view.begin = slice.begin;
        view.end = slice.end;
        view.data = values.data_ptr<float>() + offset_of(layout, slot, slice, communicator_.rank());
      }
      views.push_back(std::move(view));
    }
  }
}

std::vector<TensorView> ShardedParameters::state() {
  std::vector<TensorView> views;
  if (!sharding_.trainable) return views;
  add_views("parameters/", &Shard::weights, host_copies_[0], views);
  add_views("moment1/", &Shard::moment1, host_copies_[1], views);
  add_views("moment2/", &Shard::moment2, host_copies_[2], views);
  if (on_gpu()) gpu::synchronize();
  return views;
}

void ShardedParameters::adopt_state() {
  const Member members[3] = {&Shard::weights, &Shard::moment1, &Shard::moment2};
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t unit = 0; unit < host_copies_[i].size(); ++unit) {
      if (host_copies_[i][unit].defined()) (shards_[unit].*members[i]).copy_(host_copies_[i][unit]);
    }
  }
  for (auto& shard : shards_) {
    if (shard.compute.defined()) shard.compute.copy_(shard.weights);
  }
  drop_copies();
}

}  // namespace setrl::learn
