// The copy of a rank's tensors that a save writes from while training goes on.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "records/tensor_view.h"

namespace setrl::store {

// Memory for the copy; not cleared, so that only what is used is ever touched.
struct StagingMemory {
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  std::unique_ptr<float[], Free> floats;
  std::size_t size = 0;  // elements
};

// Every thread that calls `complete` takes part: the store's thread, and the one that trains where it must wait for the
// copy anyhow. One core copies at about half of what the memory of a small machine can do.
class StagedCopy {
 public:
  // The slices must stay as they are until `complete` has returned. `memory` is used where it is large enough. Copies
  // nothing yet.
  void prepare(const std::vector<TensorView>& tensors, StagingMemory memory);
  // Copies until everything is copied.
  void complete();
  // The copies.
  const std::vector<TensorView>& views() const { return views_; }
  // For the next save, when nobody reads the copies any more.
  StagingMemory take_memory() { return std::move(memory_); }

 private:
  struct Portion {
    float* to;
    const float* from;
    std::size_t count;
  };

  std::vector<TensorView> views_;
  StagingMemory memory_;
  std::vector<Portion> portions_;
  std::atomic<std::size_t> next_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t copied_ = 0;  // portions
};

}  // namespace setrl::store
