#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include "base/error.h"
#include "rollout/gpu_runtime.h"

namespace setrl::rollout::gpu {

namespace {

class CudaGraph : public Graph {
 public:
  CudaGraph(at::cuda::MempoolId_t pool, const std::function<void()>& work) {
    // Other threads of the process may go on using the device meanwhile.
    graph_.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      graph_.capture_end();
      throw;
    }
    graph_.capture_end();
  }
  void replay() override { graph_.replay(); }

 private:
  at::cuda::CUDAGraph graph_;
};

class CudaRuntime : public Runtime {
 public:
  CudaRuntime(at::Device device, bool collectives)
      : device_(device.has_index() ? device : at::Device(at::kCUDA, c10::cuda::current_device())),
        collectives_(collectives),
        // A graph can be recorded on a stream of its own only; communicators wait for the default one.
        stream_(collectives ? c10::cuda::getDefaultCUDAStream(device_.index())
                            : c10::cuda::getStreamFromPool(false, device_.index())),
        pool_(at::cuda::graph_pool_handle()) {}

  at::Device device() const override { return device_; }
  Stream stream() const override { return stream_.stream(); }
  std::int64_t free_bytes() const override {
    const c10::cuda::CUDAGuard guard(device_);
    std::size_t free = 0, total = 0;
    C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return static_cast<std::int64_t>(free);
  }
  at::Tensor pinned(std::int64_t bytes) const override {
    return at::empty({bytes}, at::TensorOptions().dtype(at::kByte).pinned_memory(true));
  }
  void on_stream(const std::function<void()>& work) override {
    const c10::cuda::CUDAStreamGuard guard(stream_);
    work();
  }
  void product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& out) override {
    at::Tensor to = out;
    if (a.scalar_type() == at::kFloat) {
      at::mm_out(to, a, b.t());
    } else {
      at::mm_out(to, a, b.t(), at::kFloat);
    }
  }
  // By arithmetic: some 10 us at the speed of NVLink, which is what starting a collective takes. Not measured.
  std::int64_t sum_part_bytes() const override { return std::int64_t{1} << 20; }
  std::unique_ptr<Graph> capture(const std::function<void()>& work) override {
    if (collectives_) return nullptr;
    return std::make_unique<CudaGraph>(pool_, work);
  }
  void wait() override { stream_.synchronize(); }
  void wait_for_all() override {
    const c10::cuda::CUDAGuard guard(device_);
    c10::cuda::device_synchronize();
  }

 private:
  at::Device device_;
  bool collectives_;
  c10::cuda::CUDAStream stream_;
  at::cuda::MempoolId_t pool_;  // graphs run one after another: they share their memory
};

}  // namespace

std::unique_ptr<Runtime> make_runtime(at::Device device, bool collectives) {
  SETRL_CHECK(device.is_cuda(), "no runtime for device {}", device.str());
  int devices = 0;
  const cudaError_t code = cudaGetDeviceCount(&devices);
  if (code != cudaSuccess || devices == 0 || device.index() >= devices) {
    throw_user_error("device {} cannot be used: {}", device.str(),
                     code != cudaSuccess ? cudaGetErrorString(code) : fmt::format("there are {} GPUs here", devices));
  }
  return std::make_unique<CudaRuntime>(device, collectives);
}

}  // namespace setrl::rollout::gpu
