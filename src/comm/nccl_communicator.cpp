#include "comm/nccl_communicator.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"

namespace setrl::comm {

// Work that is on its way to the device or through it.
class NcclCommunicator::Ticket {
 public:
  Ticket(NcclCommunicator& owner, Operation operation)
      : owner_(owner), operation_(std::move(operation)), done_(std::make_unique<OwnedEvent>()) {
    done_->record(owner.stream_.get());
    ++owner.under_way_;
  }
  Ticket(Ticket&&) = default;

  void wait() {
    if (!done_) return;
    const auto done = std::move(done_);
    --owner_.under_way_;
    owner_.finish(operation_, *done);
  }
  // Work on the default stream waits from now on; the ticket stays open.
  void hold_callers_stream() {
    if (!done_) return;
    owner_.check_usable(operation_.text.c_str());
    check_cuda(cudaStreamWaitEvent(nullptr, done_->get(), 0), "cudaStreamWaitEvent");
  }
  // Whether somebody still wants to know how it ended.
  bool open() const { return done_ != nullptr && owner_.comm_ != nullptr; }
  const std::string& text() const { return operation_.text; }

 private:
  NcclCommunicator& owner_;
  Operation operation_;
  std::unique_ptr<OwnedEvent> done_;
};

NcclCommunicator::NcclCommunicator(MpiRuntime& runtime, std::unique_ptr<Communicator> host)
    : runtime_(runtime), session_(runtime.session()), host_(std::move(host)) {
  partners_.resize(static_cast<std::size_t>(size()));
  std::iota(partners_.begin(), partners_.end(), 0);
  world_ranks_.resize(partners_.size());
  const int mine = runtime.world().rank();
  host_->all_gather(&mine, sizeof mine, world_ranks_.data());

  ncclUniqueId id{};
  if (rank() == 0) check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
  host_->broadcast(&id, sizeof id, 0);
  path_ = fmt::format("nccl:{:016x}", stable_hash(std::string(id.internal, sizeof id.internal)));
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  const Operation operation = collective("start");
  guarded([&] { settle(operation, ncclCommInitRankConfig(&comm_, size(), id, rank(), &config)); });
}

NcclCommunicator::~NcclCommunicator() {
  if (comm_ == nullptr) return;
  if (under_way_ > 0) log::warning("NCCL communicator '{}' goes with {} operations under way", name(), under_way_);
  // Not ncclCommDestroy, which may wait for the other ranks.
  ncclCommAbort(comm_);
}

Operation NcclCommunicator::collective(const char* verb) {
  ++number_;
  return {path_, fmt::format("{} #{} of '{}' over NCCL", verb, number_, name()), number_, partners_, world_ranks_};
}

Operation NcclCommunicator::with_some(const char* verb, std::vector<int> partners) const {
  Operation operation{path_, fmt::format("{} of '{}' over NCCL", verb, name()), 0, std::move(partners), {}};
  for (const int partner : operation.partners) {
    operation.world_ranks.push_back(world_ranks_[static_cast<std::size_t>(partner)]);
  }
  return operation;
}

void NcclCommunicator::check_usable(const char* verb) const {
  SETRL_CHECK(comm_ != nullptr, "{} of '{}' over NCCL, which has ended: {}", verb, name(), ended_);
}

template <typename Wait>
void NcclCommunicator::guarded(const Wait& wait) {
  try {
    wait();
  } catch (const std::exception& failure) {
    abort(failure.what());
    throw;
  }
}

void NcclCommunicator::abort(const std::string& reason) {
  if (ended_.empty()) ended_ = reason;
  if (comm_ != nullptr) ncclCommAbort(comm_);
  comm_ = nullptr;
}

void NcclCommunicator::finalize() {
  check_usable("finalize");
  host_->barrier();
  const Operation operation = collective("finalize");
  guarded([&] { settle(operation, ncclCommFinalize(comm_)); });
  const ncclResult_t result = ncclCommDestroy(comm_);
  comm_ = nullptr;
  ended_ = "it was finalised";
  if (result != ncclInProgress) check_nccl(result, "ncclCommDestroy");
}

void NcclCommunicator::settle(const Operation& operation, ncclResult_t result) {
  if (result == ncclInProgress) {
    session_->wait([&] { return operation; }, Backoff::Pace::busy,
                   [&] {
                     check_nccl(ncclCommGetAsyncError(comm_, &result), "ncclCommGetAsyncError");
                     return result != ncclInProgress;
                   });
  }
  check_nccl(result, operation.text.c_str());
}

void NcclCommunicator::finish(const Operation& operation, const OwnedEvent& done) {
  check_usable(operation.text.c_str());
  guarded([&] {
    session_->wait([&] { return operation; }, Backoff::Pace::busy,
                   [&] {
                     if (done.done()) return true;
                     ncclResult_t error = ncclSuccess;
                     check_nccl(ncclCommGetAsyncError(comm_, &error), "ncclCommGetAsyncError");
                     if (error != ncclInProgress) check_nccl(error, operation.text.c_str());
                     return false;
                   });
  });
}

template <typename Enqueue>
NcclCommunicator::Ticket NcclCommunicator::launch(Operation operation, const Enqueue& enqueue) {
  check_usable(operation.text.c_str());
  callers_work_.record(nullptr);
  check_cuda(cudaStreamWaitEvent(stream_.get(), callers_work_.get(), 0), "cudaStreamWaitEvent");
  guarded([&] { settle(operation, enqueue()); });
  return Ticket(*this, std::move(operation));
}

void NcclCommunicator::broadcast(void* data, std::size_t bytes, int root) {
  if (bytes == 0 || !is_device_memory(data)) return host_->broadcast(data, bytes, root);
  if (rank() == root) count_sent(bytes, size() - 1);
  launch(collective("broadcast"), [&] {
    return ncclBroadcast(data, data, bytes, ncclInt8, root, comm_, stream_.get());
  }).wait();
}

void NcclCommunicator::all_reduce(float* data, std::size_t count, Reduction reduction) {
  reduce_everywhere(data, count, reduction, ncclFloat32);
}

void NcclCommunicator::all_reduce(double* data, std::size_t count, Reduction reduction) {
  reduce_everywhere(data, count, reduction, ncclFloat64);
}

template <typename T>
void NcclCommunicator::reduce_everywhere(T* data, std::size_t count, Reduction reduction, ncclDataType_t type) {
  if (count == 0 || !is_device_memory(data)) return host_->all_reduce(data, count, reduction);
  if (reduction != Reduction::sum) return reduce_on_host(data, count, reduction);
  enqueue_sum(data, count, type).wait();
}

template <typename T>
NcclCommunicator::Ticket NcclCommunicator::enqueue_sum(T* data, std::size_t count, ncclDataType_t type) {
  count_sent(2 * count * sizeof(T) / static_cast<std::size_t>(size()), size() - 1);
  return launch(collective("all_reduce"),
                [&] { return ncclAllReduce(data, data, count, type, ncclSum, comm_, stream_.get()); });
}

template <typename T>
void NcclCommunicator::reduce_on_host(T* data, std::size_t count, Reduction reduction) {
  std::vector<T> values(count);
  copy(values.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost);
  host_->all_reduce(values.data(), count, reduction);
  copy(data, values.data(), count * sizeof(T), cudaMemcpyHostToDevice);
}

void NcclCommunicator::copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  launch(with_some("copy", {}), [&] {
    check_cuda(cudaMemcpyAsync(to, from, bytes, kind, stream_.get()), "cudaMemcpyAsync");
    return ncclSuccess;
  }).wait();
}

