// The communicator of a single rank.
#include <algorithm>
#include <cstring>
#include <deque>

#include "base/error.h"
#include "comm/communicator.h"

namespace setrl::comm {

namespace {

class LocalCommunicator : public Communicator {
 public:
  explicit LocalCommunicator(std::string name) : name_(std::move(name)) {}

  int rank() const override { return 0; }
  int size() const override { return 1; }
  const std::string& name() const override { return name_; }

  void barrier() override {}
  void broadcast(void* /*data*/, std::size_t /*bytes*/, int root) override {
    SETRL_CHECK(root == 0, "broadcast from rank {} of '{}', which has one rank", root, name_);
  }
  void all_reduce(float* /*data*/, std::size_t /*count*/, Reduction /*reduction*/) override {}
  void all_reduce(double* /*data*/, std::size_t /*count*/, Reduction /*reduction*/) override {}
  void all_gather(const void* in, std::size_t bytes_per_rank, void* out) override {
    if (bytes_per_rank != 0) std::memmove(out, in, bytes_per_rank);
  }
  void reduce_scatter_sum(const float* in, float* out, std::size_t count_per_rank) override {
    if (count_per_rank != 0) std::memmove(out, in, count_per_rank * sizeof(float));
  }

  void send(int destination, int tag, std::vector<std::uint8_t> bytes) override {
    SETRL_CHECK(destination == 0, "send to rank {} of '{}', which has one rank", destination, name_);
    SETRL_CHECK(tag >= 0, "tag {} is negative", tag);
    queue_.push_back({0, tag, std::move(bytes)});
  }
  Envelope receive(int source, int tag) override {
    auto envelope = try_receive(source, tag);
    SETRL_CHECK(envelope.has_value(),
                "receive(source {}, tag {}) of '{}' would wait for ever: rank 0 is alone and sent nothing", source, tag,
                name_);
    return std::move(*envelope);
  }
  std::optional<Envelope> try_receive(int source, int tag) override {
    SETRL_CHECK(source == 0 || source == kAnySource, "receive from rank {} of '{}', which has one rank", source, name_);
    const auto found =
        std::find_if(queue_.begin(), queue_.end(), [tag](const Envelope& envelope) { return envelope.tag == tag; });
    if (found == queue_.end()) return std::nullopt;
    Envelope envelope = std::move(*found);
    queue_.erase(found);
    return envelope;
  }

  void exchange(const Parcels& sends, const Parcels& receives) override {
    for (const Parcels* parcels : {&sends, &receives}) {
      for (const auto& parcel : *parcels) {
        SETRL_CHECK(parcel.rank == 0, "exchange with rank {} of '{}', which has one rank", parcel.rank, name_);
      }
    }
    copy_own_parcels(0, sends, receives);
  }

  std::unique_ptr<Communicator> split(int colour, const std::string& name) override {
    return colour < 0 ? nullptr : make_local_communicator(name);
  }

 private:
  std::string name_;
  std::deque<Envelope> queue_;
};

}  // namespace

std::unique_ptr<Communicator> make_local_communicator(const std::string& name) {
  return std::make_unique<LocalCommunicator>(name);
}

}  // namespace setrl::comm
