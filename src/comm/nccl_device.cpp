#include "base/error.h"
#include "base/system.h"
#include "comm/device.h"
#include "comm/nccl_communicator.h"

namespace setrl::comm {

namespace {

// This rank's place among the ranks on its host, and how many they are.
struct HostPlace {
  std::string host;
  int place = 0, ranks = 0;
};

HostPlace host_place(Communicator& world) {
  HostPlace mine{host_name(), 0, 0};
  const auto all = all_gather_bytes(world, {mine.host.begin(), mine.host.end()});
  for (std::size_t r = 0; r < all.size(); ++r) {
    if (std::string(all[r].begin(), all[r].end()) != mine.host) continue;
    if (static_cast<int>(r) < world.rank()) ++mine.place;
    ++mine.ranks;
  }
  return mine;
}

}  // namespace

bool built_for_devices() {
  return true;
}

bool has_devices(Communicator& world) {
  const int here = host_place(world).ranks;
  int devices = 0;
  double lacking = cudaGetDeviceCount(&devices) == cudaSuccess && devices >= here ? 0 : 1;
  world.all_reduce(&lacking, 1, Reduction::max);
  return lacking == 0;
}

int select_device(Communicator& world) {
  const auto [host, place, here] = host_place(world);
  int devices = 0;
  const cudaError_t code = cudaGetDeviceCount(&devices);
  if (code != cudaSuccess || devices == 0) {
    throw_user_error("host {} has no GPU that CUDA can use: {}; compute on CPUs (run.device=cpu)", host,
                     code == cudaSuccess ? "it lists none" : cudaGetErrorString(code));
  }
  if (here > devices) {
    throw_user_error("host {} has {} GPUs for {} ranks: start at most one rank a GPU (run.device=cpu: none)", host,
                     devices, here);
  }
  check_cuda(cudaSetDevice(place), "cudaSetDevice");
  return place;
}

std::unique_ptr<Communicator> make_device_communicator(MpiRuntime& runtime, std::unique_ptr<Communicator> host) {
  return std::make_unique<NcclCommunicator>(runtime, std::move(host));
}

}  // namespace setrl::comm