NcclCommunicator::Ticket NcclCommunicator::enqueue_all_gather(const void* in, std::size_t bytes_per_rank, void* out) {
  count_sent(bytes_per_rank, size() - 1);
  return launch(collective("all_gather"),
                [&] { return ncclAllGather(in, out, bytes_per_rank, ncclInt8, comm_, stream_.get()); });
}

NcclCommunicator::Ticket NcclCommunicator::enqueue_reduce_scatter(const float* in, float* out,
                                                                  std::size_t count_per_rank) {
  count_sent(count_per_rank * sizeof(float), size() - 1);
  return launch(collective("reduce_scatter_sum"),
                [&] { return ncclReduceScatter(in, out, count_per_rank, ncclFloat32, ncclSum, comm_, stream_.get()); });
}

void NcclCommunicator::all_gather(const void* in, std::size_t bytes_per_rank, void* out) {
  if (bytes_per_rank == 0 || !is_device_memory(out)) return host_->all_gather(in, bytes_per_rank, out);
  enqueue_all_gather(in, bytes_per_rank, out).wait();
}

void NcclCommunicator::reduce_scatter_sum(const float* in, float* out, std::size_t count_per_rank) {
  if (count_per_rank == 0 || !is_device_memory(out)) return host_->reduce_scatter_sum(in, out, count_per_rank);
  enqueue_reduce_scatter(in, out, count_per_rank).wait();
}

