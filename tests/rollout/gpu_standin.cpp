#include "gpu_standin.h"

namespace setrl::rollout {

namespace test {

StandinCounts& standin_counts() {
  static StandinCounts counts;
  return counts;
}

}  // namespace test

namespace gpu {

namespace {

class RecordedCalls : public Graph {
 public:
  explicit RecordedCalls(std::function<void()> work) : work_(std::move(work)) {}
  void replay() override {
    ++test::standin_counts().replayed;
    work_();
  }

 private:
  std::function<void()> work_;
};

class HostRuntime : public Runtime {
 public:
  explicit HostRuntime(bool collectives) : collectives_(collectives) {}
  at::Device device() const override { return at::kCPU; }
  Stream stream() const override { return nullptr; }
  std::int64_t free_bytes() const override { return std::int64_t{64} << 20; }
  at::Tensor pinned(std::int64_t bytes) const override { return at::empty({bytes}, at::kByte); }
  void on_stream(const std::function<void()>& work) override { work(); }
  void product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& out) override {
    EXPECT_TRUE(a.is_contiguous() && b.is_contiguous() && out.is_contiguous());
    EXPECT_EQ(a.scalar_type(), b.scalar_type());
    at::Tensor to = out;
    at::mm_out(to, a.to(at::kFloat), b.to(at::kFloat).t());
  }
  std::int64_t sum_part_bytes() const override { return 512; }
  std::unique_ptr<Graph> capture(const std::function<void()>& work) override {
    if (collectives_) return nullptr;
    ++test::standin_counts().recorded;
    return std::make_unique<RecordedCalls>(work);
  }
  void wait() override {}
  void wait_for_all() override {}

 private:
  bool collectives_;
};

}  // namespace

std::unique_ptr<Runtime> make_runtime(at::Device /*device*/, bool collectives) {
  return std::make_unique<HostRuntime>(collectives);
}

}  // namespace gpu

}  // namespace setrl::rollout
