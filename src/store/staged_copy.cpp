#include "store/staged_copy.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "store/direct_file.h"

namespace setrl::store {

namespace {

constexpr std::size_t kPortion = 1 << 20;   // elements: a millisecond's work
constexpr std::size_t kHugePage = 2 << 20;  // bytes

// In large pages where the system has them: the first save touches all of it, and every fault of a small page costs as
// much as copying it.
StagingMemory allocate(std::size_t elements) {
  const std::size_t bytes = (elements * sizeof(float) + kHugePage - 1) / kHugePage * kHugePage;
  StagingMemory memory;
  if (bytes == 0) return memory;
  memory.floats.reset(static_cast<float*>(std::aligned_alloc(kHugePage, bytes)));
  if (!memory.floats) throw std::bad_alloc();
  madvise(memory.floats.get(), bytes, MADV_HUGEPAGE);
  memory.size = elements;
  return memory;
}

// Elements of memory for so many: slices begin on pages, for direct writes.
std::size_t padded(std::size_t elements) {
  constexpr std::size_t kPage = DirectFile::kPage / sizeof(float);
  return (elements + kPage - 1) / kPage * kPage;
}

// To be copied. What cannot be saved is not: the writer refuses it, in its place in the order of things.
std::size_t elements_of(const TensorView& tensor) {
  const bool whole = tensor.dtype == DType::float32 && tensor.data != nullptr && tensor.begin < tensor.end;
  return whole ? static_cast<std::size_t>(tensor.end - tensor.begin) : 0;
}

}  // namespace

void StagedCopy::prepare(const std::vector<TensorView>& tensors, StagingMemory memory) {
  std::size_t elements = 0;
  for (const auto& tensor : tensors) elements += padded(elements_of(tensor));
  memory_ = std::move(memory);
  if (memory_.size < elements) {
    memory_ = StagingMemory();  // before there is another one
    memory_ = allocate(elements);
  }
  views_ = tensors;
  float* to = memory_.floats.get();
  for (auto& view : views_) {
    const std::size_t count = elements_of(view);
    if (count == 0) continue;
    const auto* from = static_cast<const float*>(view.data);
    for (std::size_t at = 0; at < count; at += kPortion) {
      portions_.push_back({to + at, from + at, std::min(kPortion, count - at)});
    }
    view.data = to;
    to += padded(count);
  }
}

void StagedCopy::complete() {
  std::size_t mine = 0;
  for (std::size_t i = next_++; i < portions_.size(); i = next_++) {
    std::memcpy(portions_[i].to, portions_[i].from, portions_[i].count * sizeof(float));
    ++mine;
  }
  std::unique_lock lock(mutex_);
  copied_ += mine;
  changed_.notify_all();
  changed_.wait(lock, [&] { return copied_ == portions_.size(); });
}

}  // namespace setrl::store