class NcclCommunicator::TicketRequest : public Request {
 public:
  explicit TicketRequest(Ticket ticket) : ticket_(std::move(ticket)) {}
  ~TicketRequest() override {
    if (!ticket_.open()) return;
    try {
      ticket_.wait();
    } catch (const std::exception& failure) {
      log::warning("nobody waited for {}, which failed: {}", ticket_.text(), failure.what());
    }
  }
  void wait() override { ticket_.wait(); }
  void wait_on_device() override { ticket_.hold_callers_stream(); }

 private:
  Ticket ticket_;
};

std::unique_ptr<Request> NcclCommunicator::start_all_gather(const void* in, std::size_t bytes_per_rank, void* out) {
  if (bytes_per_rank == 0 || !is_device_memory(out)) return host_->start_all_gather(in, bytes_per_rank, out);
  return std::make_unique<TicketRequest>(enqueue_all_gather(in, bytes_per_rank, out));
}

std::unique_ptr<Request> NcclCommunicator::start_reduce_scatter_sum(const float* in, float* out,
                                                                    std::size_t count_per_rank) {
  if (count_per_rank == 0 || !is_device_memory(out)) return host_->start_reduce_scatter_sum(in, out, count_per_rank);
  return std::make_unique<TicketRequest>(enqueue_reduce_scatter(in, out, count_per_rank));
}

std::unique_ptr<Request> NcclCommunicator::start_all_reduce_sum(float* data, std::size_t count) {
  if (count == 0 || !is_device_memory(data)) return host_->start_all_reduce_sum(data, count);
  return std::make_unique<TicketRequest>(enqueue_sum(data, count, ncclFloat32));
}

void NcclCommunicator::exchange(const Parcels& sends, const Parcels& receives) {
  std::size_t on_device = 0, all = 0;
  std::set<int> partners;
  for (const Parcels* parcels : {&sends, &receives}) {
    for (const auto& parcel : *parcels) {
      SETRL_CHECK(parcel.rank >= 0 && parcel.rank < size(), "exchange with rank {} of '{}', which has {} ranks",
                  parcel.rank, name(), size());
      if (parcel.bytes == 0) continue;
      ++all;
      if (parcel.rank != rank()) partners.insert(parcel.rank);
      if (is_device_memory(parcel.data)) ++on_device;
    }
  }
  SETRL_CHECK(on_device == 0 || on_device == all, "{} of {} parcels of an exchange are device memory", on_device, all);
  if (on_device == 0) return host_->exchange(sends, receives);
  for (const auto& parcel : sends) count_sent(parcel.bytes, parcel.rank == rank() ? 0 : 1);
  launch(with_some("exchange", {partners.begin(), partners.end()}), [&] {
    // The group is closed whatever happens in it: an open one would swallow all later calls.
    check_nccl(ncclGroupStart(), "ncclGroupStart");
    ncclResult_t first = ncclSuccess;
    const auto note = [&](ncclResult_t result) {
      if (first == ncclSuccess && result != ncclInProgress) first = result;
    };
    for (const auto& parcel : sends) {
      if (parcel.bytes != 0) note(ncclSend(parcel.data, parcel.bytes, ncclInt8, parcel.rank, comm_, stream_.get()));
    }
    for (const auto& parcel : receives) {
      if (parcel.bytes != 0) note(ncclRecv(parcel.data, parcel.bytes, ncclInt8, parcel.rank, comm_, stream_.get()));
    }
    const ncclResult_t end = ncclGroupEnd();
    return first != ncclSuccess ? first : end;
  }).wait();
}

std::unique_ptr<Communicator> NcclCommunicator::split(int colour, const std::string& name) {
  auto part = host_->split(colour, name);
  if (!part) return nullptr;
  return std::make_unique<NcclCommunicator>(runtime_, std::move(part));
}

}  // namespace setrl::comm
