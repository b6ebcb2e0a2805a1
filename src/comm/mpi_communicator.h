// The communicator over MPI. Has an MPI communicator of its own until the end of MPI, so its traffic meets nobody
// else's, not even that of a communicator made after this one is gone. Collectives are
// non-blocking ones that are polled with back-off; reductions are an exchange of segments, a sum in rank order here and
// a gather, so that a result depends on the values and the number of ranks only. After a collective missed its deadline
// the communicator refuses further collectives: its ranks no longer agree on where they are. Requests run on a second
// communicator of the same ranks, which a thread of its own calls in the order they were started. Internal to comm.
#pragma once

#include <atomic>
#include <deque>
#include <memory>

#include "comm/background.h"
#include "comm/communicator.h"
#include "comm/mpi_session.h"

namespace setrl::comm {

class MpiCommunicator : public Communicator {
 public:
  // Takes `comm`. `path` is the same on all its ranks and differs from every other communicator's.
  MpiCommunicator(std::shared_ptr<Session> session, OwnedComm comm, std::string name, std::string path);
  ~MpiCommunicator() override;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const std::string& name() const override { return name_; }

  void barrier() override;
  void broadcast(void* data, std::size_t bytes, int root) override;
  void all_reduce(float* data, std::size_t count, Reduction reduction) override;
  void all_reduce(double* data, std::size_t count, Reduction reduction) override;
  void all_gather(const void* in, std::size_t bytes_per_rank, void* out) override;
  void reduce_scatter_sum(const float* in, float* out, std::size_t count_per_rank) override;
  std::unique_ptr<Request> start_all_gather(const void* in, std::size_t bytes_per_rank, void* out) override;
  std::unique_ptr<Request> start_reduce_scatter_sum(const float* in, float* out, std::size_t count_per_rank) override;
  std::unique_ptr<Request> start_all_reduce_sum(float* data, std::size_t count) override;
  std::uint64_t bytes_sent() const override;
  void send(int destination, int tag, std::vector<std::uint8_t> bytes) override;
  Envelope receive(int source, int tag) override;
  std::optional<Envelope> try_receive(int source, int tag) override;
  void exchange(const Parcels& sends, const Parcels& receives) override;
  void progress() override;
  std::unique_ptr<Communicator> split(int colour, const std::string& name) override;

  // Lives as long as this.
  const MPI_Comm& handle() const { return comm_.get(); }

 private:
  // A running collective and the copies it works on, kept until it is done even where the caller gives up.
  struct Exchange {
    std::vector<std::uint8_t> in, out;
    MPI_Request request = MPI_REQUEST_NULL;
  };
  // Starts an MPI call under the lock and polls it to its end.
  template <typename Start>
  void run(const char* call, Backoff::Pace pace, const std::shared_ptr<Exchange>& exchange, const Start& start);
  template <typename T>
  void reduce_everywhere(T* data, std::size_t count, Reduction reduction, MPI_Datatype type);
  template <typename T>
  void reduce_segments(T* data, std::size_t count, Reduction reduction, MPI_Datatype type);
  void gather_small(const void* in, std::size_t bytes_per_rank, const std::shared_ptr<Exchange>& exchange);
  void begin(const char* verb);
  // The communicator and thread of the requests; made, collectively, at the first.
  MpiCommunicator& in_background();
  void count_sent(std::size_t bytes, int receivers) { sent_ += bytes * static_cast<std::size_t>(receivers); }
  // Waits, idle, until every rank is in this collective.
  void arrive();
  Operation describe_collective() const;
  Operation describe_exchange(const Parcels& sends, const Parcels& receives) const;
  Operation describe_receive(int source, int tag, const char* verb) const;
  std::optional<Envelope> take_from_self(int source, int tag);
  bool small(std::size_t bytes) const { return bytes <= session_->limits.small_bytes; }

  std::shared_ptr<Session> session_;
  OwnedComm comm_;
  std::string name_, path_;
  int rank_ = 0, size_ = 1;
  std::vector<int> world_ranks_;  // [size]
  std::deque<Envelope> to_self_;
  const char* verb_ = "";     // the collective in progress ...
  std::uint64_t number_ = 0;  // ... and how many there were
  int splits_ = 0;
  std::string broken_;                        // why collectives are refused
  Backoff::Pace pace_ = Backoff::Pace::busy;  // while data moves
  std::atomic<std::uint64_t> sent_{0};        // bytes; read from the caller's thread while the background counts
  std::unique_ptr<Communicator> requests_;
  std::unique_ptr<Background> background_;  // after requests_: its thread ends first
};

}  // namespace setrl::comm
