#include "comm/communicator.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace setrl::comm {

namespace {

class DoneRequest : public Request {
 public:
  void wait() override {}
};

}  // namespace

std::unique_ptr<Request> Communicator::start_all_gather(const void* in, std::size_t bytes_per_rank, void* out) {
  all_gather(in, bytes_per_rank, out);
  return std::make_unique<DoneRequest>();
}

std::unique_ptr<Request> Communicator::start_reduce_scatter_sum(const float* in, float* out,
                                                                std::size_t count_per_rank) {
  reduce_scatter_sum(in, out, count_per_rank);
  return std::make_unique<DoneRequest>();
}

std::unique_ptr<Request> Communicator::start_all_reduce_sum(float* data, std::size_t count) {
  all_reduce(data, count, Reduction::sum);
  return std::make_unique<DoneRequest>();
}

std::vector<std::vector<std::uint8_t>> all_gather_bytes(Communicator& communicator,
                                                        const std::vector<std::uint8_t>& mine) {
  const auto ranks = static_cast<std::size_t>(communicator.size());
  std::vector<std::uint64_t> sizes(ranks);
  const std::uint64_t my_size = mine.size();
  communicator.all_gather(&my_size, sizeof my_size, sizes.data());

  std::vector<std::vector<std::uint8_t>> all(ranks);
  for (std::size_t r = 0; r < ranks; ++r) all[r].resize(sizes[r]);
  // Equal pieces, so that one long text among short ones costs one piece a rank and not its whole length a rank.
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  const std::size_t longest = *std::max_element(sizes.begin(), sizes.end());
  std::vector<std::uint8_t> piece, pieces;
  for (std::size_t begin = 0; begin < longest; begin += kPiece) {
    const std::size_t width = std::min(kPiece, longest - begin);
    piece.assign(width, 0);
    pieces.resize(width * ranks);
    if (begin < mine.size()) {
      std::copy_n(mine.data() + begin, std::min(width, mine.size() - begin), piece.data());
    }
    communicator.all_gather(piece.data(), width, pieces.data());
    for (std::size_t r = 0; r < ranks; ++r) {
      if (begin >= all[r].size()) continue;
      std::copy_n(pieces.data() + r * width, std::min(width, all[r].size() - begin), all[r].data() + begin);
    }
  }
  return all;
}

std::size_t copy_own_parcels(int me, const Parcels& sends, const Parcels& receives) {
  const auto is_mine = [me](const Parcel& parcel) { return parcel.rank == me; };
  std::size_t copied = 0;
  auto in = std::find_if(receives.begin(), receives.end(), is_mine);
  for (const auto& out : sends) {
    if (!is_mine(out)) continue;
    SETRL_CHECK(in != receives.end() && in->bytes == out.bytes,
                "a parcel of {} bytes to rank {} itself is received as {}", out.bytes, me,
                in == receives.end() ? "nothing" : std::to_string(in->bytes));
    if (out.bytes != 0) std::memmove(in->data, out.data, out.bytes);
    copied += out.bytes;
    in = std::find_if(in + 1, receives.end(), is_mine);
  }
  SETRL_CHECK(in == receives.end(), "rank {} waits for a parcel from itself that it does not send", me);
  return copied;
}

}  // namespace setrl::comm
