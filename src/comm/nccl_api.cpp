#include "comm/nccl_api.h"

#include "base/error.h"

namespace setrl::comm {

void check_cuda(cudaError_t code, const char* what) {
  if (code != cudaSuccess) throw BugError(fmt::format("{} failed: {}", what, cudaGetErrorString(code)));
}

void check_nccl(ncclResult_t code, const char* what) {
  if (code != ncclSuccess) throw BugError(fmt::format("{} failed: {}", what, ncclGetErrorString(code)));
}

OwnedStream::OwnedStream() {
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
}

OwnedStream::~OwnedStream() {
  cudaStreamDestroy(stream_);
}

OwnedEvent::OwnedEvent() {
  check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreateWithFlags");
}

OwnedEvent::~OwnedEvent() {
  cudaEventDestroy(event_);
}

bool OwnedEvent::done() const {
  const cudaError_t state = cudaEventQuery(event_);
  if (state == cudaErrorNotReady) return false;
  check_cuda(state, "the work of the GPU");
  return true;
}

bool is_device_memory(const void* data) {
  if (data == nullptr) return false;
  cudaPointerAttributes attributes{};
  check_cuda(cudaPointerGetAttributes(&attributes, data), "cudaPointerGetAttributes");
  return attributes.type == cudaMemoryTypeDevice;
}

}  // namespace setrl::comm
