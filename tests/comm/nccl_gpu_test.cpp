// NcclCommunicator with the real NCCL on real GPUs, one a rank. Skipped, loudly, where there are too few.
#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"
#include "comm/device.h"
#include "comm/nccl_communicator.h"
#include "support/mpi_world.h"

namespace setrl::comm {
namespace {

// Floats in the memory of the GPU.
class DeviceFloats {
 public:
  explicit DeviceFloats(const std::vector<float>& values) : count_(values.size()) {
    check_cuda(cudaMalloc(&data_, count_ * sizeof(float)), "cudaMalloc");
    check_cuda(cudaMemcpy(data_, values.data(), count_ * sizeof(float), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  ~DeviceFloats() { cudaFree(data_); }
  DeviceFloats(const DeviceFloats&) = delete;
  DeviceFloats& operator=(const DeviceFloats&) = delete;
  float* data() const { return static_cast<float*>(data_); }
  // On the default stream; the host goes on.
  void take(const DeviceFloats& other) const {
    check_cuda(cudaMemcpyAsync(data_, other.data_, count_ * sizeof(float), cudaMemcpyDeviceToDevice, nullptr), "copy");
  }
  std::vector<float> values() const {
    std::vector<float> result(count_);
    check_cuda(cudaMemcpy(result.data(), data_, count_ * sizeof(float), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return result;
  }

 private:
  std::size_t count_;
  void* data_ = nullptr;
};

class Gpus : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      select_device(testing::world());
    } catch (const UserError& error) {
      GTEST_SKIP() << error.what();
    }
    gpus_ = std::make_unique<NcclCommunicator>(testing::runtime(), testing::world().split(0, "gpus"));
  }
  float rank() const { return static_cast<float>(gpus_->rank()); }
  std::size_t ranks() const { return static_cast<std::size_t>(gpus_->size()); }
  std::unique_ptr<NcclCommunicator> gpus_;
};

TEST_F(Gpus, DoEveryVerb) {
  constexpr std::size_t kCount = 1 << 20;
  const auto sum_of_ranks = static_cast<float>(ranks() * (ranks() - 1) / 2);
  const DeviceFloats mine(std::vector<float>(kCount, rank())), all(std::vector<float>(kCount * ranks()));
  gpus_->all_gather(mine.data(), kCount * sizeof(float), all.data());
  const auto gathered = all.values();
  for (std::size_t r = 0; r < ranks(); ++r) EXPECT_EQ(gathered[r * kCount + kCount - 1], static_cast<float>(r));

  const DeviceFloats whole(std::vector<float>(kCount * ranks(), rank()));
  gpus_->start_reduce_scatter_sum(whole.data(), mine.data(), kCount)->wait();
  EXPECT_EQ(mine.values(), std::vector<float>(kCount, sum_of_ranks));

  const DeviceFloats reduced(std::vector<float>(kCount, rank()));
  gpus_->all_reduce(reduced.data(), kCount, Reduction::sum);
  EXPECT_EQ(reduced.values(), std::vector<float>(kCount, sum_of_ranks));
  gpus_->all_reduce(reduced.data(), 1, Reduction::max);

  // Both sums are queued before the host waits; the caller's own copy comes between them.
  const DeviceFloats queued(std::vector<float>(kCount, 1)), copy(std::vector<float>(kCount, -1));
  const auto once = gpus_->start_all_reduce_sum(queued.data(), kCount);
  once->wait_on_device();
  copy.take(queued);
  const auto twice = gpus_->start_all_reduce_sum(queued.data(), kCount);
  twice->wait_on_device();
  twice->wait();
  once->wait();
  const auto n = static_cast<float>(ranks());
  EXPECT_EQ(copy.values(), std::vector<float>(kCount, n));
  EXPECT_EQ(queued.values(), std::vector<float>(kCount, n * n));

  const DeviceFloats told(std::vector<float>(kCount, rank()));
  gpus_->broadcast(told.data(), kCount * sizeof(float), gpus_->size() - 1);
  EXPECT_EQ(told.values(), std::vector<float>(kCount, static_cast<float>(ranks() - 1)));

  const int next = (gpus_->rank() + 1) % gpus_->size(), before = (gpus_->rank() + gpus_->size() - 1) % gpus_->size();
  const DeviceFloats out(std::vector<float>(kCount, rank())), in(std::vector<float>(kCount, -1));
  gpus_->exchange({{next, out.data(), kCount * sizeof(float)}}, {{before, in.data(), kCount * sizeof(float)}});
  EXPECT_EQ(in.values(), std::vector<float>(kCount, static_cast<float>(before)));

  float on_host = 1;
  gpus_->all_reduce(&on_host, 1, Reduction::sum);
  EXPECT_EQ(on_host, static_cast<float>(ranks()));
}

TEST_F(Gpus, EndInAgreementAndRefuseAfterwards) {
  const DeviceFloats value({1});
  const auto part = gpus_->split(0, "part");
  part->all_reduce(value.data(), 1, Reduction::sum);
  EXPECT_EQ(value.values(), std::vector<float>{static_cast<float>(ranks())});
  gpus_->finalize();
  EXPECT_THROW(gpus_->all_reduce(value.data(), 1, Reduction::sum), BugError);
}

TEST_F(Gpus, AbortAtOnce) {
  gpus_->abort("for the test");
  const DeviceFloats value({1});
  EXPECT_THROW(gpus_->all_reduce(value.data(), 1, Reduction::sum), BugError);
}

}  // namespace
}  // namespace setrl::comm
