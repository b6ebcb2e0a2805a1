// Collectives as messages from everyone to everyone, over MPI_COMM_WORLD (which the program itself does not use for
// messages). MPI is called only while a caller polls, from cudaEventQuery and ncclCommGetAsyncError: comm/ does both
// under its lock. Every message of a collective carries which one it belongs to; a rank that meets another one than its
// own reports ncclInvalidUsage, where the real library would hang or mix data.
#include <mpi.h>
#include <nccl.h>

#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "comm/standin_nccl/standin.h"

using setrl::standin::control;
using setrl::standin::everything;
using setrl::standin::Guard;

struct StandinComm {
  int rank = 0, size = 0, tag = 0, creator = 0;  // creator: its world rank
  std::vector<int> world;                        // [size] world ranks; empty until they are known
  std::uint64_t number = 0;                      // of collectives
  ncclResult_t error = ncclSuccess;
  bool ended = false;
  std::function<bool()> start;  // until it returns true
};

namespace {

using Bytes = std::vector<std::uint8_t>;

struct Header {
  std::uint64_t kind = 0, number = 0, bytes = 0;
};

constexpr std::uint64_t kMessage = 1, kBroadcast = 2, kReduce = 3, kGather = 4, kScatter = 5;

struct Outgoing {
  Bytes bytes;
  MPI_Request request = MPI_REQUEST_NULL;
};

struct Incoming {
  int from = 0;
  Bytes bytes;
  MPI_Request request = MPI_REQUEST_NULL;
  bool found = false, done = false;
};

void post(std::deque<Outgoing>& sends, int world_rank, int tag, Bytes bytes) {
  sends.push_back({std::move(bytes), MPI_REQUEST_NULL});
  MPI_Isend(sends.back().bytes.data(), static_cast<int>(sends.back().bytes.size()), MPI_BYTE, world_rank, tag,
            MPI_COMM_WORLD, &sends.back().request);
}

bool all_sent(std::deque<Outgoing>& sends) {
  for (auto& send : sends) {
    int done = 0;
    MPI_Test(&send.request, &done, MPI_STATUS_IGNORE);
    if (done == 0) return false;
  }
  return true;
}

bool arrived(Incoming& in, int world_rank, int tag) {
  if (in.done) return true;
  if (!in.found) {
    int found = 0, count = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    MPI_Improbe(world_rank, tag, MPI_COMM_WORLD, &found, &message, &status);
    if (found == 0) return false;
    MPI_Get_count(&status, MPI_BYTE, &count);
    in.bytes.resize(static_cast<std::size_t>(count));
    MPI_Imrecv(in.bytes.data(), count, MPI_BYTE, &message, &in.request);
    in.found = true;
  }
  int done = 0;
  MPI_Test(&in.request, &done, MPI_STATUS_IGNORE);
  in.done = done != 0;
  return in.done;
}

// One collective, or one group of sends and receives, of one rank.
struct Work {
  ncclComm_t comm = nullptr;
  Header header;
  struct Part {
    int rank;
    const void* data;
    std::size_t bytes;
  };
  std::vector<Part> out;     // read when the work starts
  std::vector<Incoming> in;  // in the order of matching
  std::vector<std::size_t> expected;
  std::function<void(const std::vector<Incoming>&)> finish;  // payloads begin after the header
  std::deque<Outgoing> sends;
  bool started = false;

