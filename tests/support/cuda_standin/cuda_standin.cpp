#include "cuda_standin.h"

#include <ucontext.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace cuda_standin {

namespace {

constexpr std::size_t kStackBytes = 64 * 1024;

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  Place place;
  bool ended = false;
  // What it waits for: the barrier of the block, or an exchange of its warp. 0: nothing.
  std::uint64_t block_turn = 0, warp_turn = 0;
};

struct Warp {
  int lanes = 0, arrived = 0;
  std::uint64_t turn = 1;
  // Two sets of slots: lanes still read the last exchange's while others begin the next.
  unsigned char slots[2][32 * kMostExchanged];
};

struct Block {
  const std::function<void()>* body = nullptr;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  int arrived = 0;
  std::uint64_t turn = 1;
  std::vector<unsigned char> shared;
  std::exception_ptr failure;
  ucontext_t scheduler;
  Fiber* running = nullptr;
};

Order order = Order::forward;
std::vector<std::unique_ptr<char[]>> stacks;  // kept between blocks
Block* block = nullptr;

std::size_t index_of(const Place& place) {
  return place.thread.x + place.block_size.x * (place.thread.y + std::size_t{place.block_size.y} * place.thread.z);
}

void enter() {
  Fiber& fiber = *block->running;
  try {
    (*block->body)();
  } catch (...) {
    if (!block->failure) block->failure = std::current_exception();
  }
  fiber.ended = true;
  swapcontext(&fiber.context, &block->scheduler);
}

void yield() {
  Fiber& fiber = *block->running;
  swapcontext(&fiber.context, &block->scheduler);
}

bool can_go_on(const Fiber& fiber) {
  if (fiber.ended) return false;
  if (fiber.block_turn != 0) return block->turn > fiber.block_turn;
  if (fiber.warp_turn != 0) return block->warps[index_of(fiber.place) / 32].turn > fiber.warp_turn;
  return true;
}

void run_block(Block& current, dim3 grid, dim3 place, dim3 size) {
  const std::size_t count = std::size_t{size.x} * size.y * size.z;
  current.fibers = std::vector<Fiber>(count);
  current.warps = std::vector<Warp>((count + 31) / 32);
  std::fill(current.shared.begin(), current.shared.end(), static_cast<unsigned char>(0xff));
  while (stacks.size() < count) stacks.emplace_back(new char[kStackBytes]);
  for (std::size_t i = 0; i < count; ++i) {
    Fiber& fiber = current.fibers[i];
    fiber.place.thread = dim3(static_cast<unsigned>(i % size.x), static_cast<unsigned>(i / size.x % size.y),
                              static_cast<unsigned>(i / size.x / size.y));
    fiber.place.block = place;
    fiber.place.block_size = size;
    fiber.place.grid = grid;
    ++current.warps[i / 32].lanes;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stacks[i].get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
  for (std::size_t left = count; left > 0;) {
    bool moved = false;
    for (std::size_t i = 0; i < count; ++i) {
      Fiber& fiber = current.fibers[order == Order::forward ? i : count - 1 - i];
      if (!can_go_on(fiber)) continue;
      fiber.block_turn = fiber.warp_turn = 0;
      current.running = &fiber;
      swapcontext(&current.scheduler, &fiber.context);
      moved = true;
      if (current.failure) return;
      if (fiber.ended) --left;
    }
    if (!moved) {
      throw std::logic_error("block (" + std::to_string(place.x) + ", " + std::to_string(place.y) + ", " +
                             std::to_string(place.z) + "): " + std::to_string(left) + " of " + std::to_string(count) +
                             " threads wait at a barrier or shuffle that the others never reach");
    }
  }
}

}  // namespace

void set_order(Order wanted) {
  order = wanted;
}

void run(dim3 grid, dim3 size, std::size_t shared_bytes, const std::function<void()>& body) {
  const std::size_t count = std::size_t{size.x} * size.y * size.z;
  if (count == 0 || count > 1024) throw std::logic_error("a block of " + std::to_string(count) + " threads");
  Block current;
  current.body = &body;
  current.shared.resize(shared_bytes + 16);
  block = &current;
  try {
    for (unsigned z = 0; z < grid.z; ++z) {
      for (unsigned y = 0; y < grid.y; ++y) {
        for (unsigned x = 0; x < grid.x; ++x) {
          current.arrived = 0;
          current.turn = 1;
          run_block(current, grid, dim3(x, y, z), size);
          if (current.failure) std::rethrow_exception(current.failure);
        }
      }
    }
  } catch (...) {
    block = nullptr;
    throw;
  }
  block = nullptr;
}

const Place& place() {
  return block->running->place;
}

void* dynamic_shared() {
  void* start = block->shared.data();
  std::size_t space = block->shared.size();
  return std::align(16, 1, start, space);
}

unsigned lane() {
  return static_cast<unsigned>(index_of(place()) % 32);
}

void block_barrier() {
  Fiber& fiber = *block->running;
  if (++block->arrived == static_cast<int>(block->fibers.size())) {
    block->arrived = 0;
    ++block->turn;
    return;
  }
  fiber.block_turn = block->turn;
  yield();
}

void warp_exchange(unsigned mask, const void* mine, std::size_t bytes, const unsigned char** all) {
  Fiber& fiber = *block->running;
  Warp& warp = block->warps[index_of(fiber.place) / 32];
  if (mask != 0xffffffffu) throw std::logic_error("the stand-in knows shuffles of whole warps only");
  unsigned char* slots = warp.slots[warp.turn % 2];
  std::memcpy(slots + lane() * kMostExchanged, mine, bytes);
  *all = slots;
  if (++warp.arrived == warp.lanes) {
    warp.arrived = 0;
    ++warp.turn;
    return;
  }
  fiber.warp_turn = warp.turn;
  yield();
}

}  // namespace cuda_standin
