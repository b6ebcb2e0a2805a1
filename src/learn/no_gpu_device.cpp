// The build without GPUs: nothing here is ever reached, as no tensor lies on one.
#include "base/error.h"
#include "learn/gpu_device.h"

namespace setrl::learn::gpu {

namespace {

[[noreturn]] void refuse() {
  throw BugError("the learner was built without CUDA");
}

}  // namespace

at::Tensor pinned_zeros(std::int64_t /*count*/, at::ScalarType /*dtype*/) {
  refuse();
}
void synchronize() {
  refuse();
}
DeviceMemory device_memory() {
  refuse();
}
void reset_peak_memory() {
  refuse();
}
double seconds_of(const std::function<void()>& /*work*/) {
  refuse();
}
struct StreamedAdamw::Lane {};
StreamedAdamw::StreamedAdamw(at::Device /*device*/) {
  refuse();
}
StreamedAdamw::~StreamedAdamw() = default;
void StreamedAdamw::update(const at::Tensor& /*weights*/, const at::Tensor& /*moment1*/, const at::Tensor& /*moment2*/,
                           const at::Tensor& /*gradient*/, const at::Tensor& /*rounded*/, const AdamwStep& /*step*/) {
  refuse();
}
void StreamedAdamw::finish() {
  refuse();
}

}  // namespace setrl::learn::gpu