  bool poll() {
    if (comm->ended) return true;
    if (comm->error != ncclSuccess) return false;
    if (!started) {
      started = true;
      for (const auto& part : out) {
        header.bytes = part.bytes;
        Bytes bytes(sizeof header + part.bytes);
        std::memcpy(bytes.data(), &header, sizeof header);
        if (part.bytes != 0) std::memcpy(bytes.data() + sizeof header, part.data, part.bytes);
        post(sends, comm->world[static_cast<std::size_t>(part.rank)], comm->tag, std::move(bytes));
      }
    }
    // Of two messages from one rank the first is taken first.
    std::vector<bool> blocked(static_cast<std::size_t>(comm->size));
    bool all = true;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const auto from = static_cast<std::size_t>(in[i].from);
      if (blocked[from] || !arrived(in[i], comm->world[from], comm->tag)) {
        blocked[from] = true;
        all = false;
        continue;
      }
      Header theirs;
      std::memcpy(&theirs, in[i].bytes.data(), sizeof theirs);
      if (theirs.kind != header.kind || theirs.number != header.number || theirs.bytes != expected[i]) {
        comm->error = ncclInvalidUsage;
        return false;
      }
    }
    if (!all || !all_sent(sends)) return false;
    finish(in);
    in.clear();
    sends.clear();
    return true;
  }
};

// Work whose messages may still be on their way when its communicator ends stays here.
std::deque<std::shared_ptr<Work>>& all_work() {
  static std::deque<std::shared_ptr<Work>> list;
  return list;
}

struct Grouped {
  std::shared_ptr<Work> work;
  cudaStream_t stream = nullptr;
  std::vector<std::pair<void*, std::size_t>> targets;
};
thread_local int group_depth = 0;
thread_local Grouped grouped;

// Whether this call was told to fail; `result` then says with what.
bool told_to_fail(const char* call, ncclResult_t& result) {
  if (control().failing_call != call) return false;
  control().failing_call.clear();
  result = control().fails_with;
  return true;
}

ncclResult_t launch(const char* call, const std::shared_ptr<Work>& work, cudaStream_t stream) {
  ncclResult_t result = ncclSuccess;
  if (told_to_fail(call, result)) return result;
  if (work->comm->world.empty() || work->comm->ended) return ncclInvalidArgument;
  all_work().push_back(work);
  setrl::standin::enqueue(stream, [work] { return work->poll(); });
  return ncclSuccess;
}

std::shared_ptr<Work> collective(ncclComm_t comm, std::uint64_t kind) {
  auto work = std::make_shared<Work>();
  work->comm = comm;
  work->header = {kind, ++comm->number, 0};
  return work;
}

// `bytes` from every rank, this one included.
void expect_from_all(Work& work, std::size_t bytes) {
  for (int r = 0; r < work.comm->size; ++r) {
    work.in.push_back({r, {}, MPI_REQUEST_NULL, false, false});
    work.expected.push_back(bytes);
  }
}

std::size_t width_of(ncclDataType_t type) {
  return type == ncclInt8 ? 1 : type == ncclFloat32 ? 4 : 8;
}

template <typename T>
void sum_in_rank_order(const std::vector<Incoming>& rows, void* out, std::size_t count) {
  std::vector<T> sum(count), row(count);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::memcpy(row.data(), rows[r].bytes.data() + sizeof(Header), count * sizeof(T));
    for (std::size_t i = 0; i < count; ++i) sum[i] = r == 0 ? row[i] : sum[i] + row[i];
  }
  std::memcpy(out, sum.data(), count * sizeof(T));
}

auto sum_into(void* out, std::size_t count, ncclDataType_t type) {
  return [=](const std::vector<Incoming>& rows) {
    if (type == ncclFloat32) sum_in_rank_order<float>(rows, out, count);
    if (type == ncclFloat64) sum_in_rank_order<double>(rows, out, count);
  };
}

}  // namespace

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess: return "no error";
    case ncclUnhandledCudaError: return "unhandled cuda error";
    case ncclSystemError: return "unhandled system error";
    case ncclInternalError: return "internal error";
    case ncclInvalidArgument: return "invalid argument";
    case ncclInvalidUsage: return "invalid usage";
    case ncclRemoteError: return "remote process exited or there was a network error";
    case ncclInProgress: return "NCCL operation in progress";
  }
  return "unknown result code";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const Guard guard(everything());
  static int serial = 0;
  int world_rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
  const int parts[2] = {world_rank, ++serial};
  std::memset(id, 0, sizeof *id);
  std::memcpy(id->internal, parts, sizeof parts);
  return ncclSuccess;
}

