#!/usr/bin/env bash
# On a machine with NVIDIA GPUs: builds for them, runs the tests that need one, and measures what runs on GPUs today, the
# weight push over NCCL. Ends with 2 and says so where there is no GPU.
#   launch/gpu_check.sh             with what launch/setup.sh --cuda brings (needs the network)
#   SETRL_TORCH=DIR launch/gpu_check.sh    with a LibTorch that is there; CUDA_HOME and NCCL_HOME may name the rest
# SETRL_GPU_MODEL=PATH  model whose weights are pushed (default: the quickstart's)
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

ls /dev/nvidia[0-9]* > /dev/null 2>&1 || die "no GPU here: there is no /dev/nvidia0, so nothing was built, tested or measured"
command -v nvidia-smi > /dev/null || die "no GPU here that can be used: nvidia-smi, which comes with NVIDIA's driver, is missing"
gpus=$(nvidia-smi --list-gpus | wc -l)
((gpus > 0)) || die "no GPU here: nvidia-smi lists none, so nothing was built, tested or measured"
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader >&2

"$root/launch/setup.sh" --cuda
for_gpus
build_targets test_comm_nccl_gpu
say "testing on $gpus GPUs"
ctest --test-dir "$build" --output-on-failure -L gpu

say "measuring"
model=${SETRL_GPU_MODEL:-$model_file}
printf '%-6s %-9s %-9s %-12s %-10s %-10s %-14s %s\n' GPUs learners replicas 'tensor par.' seconds 'GB/s' 'link GB/s' 'of limit'
measure() { # ranks learners tensor_parallel
  local line
  line=$(local_mpirun -n "$1" "$setrl" bench sync --bench.device=cuda --bench.learners="$2" --bench.tensor_parallel="$3" \
    --model.path="$model" --model.dtype=bfloat16 | grep '^{')
  python3 -c '
import json, sys
line = json.loads(sys.argv[1])
print("%-6d %-9d %-9d %-12d %-10.4f %-10.1f %-14.1f %.2f" % tuple(line[key] for key in (
    "ranks", "learners", "replicas", "tensor_parallel", "seconds", "gb_per_s", "link_gb_per_s", "fraction_of_limit")))' "$line"
}
measure 1 1 1
for ((ranks = 2; ranks <= gpus; ranks *= 2)); do
  measure "$ranks" $((ranks / 2)) 1
  ((ranks < 4)) || measure "$ranks" $((ranks / 2)) $((ranks / 2))
done
say "not measured: generation and learning, which this program does on CPUs only"
