#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>

#include "comm/standin_nccl/standin.h"

struct StandinStream {
  std::deque<std::function<bool()>> work;
  std::uint64_t queued = 0, done = 0;
  bool polling = false;

  // Streams may wait for each other: what is being polled is not polled once more from within.
  void poll() {
    if (polling) return;
    polling = true;
    while (!work.empty() && work.front()()) {
      work.pop_front();
      ++done;
    }
    polling = false;
  }
};

// A place in a stream, which outlives the event that was recorded there.
struct Mark {
  std::shared_ptr<StandinStream> stream;
  std::uint64_t place = 0;
  bool reached() const {
    if (stream && stream->done < place) stream->poll();
    return !stream || stream->done >= place;
  }
};

struct StandinEvent {
  Mark mark;
};

namespace {

// Handles are plain pointers to these; the streams themselves live as long as a mark needs them.
std::deque<std::shared_ptr<StandinStream>>& streams() {
  static std::deque<std::shared_ptr<StandinStream>> list{std::make_shared<StandinStream>()};
  return list;
}

std::shared_ptr<StandinStream> stream_of(cudaStream_t handle) {
  if (handle == nullptr) return streams().front();
  for (const auto& stream : streams()) {
    if (stream.get() == handle) return stream;
  }
  return nullptr;
}

}  // namespace

namespace setrl::standin {

Control& control() {
  static Control instance;
  return instance;
}

std::recursive_mutex& everything() {
  static std::recursive_mutex instance;
  return instance;
}

void reset_control() {
  Control fresh;
  fresh.live_comms = control().live_comms;
  fresh.live_streams = control().live_streams;
  fresh.live_events = control().live_events;
  control() = fresh;
}

void enqueue(cudaStream_t handle, std::function<bool()> work) {
  const auto stream = stream_of(handle);
  stream->work.push_back(std::move(work));
  ++stream->queued;
}

void queue_on_default_stream(int polls, std::function<void()> work) {
  enqueue(nullptr, [left = polls, work = std::move(work)]() mutable {
    if (left-- > 0) return false;
    work();
    return true;
  });
}

}  // namespace setrl::standin

using setrl::standin::control;
using setrl::standin::everything;
using setrl::standin::Guard;

const char* cudaGetErrorString(cudaError_t code) {
  switch (code) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorNotReady: return "device not ready";
  }
  return "unknown error";
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = control().devices;
  return *count == 0 ? cudaErrorNoDevice : cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  return device >= 0 && device < control().devices ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* data) {
  const bool device = control().all_memory_is_device && data != control().host_memory;
  attributes->type = device ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned /*flags*/) {
  const Guard guard(everything());
  streams();  // the default stream is the first
  streams().push_back(std::make_shared<StandinStream>());
  *stream = streams().back().get();
  ++control().live_streams;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  const Guard guard(everything());
  for (auto stream = streams().begin() + 1; stream != streams().end(); ++stream) {
    if (stream->get() != handle) continue;
    streams().erase(stream);
    --control().live_streams;
    return cudaSuccess;
  }
  return cudaErrorInvalidValue;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
  const Guard guard(everything());
  setrl::standin::enqueue(stream, [mark = event->mark] { return mark.reached(); });
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned /*flags*/) {
  const Guard guard(everything());
  *event = new StandinEvent;
  ++control().live_events;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Guard guard(everything());
  delete event;
  --control().live_events;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Guard guard(everything());
  const auto found = stream_of(stream);
  if (!found) return cudaErrorInvalidValue;
  event->mark = {found, found->queued};
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Guard guard(everything());
  return event->mark.reached() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind /*kind*/,
                            cudaStream_t stream) {
  const Guard guard(everything());
  setrl::standin::enqueue(stream, [=] {
    std::memcpy(to, from, bytes);
    return true;
  });
  return cudaSuccess;
}