// Everyone tells the maker of the id its world rank; it answers with everyone's.
ncclResult_t ncclCommInitRankConfig(ncclComm_t* made, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  const Guard guard(everything());
  ncclResult_t result = ncclSuccess;
  if (told_to_fail("ncclCommInitRankConfig", result)) return result;
  if (config->blocking != 0) return ncclInvalidArgument;
  auto* const comm = new StandinComm;
  ++control().live_comms;
  int parts[2] = {};
  std::memcpy(parts, id.internal, sizeof parts);
  comm->rank = rank;
  comm->size = ranks;
  comm->creator = parts[0];
  comm->tag = 100 + (parts[0] * 1000 + parts[1]) % 30000;
  struct Start {
    std::deque<Outgoing> sends;
    std::vector<Incoming> in;
    bool told = false;
  };
  const auto start = std::make_shared<Start>();
  comm->start = [comm, start] {
    const auto encode = [](const std::vector<int>& numbers) {
      Bytes bytes(numbers.size() * sizeof(int));
      std::memcpy(bytes.data(), numbers.data(), bytes.size());
      return bytes;
    };
    int me = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &me);
    const auto all = static_cast<std::size_t>(comm->size);
    if (comm->rank == 0) {
      if (start->in.empty()) start->in.resize(all - 1);
      for (auto& in : start->in) {
        if (!arrived(in, MPI_ANY_SOURCE, comm->tag)) return false;
      }
      if (!start->told) {
        comm->world.assign(all, me);
        for (const auto& in : start->in) {
          int numbers[2] = {};
          std::memcpy(numbers, in.bytes.data(), sizeof numbers);
          comm->world[static_cast<std::size_t>(numbers[0])] = numbers[1];
        }
        for (std::size_t r = 1; r < all; ++r) post(start->sends, comm->world[r], comm->tag, encode(comm->world));
        start->told = true;
      }
      return all_sent(start->sends);
    }
    if (start->in.empty()) start->in.resize(1);
    if (!start->told) {
      post(start->sends, comm->creator, comm->tag, encode({comm->rank, me}));
      start->told = true;
    }
    if (!arrived(start->in.front(), comm->creator, comm->tag) || !all_sent(start->sends)) return false;
    comm->world.resize(all);
    std::memcpy(comm->world.data(), start->in.front().bytes.data(), all * sizeof(int));
    return true;
  };
  *made = comm;
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  const Guard guard(everything());
  if (control().async_error != ncclSuccess) {
    *state = control().async_error;
    return ncclSuccess;
  }
  if (comm->start && comm->start()) comm->start = nullptr;
  *state = comm->start ? ncclInProgress : comm->error;
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  const Guard guard(everything());
  ncclResult_t result = ncclSuccess;
  if (told_to_fail("ncclCommFinalize", result)) return result;
  ++control().finalized;
  comm->ended = true;
  return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  const Guard guard(everything());
  if (!comm->ended) return ncclInvalidUsage;
  ++control().destroyed;
  --control().live_comms;
  return ncclSuccess;  // the object stays: its work may still be looked at
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  const Guard guard(everything());
  ++control().aborted;
  --control().live_comms;
  comm->ended = true;
  return ncclSuccess;
}

ncclResult_t ncclBroadcast(const void* in, void* out, std::size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
  const Guard guard(everything());
  const auto work = collective(comm, kBroadcast * 100 + static_cast<std::uint64_t>(root));
  const std::size_t bytes = count * width_of(type);
  if (comm->rank == root) {
    for (int r = 0; r < comm->size; ++r) {
      if (r != root) work->out.push_back({r, in, bytes});
    }
    work->finish = [=](const auto&) {
      if (in != out) std::memcpy(out, in, bytes);
    };
  } else {
    work->in.push_back({root, {}, MPI_REQUEST_NULL, false, false});
    work->expected.push_back(bytes);
    work->finish = [=](const std::vector<Incoming>& rows) {
      std::memcpy(out, rows.front().bytes.data() + sizeof(Header), bytes);
    };
  }
  return launch("ncclBroadcast", work, stream);
}

