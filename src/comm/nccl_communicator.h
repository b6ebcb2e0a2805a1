// The communicator for memory of GPUs: collectives and exchanges whose memory is on the device go through NCCL, and
// everything else (host memory, messages, barriers) through the communicator that it was made from. All ranks give the
// same kind of memory to a call, and issue their calls on device memory, requests included, in the same order.
//
// NCCL work runs on a stream of this communicator's own, after what the caller has put on the default stream. A verb
// returns when its work is done. NCCL is used in its non-blocking mode, so every wait, that for the other ranks at the
// start included, has the deadline and looks for asynchronous errors. After an error or a missed deadline the NCCL
// communicator is aborted at once, and all further use is refused with the first reason.
//
// Owns its NCCL communicator, stream and host communicator. One process has one device; see comm/device.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/mpi_runtime.h"
#include "comm/mpi_session.h"
#include "comm/nccl_api.h"

namespace setrl::comm {

class NcclCommunicator : public Communicator {
 public:
  // Collective over `host`. Throws BugError where NCCL refuses or ranks are missing.
  NcclCommunicator(MpiRuntime& runtime, std::unique_ptr<Communicator> host);
  // Frees without communication; warns where work is still under way, which it ends.
  ~NcclCommunicator() override;

  // Collective: ends the NCCL communicator in agreement with the other ranks. Later calls on device memory throw.
  void finalize();
  // Ends it at once, without the others, who see an error. The first reason is repeated to all who call later.
  void abort(const std::string& reason);

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  const std::string& name() const override { return host_->name(); }

  void barrier() override { host_->barrier(); }
  void broadcast(void* data, std::size_t bytes, int root) override;
  // Sums of device memory are NCCL's own. Maxima and minima go through the host: NCCL does not promise to keep a NaN.
  void all_reduce(float* data, std::size_t count, Reduction reduction) override;
  void all_reduce(double* data, std::size_t count, Reduction reduction) override;
  void all_gather(const void* in, std::size_t bytes_per_rank, void* out) override;
  void reduce_scatter_sum(const float* in, float* out, std::size_t count_per_rank) override;
  // A request must not outlive its communicator.
  std::unique_ptr<Request> start_all_gather(const void* in, std::size_t bytes_per_rank, void* out) override;
  std::unique_ptr<Request> start_reduce_scatter_sum(const float* in, float* out, std::size_t count_per_rank) override;
  std::unique_ptr<Request> start_all_reduce_sum(float* data, std::size_t count) override;
  std::uint64_t bytes_sent() const override { return sent_ + host_->bytes_sent(); }
  void send(int destination, int tag, std::vector<std::uint8_t> bytes) override {
    host_->send(destination, tag, std::move(bytes));
  }
  Envelope receive(int source, int tag) override { return host_->receive(source, tag); }
  std::optional<Envelope> try_receive(int source, int tag) override { return host_->try_receive(source, tag); }
  void exchange(const Parcels& sends, const Parcels& receives) override;
  void progress() override { host_->progress(); }
  std::unique_ptr<Communicator> split(int colour, const std::string& name) override;

 private:
  class Ticket;
  class TicketRequest;

  // Puts NCCL work on the stream: after the caller's, `enqueue` returns NCCL's result code.
  template <typename Enqueue>
  Ticket launch(Operation operation, const Enqueue& enqueue);
  // Polls a non-blocking call of NCCL to its end.
  void settle(const Operation& operation, ncclResult_t result);
  // Waits until the work of a ticket is done.
  void finish(const Operation& operation, const OwnedEvent& done);
  // Runs `wait`; whatever it throws ends the communicator.
  template <typename Wait>
  void guarded(const Wait& wait);
  template <typename T>
  void reduce_everywhere(T* data, std::size_t count, Reduction reduction, ncclDataType_t type);
  template <typename T>
  Ticket enqueue_sum(T* data, std::size_t count, ncclDataType_t type);
  template <typename T>
  void reduce_on_host(T* data, std::size_t count, Reduction reduction);
  void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind);
  Ticket enqueue_all_gather(const void* in, std::size_t bytes_per_rank, void* out);
  Ticket enqueue_reduce_scatter(const float* in, float* out, std::size_t count_per_rank);
  void check_usable(const char* verb) const;
  // The next collective of all ranks, and work with some of them, for error messages.
  Operation collective(const char* verb);
  Operation with_some(const char* verb, std::vector<int> partners) const;
  void count_sent(std::size_t bytes, int receivers) { sent_ += bytes * static_cast<std::size_t>(receivers); }

  MpiRuntime& runtime_;
  std::shared_ptr<Session> session_;
  std::unique_ptr<Communicator> host_;
  std::vector<int> partners_, world_ranks_;  // [size]: ranks here, and in the world
  std::string path_;                         // the same on all ranks, no other communicator's
  OwnedStream stream_;
  OwnedEvent callers_work_;
  ncclComm_t comm_ = nullptr;  // null after finalize or abort
  std::string ended_;          // why
  std::uint64_t number_ = 0;   // of collectives
  int under_way_ = 0;          // launches that nobody has waited for
  std::uint64_t sent_ = 0;     // bytes
};

}  // namespace setrl::comm
