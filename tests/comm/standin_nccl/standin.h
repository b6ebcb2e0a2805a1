// What tests see of the stand-in: faults to inject, and what is alive.
#pragma once

#include <nccl.h>

#include <functional>
#include <mutex>
#include <string>

namespace setrl::standin {

struct Control {
  bool all_memory_is_device = true;
  const void* host_memory = nullptr;  // the exception
  int devices = 8;
  // The next call of this name returns `fails_with`.
  std::string failing_call;
  ncclResult_t fails_with = ncclSystemError;
  // What every communicator reports from here on.
  ncclResult_t async_error = ncclSuccess;
  int aborted = 0, finalized = 0, destroyed = 0;          // communicators
  int live_comms = 0, live_streams = 0, live_events = 0;  // made and not freed
};

// One for the process.
Control& control();
// Puts everything back but the counts of what lives.
void reset_control();

// Work of the caller on the default stream: `work` is done when it has been polled `polls` times.
void queue_on_default_stream(int polls, std::function<void()> work);

// Internal to the stand-in: held by every call, as threads may use different communicators.
using Guard = std::lock_guard<std::recursive_mutex>;
std::recursive_mutex& everything();

// Internal to the stand-in: appends work to a stream; it is polled until it returns true.
void enqueue(cudaStream_t stream, std::function<bool()> work);

}  // namespace setrl::standin
