// The build without GPUs.
#include "base/error.h"
#include "rollout/model_runner.h"

namespace setrl::rollout {

std::unique_ptr<ModelRunner> make_gpu_runner(const model::ModelSpec& /*spec*/, bool /*bf16*/,
                                             const EngineOptions& /*options*/, comm::Communicator* /*ranks*/) {
  throw_user_error("this build of setrl has no GPU back end: configure it with -DSETRL_CUDA=ON (docs/gpu.md)");
}

}  // namespace setrl::rollout
