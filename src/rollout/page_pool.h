// The pages of a KV cache as the scheduler sees them: things that are taken, copied and given back.
#pragma once

#include <cstdint>

#include "rollout/layout.h"

namespace setrl::rollout {

class PagePool {
 public:
  // Where a page begins, in the memory of the device: only the device's own code may look into it. Null: no page.
  using Page = char*;

  PagePool() = default;
  virtual ~PagePool() = default;
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  static std::int64_t pages_of(std::int64_t positions) { return (positions + kPageTokens - 1) / kPageTokens; }
  virtual std::int64_t page_bytes() const = 0;
  virtual std::int64_t limit() const = 0;      // pages
  virtual std::int64_t available() const = 0;  // pages that may still be taken
  virtual Page take() = 0;                     // `available` must not be 0
  virtual void give_back(Page page) = 0;
  // Everything that passes before this one have written, seen by the passes after it.
  virtual void copy(Page from, Page to) = 0;
};

}  // namespace setrl::rollout
