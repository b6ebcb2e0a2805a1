#!/usr/bin/env bash
# Compiles and links the build for GPUs (SETRL_CUDA=ON) in a folder of its own, where the headers of CUDA and NCCL are;
# elsewhere it says so and does nothing. No GPU is needed, and nothing is run. Most of it comes from the compiler cache
# of the other build.
# SETRL_CUDA_BUILD=DIR  build folder (default build-cuda/)
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
cuda_build=${SETRL_CUDA_BUILD:-$root/build-cuda}

# Whether a header is in one of the folders that cmake/FindSetrlGpu.cmake looks into.
has_header() {
  local folder
  for folder in .venv/libtorch/nvidia/cu13 .venv/libtorch/nvidia/nccl "${CUDA_HOME:-}" "${NCCL_HOME:-}" /usr/local/cuda /usr/local /usr; do
    [[ -n $folder && -e $folder/include/$1 ]] && return
  done
  return 1
}

for header in cuda_runtime_api.h nccl.h; do
  has_header "$header" || {
    say "SKIPPED: the build for GPUs is not checked: there is no $header on this machine (launch/setup.sh --cuda brings it)"
    exit 0
  }
done
say "compiling and linking the build for GPUs"
cmake -S . -B "$cuda_build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSETRL_CUDA=ON > "$cuda_build.log" 2>&1 || {
  cat "$cuda_build.log" >&2
  die "cmake failed"
}
mv "$cuda_build.log" "$cuda_build/configure.log"
cmake --build "$cuda_build" -j "${SETRL_JOBS:-$(nproc)}" --target setrl test_comm_nccl_gpu -- --quiet
readelf -d "$cuda_build/setrl" | grep -q 'libnccl' || die "setrl is not linked to NCCL"
say "the build for GPUs compiles and links: $cuda_build/setrl"
