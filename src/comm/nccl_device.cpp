#include "base/error.h"
#include "base/system.h"
#include "comm/device.h"
#include "comm/nccl_communicator.h"

namespace setrl::comm {

int select_device(Communicator& world) {
  const auto host = host_name();
  const auto all = all_gather_bytes(world, {host.begin(), host.end()});
  int place = 0, here = 0;
  for (std::size_t r = 0; r < all.size(); ++r) {
    if (std::string(all[r].begin(), all[r].end()) != host) continue;
    if (static_cast<int>(r) < world.rank()) ++place;
    ++here;
  }
  int devices = 0;
  const cudaError_t code = cudaGetDeviceCount(&devices);
  if (code != cudaSuccess || devices == 0) {
    throw_user_error("host {} has no GPU that CUDA can use: {}", host,
                     code == cudaSuccess ? "it lists none" : cudaGetErrorString(code));
  }
  if (here > devices) {
    throw_user_error("host {} has {} GPUs for {} ranks: start at most one rank a GPU", host, devices, here);
  }
  check_cuda(cudaSetDevice(place), "cudaSetDevice");
  return place;
}

std::unique_ptr<Communicator> make_device_communicator(MpiRuntime& runtime, std::unique_ptr<Communicator> host) {
  return std::make_unique<NcclCommunicator>(runtime, std::move(host));
}

}  // namespace setrl::comm
