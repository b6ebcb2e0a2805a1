// The build without GPUs.
#include "base/error.h"
#include "comm/device.h"

namespace setrl::comm {

namespace {

[[noreturn]] void refuse() {
  throw_user_error("this build of setrl has no GPU back end: configure it with -DSETRL_CUDA=ON (docs/gpu.md)");
}

}  // namespace

bool built_for_devices() {
  return false;
}

bool has_devices(Communicator& /*world*/) {
  return false;
}

int select_device(Communicator& /*world*/) {
  refuse();
}

std::unique_ptr<Communicator> make_device_communicator(MpiRuntime& /*runtime*/,
                                                       std::unique_ptr<Communicator> /*host*/) {
  refuse();
}

}  // namespace setrl::comm