ncclResult_t ncclAllReduce(const void* in, void* out, std::size_t count, ncclDataType_t type, ncclRedOp_t /*op*/,
                           ncclComm_t comm, cudaStream_t stream) {
  const Guard guard(everything());
  const auto work = collective(comm, kReduce * 100 + static_cast<std::uint64_t>(type));
  for (int r = 0; r < comm->size; ++r) work->out.push_back({r, in, count * width_of(type)});
  expect_from_all(*work, count * width_of(type));
  work->finish = sum_into(out, count, type);
  return launch("ncclAllReduce", work, stream);
}

ncclResult_t ncclAllGather(const void* in, void* out, std::size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  const Guard guard(everything());
  const auto work = collective(comm, kGather * 100);
  const std::size_t bytes = count * width_of(type);
  for (int r = 0; r < comm->size; ++r) work->out.push_back({r, in, bytes});
  expect_from_all(*work, bytes);
  work->finish = [=](const std::vector<Incoming>& rows) {
    for (std::size_t r = 0; r < rows.size(); ++r) {
      std::memcpy(static_cast<std::uint8_t*>(out) + r * bytes, rows[r].bytes.data() + sizeof(Header), bytes);
    }
  };
  return launch("ncclAllGather", work, stream);
}

ncclResult_t ncclReduceScatter(const void* in, void* out, std::size_t count, ncclDataType_t type, ncclRedOp_t /*op*/,
                               ncclComm_t comm, cudaStream_t stream) {
  const Guard guard(everything());
  const auto work = collective(comm, kScatter * 100 + static_cast<std::uint64_t>(type));
  const std::size_t bytes = count * width_of(type);
  for (int r = 0; r < comm->size; ++r) {
    work->out.push_back({r, static_cast<const std::uint8_t*>(in) + static_cast<std::size_t>(r) * bytes, bytes});
  }
  expect_from_all(*work, bytes);
  work->finish = sum_into(out, count, type);
  return launch("ncclReduceScatter", work, stream);
}

ncclResult_t ncclGroupStart() {
  if (group_depth++ == 0) grouped = {};
  return ncclSuccess;
}

namespace {

Work* in_group(ncclComm_t comm, cudaStream_t stream) {
  if (group_depth == 0) return nullptr;
  if (!grouped.work) {
    grouped.work = std::make_shared<Work>();
    grouped.work->comm = comm;
    grouped.work->header = {kMessage, 0, 0};
    grouped.stream = stream;
  }
  return grouped.work.get();
}

}  // namespace

// Alone, without a group, a pair of these might wait for each other: comm/ never does that.
ncclResult_t ncclSend(const void* data, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  const Guard guard(everything());
  ncclResult_t result = ncclSuccess;
  if (told_to_fail("ncclSend", result)) return result;
  Work* const work = in_group(comm, stream);
  if (work == nullptr || peer < 0 || peer >= comm->size) return ncclInvalidArgument;
  work->out.push_back({peer, data, count * width_of(type)});
  return ncclSuccess;
}

ncclResult_t ncclRecv(void* data, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  const Guard guard(everything());
  Work* const work = in_group(comm, stream);
  if (work == nullptr || peer < 0 || peer >= comm->size) return ncclInvalidArgument;
  work->in.push_back({peer, {}, MPI_REQUEST_NULL, false, false});
  work->expected.push_back(count * width_of(type));
  grouped.targets.emplace_back(data, count * width_of(type));
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  const Guard guard(everything());
  if (--group_depth > 0 || !grouped.work) return ncclSuccess;
  const auto targets = grouped.targets;
  grouped.work->finish = [targets](const std::vector<Incoming>& rows) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      std::memcpy(targets[i].first, rows[i].bytes.data() + sizeof(Header), targets[i].second);
    }
  };
  const auto work = std::move(grouped.work);
  grouped.work = nullptr;
  return launch("ncclGroupEnd", work, grouped.stream);
}
