// A decode step asks for no memory. Counts operator new of the whole program while a step runs.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "support.h"

namespace {
std::atomic<bool> counting{false};
std::atomic<std::int64_t> allocations{0};

void* allocate(std::size_t size, std::size_t alignment) {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = alignment > 0 ? std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
                               : std::malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

void* operator new(std::size_t size) {
  return allocate(size, 0);
}
void* operator new[](std::size_t size) {
  return allocate(size, 0);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace setrl::rollout {
namespace {

TEST(AllocationTest, DecodeStepsAskForNoMemory) {
  const auto spec = test::small_spec(model::Family::qwen3);
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    Engine engine(spec, at::kBFloat16, 16);
    test::load(engine, test::random_tensors(spec));
    // The first use of a sequence's worth of pages and buffers allocates; the second round finds all in place.
    for (const bool measured : {false, true}) {
      SamplingOptions sampling;
      sampling.max_new_tokens = 100;
      sampling.top_p = 0.9;
      auto rules = std::make_shared<StopRules>();
      rules->bytes_of = [](std::int32_t) { return std::string_view("ab"); };
      rules->stop_texts = {"never"};
      sampling.rules = rules;
      for (int i = 0; i < 4; ++i) {
        engine.submit({i, "p" + std::to_string(i), test::prompt_of(20 + 9 * i, spec.vocabulary), 4, 0}, sampling);
      }
      for (int step = 0; !engine.idle(); ++step) {
        // Steps 3 to 98 decode 16 sequences, over page borders; before that prompts come, after it completions end.
        counting = measured && step >= 3 && step < 98;
        engine.step(nullptr);
        counting = false;
        ASSERT_LE(step, 101);
      }
    }
    EXPECT_EQ(allocations.load(), 0) << threads << " threads";
    EXPECT_EQ(engine.stats().new_tokens, 2 * 16 * 100);
  }
}

}  // namespace
}  // namespace setrl::rollout
