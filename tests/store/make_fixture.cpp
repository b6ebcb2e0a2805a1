// Writes the fixture of the present schema version: mpirun -n 2 test_make_store_fixture FOLDER.
#include <cstdio>

#include "comm/mpi_runtime.h"
#include "store/fixture_state.h"

int main(int argc, char** argv) {
  using namespace setrl;
  comm::MpiRuntime runtime(&argc, &argv, 60);
  if (argc != 2 || runtime.world().size() != 2) {
    std::fprintf(stderr, "usage: mpirun -n 2 %s FOLDER\n", argv[0]);
    return 2;
  }
  const int rank = runtime.world().rank();
  const store::fixture::State state(rank, 2, true);
  store::save_checkpoint(argv[1], store::fixture::info(), state.views(), {}, runtime.world());
  if (rank != 0) return 0;
  store::TrajectoryInfo info;
  info.step = store::fixture::kStep;
  info.policy_version = 2;
  info.config_hash = store::fixture::info().config_hash;
  store::TrajectoryWriter writer(store::trajectory_path(argv[1], info.step, 0), info);
  const auto stored = store::fixture::group();
  writer.append(stored.group, stored.texts);
  writer.publish();
  return 0;
}
