// One interface for all communication, with generic verbs only. Implementations: LocalCommunicator (one rank),
// MpiCommunicator, and NcclCommunicator for memory of GPUs. Every verb has a deadline (the communicator's), after which
// it throws BugError naming the operation and the ranks that are missing. All sizes are 64-bit. One thread at a time
// may call a communicator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace setrl::comm {

enum class Reduction { sum, max, min };

// A point-to-point message as it arrived.
struct Envelope {
  int source = -1;
  int tag = 0;
  std::vector<std::uint8_t> bytes;
};

constexpr int kAnySource = -1;

// A stretch of the caller's memory that goes to, or comes from, another rank. What is sent is only read.
struct Parcel {
  int rank = 0;  // the partner
  void* data = nullptr;
  std::size_t bytes = 0;
};
using Parcels = std::vector<Parcel>;

// A collective that goes on while its caller computes. Every buffer given to it stays untouched until wait() returns.
// The destructor waits too (without throwing), so that the buffers may go once the request is gone.
class Request {
 public:
  virtual ~Request() = default;
  // Returns when the collective is done; throws what it failed with. A second call returns at once.
  virtual void wait() = 0;
  // For memory of a GPU: what the caller puts on the default stream from now on runs after the collective, while the
  // host goes on at once; the buffers stay as they are and wait() is still to be called. For other memory: wait().
  virtual void wait_on_device() { wait(); }
};

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const std::string& name() const = 0;

  virtual void barrier() = 0;
  virtual void broadcast(void* data, std::size_t bytes, int root) = 0;

  // In place; the result is the same on every rank, and the same for every run with this number of ranks
  // (fixed order of summation: rank 0, 1, 2, ...; NCCL: an order of its own, fixed for one kind of machine).
  virtual void all_reduce(float* data, std::size_t count, Reduction reduction) = 0;
  virtual void all_reduce(double* data, std::size_t count, Reduction reduction) = 0;

  // `in` holds bytes_per_rank bytes; `out` holds size() * bytes_per_rank, ordered by rank. `in` may lie inside `out` at
  // this rank's place.
  virtual void all_gather(const void* in, std::size_t bytes_per_rank, void* out) = 0;

  // `in` holds size() * count_per_rank floats; `out` gets this rank's part of the sum. Fixed order of summation.
  virtual void reduce_scatter_sum(const float* in, float* out, std::size_t count_per_rank) = 0;

  // The same in the background: they make progress by themselves. Requests of one communicator are served one after
  // another, so all ranks start them in the same order; other verbs may be called meanwhile. Where the back end has no
  // background (one rank) the work is done before they return.
  virtual std::unique_ptr<Request> start_all_gather(const void* in, std::size_t bytes_per_rank, void* out);
  virtual std::unique_ptr<Request> start_reduce_scatter_sum(const float* in, float* out, std::size_t count_per_rank);
  virtual std::unique_ptr<Request> start_all_reduce_sum(float* data, std::size_t count);

  // Bytes of payload that this rank has handed to other ranks since the start, of all verbs and requests that are done.
  // A collective counts as if every byte went straight to whoever needs it: (size - 1) * bytes_per_rank for an
  // all_gather, the same for a reduce_scatter_sum, both together for an all_reduce, and (size - 1) * bytes for the root
  // of a broadcast.
  virtual std::uint64_t bytes_sent() const { return 0; }

  // Buffered: returns without waiting for the receiver. A rank may send to itself. Tags are 0 or more; messages of one
  // source and tag arrive in the order of sending.
  virtual void send(int destination, int tag, std::vector<std::uint8_t> bytes) = 0;
  // Waits with back-off (an idle rank costs no CPU). `source` may be kAnySource.
  virtual Envelope receive(int source, int tag) = 0;
  // Like receive, but returns nothing where no message is there.
  virtual std::optional<Envelope> try_receive(int source, int tag) = 0;

  // Memory straight to memory, without copies, for sizes that both sides know: the nth parcel sent to a rank arrives in
  // the nth parcel received from this one there, and has its size. Returns when all of this rank's parcels are done.
  // Only ranks that have parcels for each other take part; a rank may send to itself. The partners are expected to call
  // it soon (waiting costs CPU at first).
  virtual void exchange(const Parcels& sends, const Parcels& receives) = 0;

  // Moves pending sends on and frees those that are done. Every verb does this; a rank that computes for long after a
  // large send (beyond the network's eager limit, a few KiB) calls it now and then so that the receiver is served.
  virtual void progress() {}

  // Collective. Ranks with the same colour form a communicator, ordered by rank here. Colour < 0: none (null is
  // returned).
  virtual std::unique_ptr<Communicator> split(int colour, const std::string& name) = 0;
};

// Gathers byte strings of different lengths from all ranks, ordered by rank. Built on the verbs above.
std::vector<std::vector<std::uint8_t>> all_gather_bytes(Communicator& communicator,
                                                        const std::vector<std::uint8_t>& mine);

// The part of an exchange that stays on rank `me`: copies each parcel sent to it into its receive, without any
// communication, and returns how many bytes. Throws BugError where the two lists do not match.
std::size_t copy_own_parcels(int me, const Parcels& sends, const Parcels& receives);

// The communicator of a single rank: every verb is a copy or nothing; send to self is a queue.
std::unique_ptr<Communicator> make_local_communicator(const std::string& name);

}  // namespace setrl::comm
