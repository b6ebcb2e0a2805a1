#include "learn/buffers.h"

namespace setrl::learn {

at::Tensor Buffers::take(std::int64_t count, const at::TensorOptions& options) {
  for (const auto& buffer : kept_) {
    const bool fits = buffer.numel() == count && buffer.dtype() == options.dtype();
    // Held by this list alone: a tensor that is handed out shares the storage.
    if (fits && buffer.storage().use_count() == 1) return buffer.view(-1);
  }
  kept_.push_back(at::empty({count}, options));
  return kept_.back().view(-1);
}

}  // namespace setrl::learn
