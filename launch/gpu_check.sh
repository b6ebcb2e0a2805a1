#!/usr/bin/env bash
# On a machine with NVIDIA GPUs: builds for them, runs the tests that need one, and measures generation on one GPU, the
# weight push over NCCL, and the learner. Ends with 2 and says so where there is no GPU.
#   launch/gpu_check.sh             with what launch/setup.sh --cuda brings (needs the network)
#   SETRL_TORCH=DIR launch/gpu_check.sh    with a LibTorch that is there; CUDA_HOME and NCCL_HOME may name the rest
#   SETRL_BUNDLE=DIR launch/gpu_check.sh   without network, with what launch/bundle.sh gathered
# SETRL_GPU_MODEL=PATH  model that generates, is trained and pushed (default: the quickstart's)
# SETRL_PEER=DIR   transformers' generate beside it, as tools/bench_rollout.sh has it; the model is then a Hugging Face folder
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

ls /dev/nvidia[0-9]* > /dev/null 2>&1 || die "no GPU here: there is no /dev/nvidia0, so nothing was built, tested or measured"
command -v nvidia-smi > /dev/null || die "no GPU here that can be used: nvidia-smi, which comes with NVIDIA's driver, is missing"
gpus=$(nvidia-smi --list-gpus | wc -l)
((gpus > 0)) || die "no GPU here: nvidia-smi lists none, so nothing was built, tested or measured"
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader >&2

"$root/launch/setup.sh" --cuda
for_gpus
build_targets setrl test_comm_nccl_gpu test_learn_gpu test_rollout_gpu
say "testing on $gpus GPUs"
ctest --test-dir "$build" --output-on-failure -L gpu

say "measuring"
model=${SETRL_GPU_MODEL:-$model_file}
printf '%-13s %-6s %-7s %-7s %-6s %-10s %-12s %-13s %s\n' program batch prompt new group tokens/s 'decode tok/s' 'memory GB/s' 'of bandwidth'
decode() { # batch group
  DEVICE=cuda TURNS=1 SETRL=$setrl MODEL=$model PEERS=hf tools/bench_rollout.sh bfloat16 "$1" 256 256 "$2" | python3 -c '
import json, sys
for line in map(json.loads, sys.stdin):
    print("%-13s %-6d %-7d %-7d %-6s %-10.0f %-12.0f %-13s %s" % (
        *(line[key] for key in ("peer", "batch", "prompt", "new")), line.get("group", "-"), line["tokens_per_s"],
        line["decode_tokens_per_s"], line.get("memory_gb_per_s", "-"), line.get("fraction_of_limit", "-")))'
}
decode 1 1
decode 16 1
decode 64 1
decode 64 8

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

# MFU: 6 x parameters x tokens against a large matrix product of the same dtype on the same GPU. Growth: of the memory that
# the allocator holds, after the second step.
say "learning"
printf '%-6s %-8s %-10s %-12s %-6s %-10s %s\n' GPUs offload seconds 'tokens/s' MFU 'peak GB' 'growth GB'
measure_learning() { # ranks offload
  local line
  line=$(local_mpirun -n "$1" "$setrl" bench learn --bench.device=cuda --learn.offload_optimizer="$2" --model.path="$model" \
    --model.dtype=bfloat16 --learn.micro_batch_tokens=16384 --bench.prompts="$((8 * $1))" --bench.group=8 --bench.prompt=512 \
    --bench.new=256 | grep '^{')
  python3 -c '
import json, sys
line = json.loads(sys.argv[1])
print("%-6d %-8s %-10.3f %-12.0f %-6.2f %-10.2f %.2f" % (line["ranks"], sys.argv[2], line["learn_s"], line["tokens_per_s"],
    line["fraction_of_limit"], line["device_peak_bytes"] / 1e9, line["device_growth_bytes"] / 1e9))' "$line" "$2"
}
for ((ranks = 1; ranks <= gpus; ranks *= 2)); do
  measure_learning "$ranks" no
  measure_learning "$ranks" yes
done
