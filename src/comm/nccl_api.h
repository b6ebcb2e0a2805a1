// The narrow gate to NCCL and the CUDA runtime: what little of them is used, as handles and checks. Nothing else
// includes their headers, so that tests can put a stand-in (tests/comm/standin_nccl) in their place. Internal to comm.
#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

namespace setrl::comm {

// Throws BugError with the library's own text unless the code is success. `what` names the call.
void check_cuda(cudaError_t code, const char* what);
void check_nccl(ncclResult_t code, const char* what);

// A stream of its own, which does not wait for the default one. Move-only.
class OwnedStream {
 public:
  OwnedStream();
  ~OwnedStream();
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

// A mark in a stream, without a time stamp.
class OwnedEvent {
 public:
  OwnedEvent();
  ~OwnedEvent();
  OwnedEvent(const OwnedEvent&) = delete;
  OwnedEvent& operator=(const OwnedEvent&) = delete;
  cudaEvent_t get() const { return event_; }
  void record(cudaStream_t stream) { check_cuda(cudaEventRecord(event_, stream), "cudaEventRecord"); }
  // Whether all that was before the mark is done.
  bool done() const;

 private:
  cudaEvent_t event_ = nullptr;
};

// Whether `data` is memory that a GPU made (false for null and for what CUDA does not know).
bool is_device_memory(const void* data);

}  // namespace setrl::comm
