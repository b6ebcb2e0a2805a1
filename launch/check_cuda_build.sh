#!/usr/bin/env bash
# Compiles and links the build for GPUs (SETRL_CUDA=ON) in a folder of its own, where nvcc and the headers of CUDA and NCCL
# are; elsewhere it says so and does nothing. No GPU is needed, and nothing is run. Most of it comes from the compiler
# cache of the other build.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
for_gpus

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
command -v nvcc > /dev/null || [[ -x ${CUDA_HOME:-/usr/local/cuda}/bin/nvcc || -x .venv/libtorch/nvidia/cu13/bin/nvcc ]] || {
  say "SKIPPED: the build for GPUs is not checked: there is no nvcc on this machine (launch/setup.sh --cuda brings it)"
  exit 0
}
build_targets setrl test_comm_nccl_gpu test_learn_gpu test_rollout_gpu
readelf -d "$setrl" | grep -q 'libnccl' || die "setrl is not linked to NCCL"
say "the build for GPUs compiles and links: $setrl"
