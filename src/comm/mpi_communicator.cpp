#include "comm/mpi_communicator.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "comm/mpi_datatype.h"

namespace setrl::comm {

namespace {

// target[i] = reduce(target[i], value[i]); a NaN stays.
template <typename T>
void fold(T* target, const T* value, std::size_t count, Reduction reduction) {
  switch (reduction) {
    case Reduction::sum:
      for (std::size_t i = 0; i < count; ++i) target[i] += value[i];
      return;
    case Reduction::max:
      for (std::size_t i = 0; i < count; ++i) {
        if (value[i] > target[i] || std::isnan(value[i])) target[i] = value[i];
      }
      return;
    case Reduction::min:
      for (std::size_t i = 0; i < count; ++i) {
        if (value[i] < target[i] || std::isnan(value[i])) target[i] = value[i];
      }
      return;
  }
}

// Folds [ranks][count] values in the order of the ranks into target.
template <typename T>
void fold_in_rank_order(T* target, const void* values, std::size_t ranks, std::size_t count, Reduction reduction) {
  const T* rows = static_cast<const T*>(values);
  std::copy_n(rows, count, target);
  for (std::size_t r = 1; r < ranks; ++r) fold(target, rows + r * count, count, reduction);
}

// Of messages of an exchange; 32767 is the largest tag that every MPI library has.
constexpr int kExchangeTag = 32767;

// An exchange on its way.
struct Flight {
  std::vector<MPI_Request> requests;
  std::vector<MPI_Status> statuses;
  std::vector<std::size_t> expected;  // bytes of each receive; those requests come first
};

void append(std::vector<std::uint8_t>& bytes, const void* data, std::size_t size) {
  const auto* from = static_cast<const std::uint8_t*>(data);
  if (size != 0) bytes.insert(bytes.end(), from, from + size);
}

}  // namespace

MpiCommunicator::MpiCommunicator(std::shared_ptr<Session> session, OwnedComm comm, std::string name, std::string path)
    : session_(std::move(session)), comm_(std::move(comm)), name_(std::move(name)), path_(std::move(path)) {
  check_mpi(MPI_Comm_rank(comm_.get(), &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(comm_.get(), &size_), "MPI_Comm_size");
  std::vector<int> here(static_cast<std::size_t>(size_));
  std::iota(here.begin(), here.end(), 0);
  world_ranks_.resize(here.size());
  MPI_Group mine = MPI_GROUP_NULL, world = MPI_GROUP_NULL;
  check_mpi(MPI_Comm_group(comm_.get(), &mine), "MPI_Comm_group");
  check_mpi(MPI_Comm_group(MPI_COMM_WORLD, &world), "MPI_Comm_group");
  check_mpi(MPI_Group_translate_ranks(mine, size_, here.data(), world, world_ranks_.data()),
            "MPI_Group_translate_ranks");
  MPI_Group_free(&mine);
  MPI_Group_free(&world);
}

MpiCommunicator::~MpiCommunicator() {
  background_.reset();
  // MPI gives the number of a freed communicator to the next one, which then takes messages that nobody received on the
  // old one for its own. A program makes a handful of communicators: MPI_Finalize frees them.
  comm_.release();
}

Operation MpiCommunicator::describe_collective() const {
  Operation operation{path_, fmt::format("{} #{} of '{}'", verb_, number_, name_), number_, {}, world_ranks_};
  operation.partners.resize(world_ranks_.size());
  std::iota(operation.partners.begin(), operation.partners.end(), 0);
  return operation;
}

Operation MpiCommunicator::describe_receive(int source, int tag, const char* verb) const {
  Operation operation = describe_collective();
  operation.number = 0;
  operation.text = fmt::format("{}({}, tag {}) of '{}'", verb,
                               source == kAnySource ? "any source" : fmt::format("source {}", source), tag, name_);
  if (source != kAnySource) {
    operation.partners = {source};
    operation.world_ranks = {world_ranks_[static_cast<std::size_t>(source)]};
  }
  return operation;
}

void MpiCommunicator::begin(const char* verb) {
  SETRL_CHECK(broken_.empty(), "{} of '{}' after a collective that never ended: {}", verb, name_, broken_);
  verb_ = verb;
  ++number_;
}

MpiCommunicator& MpiCommunicator::in_background() {
  if (!requests_) {
    requests_ = split(0, name_ + " in the background");
    background_ = std::make_unique<Background>();
    static_cast<MpiCommunicator&>(*requests_).pace_ = Backoff::Pace::background;
  }
  return static_cast<MpiCommunicator&>(*requests_);
}

std::unique_ptr<Request> MpiCommunicator::start_all_gather(const void* in, std::size_t bytes_per_rank, void* out) {
  MpiCommunicator& other = in_background();
  return background_->start([&other, in, bytes_per_rank, out] { other.all_gather(in, bytes_per_rank, out); });
}

std::unique_ptr<Request> MpiCommunicator::start_reduce_scatter_sum(const float* in, float* out,
                                                                   std::size_t count_per_rank) {
  MpiCommunicator& other = in_background();
  return background_->start([&other, in, out, count_per_rank] { other.reduce_scatter_sum(in, out, count_per_rank); });
}

std::unique_ptr<Request> MpiCommunicator::start_all_reduce_sum(float* data, std::size_t count) {
  MpiCommunicator& other = in_background();
  return background_->start([&other, data, count] { other.all_reduce(data, count, Reduction::sum); });
}

std::uint64_t MpiCommunicator::bytes_sent() const {
  return sent_ + (requests_ ? requests_->bytes_sent() : 0);
}

template <typename Start>
void MpiCommunicator::run(const char* call, Backoff::Pace pace, const std::shared_ptr<Exchange>& exchange,
                          const Start& start) {
  {
    const std::lock_guard lock(session_->mutex);
    SETRL_CHECK(session_->alive, "{} of '{}' after MPI was finalised", verb_, name_);
    check_mpi(start(&exchange->request), call);
  }
  try {
    session_->wait([this] { return describe_collective(); }, pace,
                   [&] {
                     int done = 0;
                     check_mpi(MPI_Test(&exchange->request, &done, MPI_STATUS_IGNORE), call);
                     return done != 0;
                   });
  } catch (const std::exception& failure) {
    const std::lock_guard lock(session_->mutex);
    session_->park(exchange);
    broken_ = failure.what();
    throw;
  }
}

void MpiCommunicator::arrive() {
  run("MPI_Ibarrier", Backoff::Pace::idle, std::make_shared<Exchange>(),
      [&](MPI_Request* request) { return MPI_Ibarrier(comm_.get(), request); });
}

void MpiCommunicator::barrier() {
  begin("barrier");
  arrive();
}

void MpiCommunicator::broadcast(void* data, std::size_t bytes, int root) {
  begin("broadcast");
  if (rank_ == root) count_sent(bytes, size_ - 1);
  auto exchange = std::make_shared<Exchange>();
  if (small(bytes)) {
    exchange->out.resize(bytes);
    if (rank_ == root && bytes != 0) std::memcpy(exchange->out.data(), data, bytes);
    run("MPI_Ibcast", Backoff::Pace::idle, exchange, [&](MPI_Request* request) {
      return MPI_Ibcast(exchange->out.data(), static_cast<int>(bytes), MPI_BYTE, root, comm_.get(), request);
    });
    if (rank_ != root && bytes != 0) std::memcpy(data, exchange->out.data(), bytes);
    return;
  }
  arrive();
  const std::size_t piece = session_->limits.piece_bytes;
  for (std::size_t at = 0; at < bytes; at += piece) {
    run("MPI_Ibcast", pace_, exchange, [&](MPI_Request* request) {
      return MPI_Ibcast(static_cast<std::uint8_t*>(data) + at, static_cast<int>(std::min(piece, bytes - at)), MPI_BYTE,
                        root, comm_.get(), request);
    });
  }
}

// Leaves the rows of all ranks in exchange->out.
void MpiCommunicator::gather_small(const void* in, std::size_t bytes_per_rank,
                                   const std::shared_ptr<Exchange>& exchange) {
  append(exchange->in, in, bytes_per_rank);
  exchange->out.resize(bytes_per_rank * static_cast<std::size_t>(size_));
  const int bytes = static_cast<int>(bytes_per_rank);
  run("MPI_Iallgather", Backoff::Pace::idle, exchange, [&](MPI_Request* request) {
    return MPI_Iallgather(exchange->in.data(), bytes, MPI_BYTE, exchange->out.data(), bytes, MPI_BYTE, comm_.get(),
                          request);
  });
}

void MpiCommunicator::all_gather(const void* in, std::size_t bytes_per_rank, void* out) {
  begin("all_gather");
  count_sent(bytes_per_rank, size_ - 1);
  const auto ranks = static_cast<std::size_t>(size_);
  auto exchange = std::make_shared<Exchange>();
  if (small(bytes_per_rank * ranks)) {
    gather_small(in, bytes_per_rank, exchange);
    if (bytes_per_rank != 0) std::memcpy(out, exchange->out.data(), exchange->out.size());
    return;
  }
  arrive();
  auto* const rows = static_cast<std::uint8_t*>(out);
  const auto* const mine = static_cast<const std::uint8_t*>(in);
  const bool in_place = mine == rows + static_cast<std::size_t>(rank_) * bytes_per_rank;
  const std::size_t piece = session_->limits.piece_bytes;
  for (std::size_t at = 0; at < bytes_per_rank; at += piece) {
    const std::size_t width = std::min(piece, bytes_per_rank - at);
    const OwnedType row = strided_piece(width, bytes_per_rank);
    run("MPI_Iallgather", pace_, exchange, [&](MPI_Request* request) {
      return MPI_Iallgather(in_place ? MPI_IN_PLACE : mine + at, static_cast<int>(width), MPI_BYTE, rows + at, 1,
                            row.get(), comm_.get(), request);
    });
  }
}

void MpiCommunicator::all_reduce(float* data, std::size_t count, Reduction reduction) {
  reduce_everywhere(data, count, reduction, MPI_FLOAT);
}

void MpiCommunicator::all_reduce(double* data, std::size_t count, Reduction reduction) {
  reduce_everywhere(data, count, reduction, MPI_DOUBLE);
}

template <typename T>
void MpiCommunicator::reduce_everywhere(T* data, std::size_t count, Reduction reduction, MPI_Datatype type) {
  begin("all_reduce");
  // Everyone's segments to this rank, and its folded segment to everyone: the same volume both times.
  count_sent(2 * count * sizeof(T) / static_cast<std::size_t>(size_), size_ - 1);
  const auto ranks = static_cast<std::size_t>(size_);
  if (small(count * sizeof(T) * ranks)) {
    auto exchange = std::make_shared<Exchange>();
    gather_small(data, count * sizeof(T), exchange);
    fold_in_rank_order(data, exchange->out.data(), ranks, count, reduction);
    return;
  }
  arrive();
  const std::size_t piece = std::max<std::size_t>(session_->limits.reduce_bytes / sizeof(T), 1);
  for (std::size_t at = 0; at < count; at += piece) {
    reduce_segments(data + at, std::min(piece, count - at), reduction, type);
  }
}

// Rank r folds segment r of everyone, then the segments are gathered.
template <typename T>
void MpiCommunicator::reduce_segments(T* data, std::size_t count, Reduction reduction, MPI_Datatype type) {
  const auto ranks = static_cast<std::size_t>(size_);
  const std::size_t width = (count + ranks - 1) / ranks;
  std::vector<int> counts(ranks), places(ranks);
  for (std::size_t r = 0; r < ranks; ++r) {
    places[r] = static_cast<int>(std::min(r * width, count));
    counts[r] = static_cast<int>(std::min((r + 1) * width, count)) - places[r];
  }
  const int mine = counts[static_cast<std::size_t>(rank_)];
  const std::vector<int> my_counts(ranks, mine);
  std::vector<int> my_places(ranks);
  for (std::size_t r = 0; r < ranks; ++r) my_places[r] = static_cast<int>(r) * mine;

  auto exchange = std::make_shared<Exchange>();
  exchange->out.resize(ranks * static_cast<std::size_t>(mine) * sizeof(T));
  run("MPI_Ialltoallv", pace_, exchange, [&](MPI_Request* request) {
    return MPI_Ialltoallv(data, counts.data(), places.data(), type, exchange->out.data(), my_counts.data(),
                          my_places.data(), type, comm_.get(), request);
  });
  fold_in_rank_order(data + places[static_cast<std::size_t>(rank_)], exchange->out.data(), ranks,
                     static_cast<std::size_t>(mine), reduction);
  run("MPI_Iallgatherv", pace_, exchange, [&](MPI_Request* request) {
    return MPI_Iallgatherv(MPI_IN_PLACE, 0, type, data, counts.data(), places.data(), type, comm_.get(), request);
  });
}

void MpiCommunicator::reduce_scatter_sum(const float* in, float* out, std::size_t count_per_rank) {
  begin("reduce_scatter_sum");
  count_sent(count_per_rank * sizeof(float), size_ - 1);
  const auto ranks = static_cast<std::size_t>(size_);
  auto exchange = std::make_shared<Exchange>();
  if (small(count_per_rank * sizeof(float) * ranks)) {
    append(exchange->in, in, count_per_rank * sizeof(float) * ranks);
    exchange->out.resize(exchange->in.size());
    const int count = static_cast<int>(count_per_rank);
    run("MPI_Ialltoall", Backoff::Pace::idle, exchange, [&](MPI_Request* request) {
      return MPI_Ialltoall(exchange->in.data(), count, MPI_FLOAT, exchange->out.data(), count, MPI_FLOAT, comm_.get(),
                           request);
    });
    fold_in_rank_order(out, exchange->out.data(), ranks, count_per_rank, Reduction::sum);
    return;
  }
  arrive();
  const std::size_t piece = std::max<std::size_t>(session_->limits.reduce_bytes / sizeof(float) / ranks, 1);
  for (std::size_t at = 0; at < count_per_rank; at += piece) {
    const std::size_t width = std::min(piece, count_per_rank - at);
    const OwnedType row = strided_piece(width * sizeof(float), count_per_rank * sizeof(float));
    exchange->out.resize(ranks * width * sizeof(float));
    run("MPI_Ialltoall", pace_, exchange, [&](MPI_Request* request) {
      return MPI_Ialltoall(in + at, 1, row.get(), exchange->out.data(), static_cast<int>(width * sizeof(float)),
                           MPI_BYTE, comm_.get(), request);
    });
    fold_in_rank_order(out + at, exchange->out.data(), ranks, width, Reduction::sum);
  }
}

void MpiCommunicator::send(int destination, int tag, std::vector<std::uint8_t> bytes) {
  if (destination == rank_) {
    SETRL_CHECK(tag >= 0, "tag {} is negative", tag);
    to_self_.push_back({rank_, tag, std::move(bytes)});
    return;
  }
  SETRL_CHECK(tag != kExchangeTag, "tag {} is not for messages", tag);
  const std::lock_guard lock(session_->mutex);
  SETRL_CHECK(session_->alive, "send to rank {} of '{}' after MPI was finalised", destination, name_);
  count_sent(bytes.size(), 1);
  // MPI itself checks destination and tag; its error comes back as BugError.
  session_->post(std::move(bytes), destination, tag, comm_.get());
}

std::optional<Envelope> MpiCommunicator::take_from_self(int source, int tag) {
  if (source != kAnySource && source != rank_) return std::nullopt;
  const auto found =
      std::find_if(to_self_.begin(), to_self_.end(), [tag](const Envelope& envelope) { return envelope.tag == tag; });
  if (found == to_self_.end()) return std::nullopt;
  Envelope envelope = std::move(*found);
  to_self_.erase(found);
  return envelope;
}

std::optional<Envelope> MpiCommunicator::try_receive(int source, int tag) {
  if (auto envelope = take_from_self(source, tag)) return envelope;
  SETRL_CHECK(source >= kAnySource && source < size_, "receive from rank {} of '{}', which has {} ranks", source, name_,
              size_);
  MPI_Message message = MPI_MESSAGE_NULL;
  MPI_Status status;
  // Owned by the wait below even where it is given up, as the data may still arrive.
  auto exchange = std::make_shared<Exchange>();
  {
    const std::lock_guard lock(session_->mutex);
    SETRL_CHECK(session_->alive, "receive of '{}' after MPI was finalised", name_);
    session_->reap();
    int found = 0;
    check_mpi(MPI_Improbe(source == kAnySource ? MPI_ANY_SOURCE : source, tag, comm_.get(), &found, &message, &status),
              "MPI_Improbe");
    if (found == 0) return std::nullopt;
    MPI_Count bytes = 0;
    check_mpi(MPI_Get_elements_x(&status, MPI_BYTE, &bytes), "MPI_Get_elements_x");
    exchange->out.resize(static_cast<std::size_t>(bytes));
    const WideBytes wide(exchange->out.size(), session_->limits.piece_bytes);
    check_mpi(MPI_Imrecv(exchange->out.data(), wide.count(), wide.type(), &message, &exchange->request), "MPI_Imrecv");
  }
  try {
    session_->wait([&] { return describe_receive(status.MPI_SOURCE, tag, "transfer"); }, Backoff::Pace::busy,
                   [&] {
                     int done = 0;
                     check_mpi(MPI_Test(&exchange->request, &done, MPI_STATUS_IGNORE), "MPI_Test");
                     return done != 0;
                   });
  } catch (...) {
    const std::lock_guard lock(session_->mutex);
    session_->park(exchange);
    throw;
  }
  return Envelope{status.MPI_SOURCE, tag, std::move(exchange->out)};
}

Envelope MpiCommunicator::receive(int source, int tag) {
  if (auto envelope = try_receive(source, tag)) return std::move(*envelope);
  // Waits until a message is there without taking it; nobody else receives on this communicator meanwhile.
  session_->wait([&] { return describe_receive(source, tag, "receive"); }, Backoff::Pace::idle,
                 [&] {
                   int found = 0;
                   check_mpi(MPI_Iprobe(source == kAnySource ? MPI_ANY_SOURCE : source, tag, comm_.get(), &found,
                                        MPI_STATUS_IGNORE),
                             "MPI_Iprobe");
                   return found != 0;
                 });
  auto envelope = try_receive(source, tag);
  SETRL_CHECK(envelope.has_value(), "a message of '{}' was taken by another thread", name_);
  return std::move(*envelope);
}

Operation MpiCommunicator::describe_exchange(const Parcels& sends, const Parcels& receives) const {
  Operation operation{path_, fmt::format("exchange of '{}'", name_), 0, {}, {}};
  for (const Parcels* parcels : {&receives, &sends}) {
    for (const auto& parcel : *parcels) {
      if (parcel.rank != rank_) operation.partners.push_back(parcel.rank);
    }
  }
  std::sort(operation.partners.begin(), operation.partners.end());
  operation.partners.erase(std::unique(operation.partners.begin(), operation.partners.end()), operation.partners.end());
  for (const int partner : operation.partners) {
    operation.world_ranks.push_back(world_ranks_.at(static_cast<std::size_t>(partner)));
  }
  return operation;
}

void MpiCommunicator::exchange(const Parcels& sends, const Parcels& receives) {
  SETRL_CHECK(broken_.empty(), "exchange of '{}' after a collective that never ended: {}", name_, broken_);
  copy_own_parcels(rank_, sends, receives);
  const auto flight = std::make_shared<Flight>();
  {
    const std::lock_guard lock(session_->mutex);
    SETRL_CHECK(session_->alive, "exchange of '{}' after MPI was finalised", name_);
    const auto post = [&](const Parcels& parcels, const char* call, const auto& start) {
      for (const auto& parcel : parcels) {
        if (parcel.rank == rank_ || parcel.bytes == 0) continue;
        const WideBytes wide(parcel.bytes, session_->limits.piece_bytes);
        flight->requests.push_back(MPI_REQUEST_NULL);
        check_mpi(start(parcel, wide, &flight->requests.back()), call);
      }
    };
    post(receives, "MPI_Irecv", [&](const Parcel& parcel, const WideBytes& wide, MPI_Request* request) {
      flight->expected.push_back(parcel.bytes);
      return MPI_Irecv(parcel.data, wide.count(), wide.type(), parcel.rank, kExchangeTag, comm_.get(), request);
    });
    post(sends, "MPI_Isend", [&](const Parcel& parcel, const WideBytes& wide, MPI_Request* request) {
      count_sent(parcel.bytes, 1);
      return MPI_Isend(parcel.data, wide.count(), wide.type(), parcel.rank, kExchangeTag, comm_.get(), request);
    });
  }
  flight->statuses.resize(flight->requests.size());
  try {
    session_->wait([&] { return describe_exchange(sends, receives); }, Backoff::Pace::busy,
                   [&] {
                     int done = 0;
                     check_mpi(MPI_Testall(static_cast<int>(flight->requests.size()), flight->requests.data(), &done,
                                           flight->statuses.data()),
                               "MPI_Testall");
                     return done != 0;
                   });
  } catch (const std::exception& failure) {
    const std::lock_guard lock(session_->mutex);
    session_->park(flight);
    broken_ = failure.what();
    throw;
  }
  for (std::size_t i = 0; i < flight->expected.size(); ++i) {
    MPI_Count bytes = 0;
    check_mpi(MPI_Get_elements_x(&flight->statuses[i], MPI_BYTE, &bytes), "MPI_Get_elements_x");
    SETRL_CHECK(static_cast<std::size_t>(bytes) == flight->expected[i],
                "rank {} of '{}' sent a parcel of {} bytes where {} were expected", flight->statuses[i].MPI_SOURCE,
                name_, bytes, flight->expected[i]);
  }
}

void MpiCommunicator::progress() {
  const std::lock_guard lock(session_->mutex);
  SETRL_CHECK(session_->alive, "progress of '{}' after MPI was finalised", name_);
  session_->reap();
}

std::unique_ptr<Communicator> MpiCommunicator::split(int colour, const std::string& name) {
  begin("split");
  arrive();  // MPI_Comm_split spins; after this it takes microseconds
  const int nth = ++splits_;
  const std::lock_guard lock(session_->mutex);
  MPI_Comm part = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(comm_.get(), colour < 0 ? MPI_UNDEFINED : colour, rank_, &part), "MPI_Comm_split");
  if (part == MPI_COMM_NULL) return nullptr;
  OwnedComm owned(part);
  int ranks = 0;
  check_mpi(MPI_Comm_size(part, &ranks), "MPI_Comm_size");
  if (ranks == 1) return make_local_communicator(name);
  return std::make_unique<MpiCommunicator>(session_, std::move(owned), name,
                                           fmt::format("{}/{}:{}", path_, nth, colour));
}

}  // namespace setrl::comm
