#!/usr/bin/env bash
# On a machine with NVIDIA GPUs: builds for them, runs the tests that need one, and measures with random weights, so
# without a model's files: decoding of llama3-8b on one GPU, the weight push over NCCL, and the learner with qwen2.5-1.5b;
# beside it transformers' generate and a training step in plain PyTorch. Ends with 2 and says so where there is no GPU, and
# with 1 where a measurement failed.
#   launch/gpu_check.sh             with what launch/setup.sh --cuda brings (needs the network)
#   SETRL_TORCH=DIR launch/gpu_check.sh    with a LibTorch that is there; CUDA_HOME and NCCL_HOME may name the rest
#   SETRL_BUNDLE=DIR launch/gpu_check.sh   without network, with what launch/bundle.sh gathered
# SETRL_GPU_MODEL=PATH  this model generates, is trained and pushed instead
# SETRL_PYTHON=FILE     a Python with torch and transformers for the peers (default: the set-up's, else python3)
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

ls /dev/nvidia[0-9]* > /dev/null 2>&1 || die "no GPU here: there is no /dev/nvidia0, so nothing was built, tested or measured"
command -v nvidia-smi > /dev/null || die "no GPU here that can be used: nvidia-smi, which comes with NVIDIA's driver, is missing"
gpus=$(nvidia-smi --list-gpus | wc -l)
((gpus > 0)) || die "no GPU here: nvidia-smi lists none, so nothing was built, tested or measured"
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader >&2
least_mib=$(nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits | sort -n | head -n 1)

"$root/launch/setup.sh" --cuda
for_gpus
build_targets setrl test_comm_nccl_gpu test_learn_gpu test_rollout_gpu
say "testing on $gpus GPUs"
ctest --test-dir "$build" --output-on-failure -L gpu

device=cuda
decode_model=(--bench.shape=llama3-8b)
learn_model=(--bench.shape=qwen2.5-1.5b)
if [[ -n ${SETRL_GPU_MODEL:-} ]]; then
  decode_model=(--model.path="$SETRL_GPU_MODEL")
  learn_model=("${decode_model[@]}")
fi
lines=$build/gpu_check.jsonl failed=$build/gpu_check.failed peer_log=$build/gpu_peers.log
: > "$lines"
: > "$failed"

# Runs a program and prints its line of JSON, which is also kept, in `line` too; where it fails, says so, and the rest goes on.
measured() { # command...
  if line=$("$@" | grep '^{' | tail -n 1); then
    printf '%s\n' "$line" | tee -a "$lines"
  else
    printf 'FAILED: %s\n' "$*" | tee -a "$failed"
    return 1
  fi
}

# The first of these that has torch: that of the set-up finds it beside its own packages.
peer_python=()
offer_python() { # command...
  if ((${#peer_python[@]} == 0)) && "$@" -c 'import torch' 2> /dev/null; then peer_python=("$@"); fi
}
if [[ -n ${SETRL_PYTHON:-} ]]; then offer_python "$SETRL_PYTHON"; fi
offer_python env "PYTHONPATH=$root/.venv/libtorch" "$root/.venv/bin/python"
offer_python python3

peer_line() { # options of gpu_peers.py...
  local theirs
  theirs=$("${peer_python[@]}" tools/gpu_peers.py "$@" <<< "$line" 2> "$peer_log") && tee -a "$lines" <<< "$theirs"
}

# A peer at the work of the last line; where its memory does not suffice to learn, with blocks recomputed.
peer() {
  if ((${#peer_python[@]} == 0)); then
    echo "no peer: there is no Python with torch; name one with SETRL_PYTHON"
  elif ! peer_line && ! { grep -q 'memory does not suffice' "$peer_log" && peer_line --checkpointing; }; then
    echo "no peer: $(tail -n 1 "$peer_log")"
  fi
}

decode() { # batch group
  if measured "$setrl" bench rollout "${decode_model[@]}" --model.dtype=bfloat16 --bench.device=$device --bench.batch="$1" \
    --bench.group="$2" --bench.prompt=256 --bench.new=256; then
    peer
  fi
}

push() { # ranks learners tensor_parallel model
  measured local_mpirun -n "$1" "$setrl" bench sync "$4" --model.dtype=bfloat16 --bench.device=$device --bench.learners="$2" \
    --bench.tensor_parallel="$3" || true
}

pushes() { # model
  push 1 1 1 "$1"
  local ranks
  for ((ranks = 2; ranks <= gpus; ranks *= 2)); do
    push "$ranks" $((ranks / 2)) 1 "$1"
    ((ranks < 4)) || push "$ranks" $((ranks / 2)) $((ranks / 2)) "$1"
  done
}

learn() { # ranks options...
  measured local_mpirun -n "$1" "$setrl" bench learn "${learn_model[@]}" --model.dtype=bfloat16 --bench.device=$device \
    --learn.micro_batch_tokens=16384 "${@:2}"
}

# Prompts of a rank, group, prompt and new tokens: on the device and with the optimizer's state in host memory; a peer on
# one GPU.
learning() { # ranks prompts group prompt new
  local work=(--bench.prompts=$(($2 * $1)) --bench.group="$3" --bench.prompt="$4" --bench.new="$5")
  if learn "$1" "${work[@]}"; then
    if (($1 == 1)); then peer; fi
  else
    learn "$1" "${work[@]}" --learn.activation_checkpointing=selective || true
  fi
  learn "$1" "${work[@]}" --learn.offload_optimizer=yes || true
}

say "measuring generation"
{
  decode 1 1
  decode 16 1
  decode 64 1
  decode 64 8
} | tools/bench_table.py

# A GPU alone holds the float32 weights of the larger one and a unit on its way.
say "measuring the weight push"
{
  pushes "${learn_model[0]}"
  if [[ -z ${SETRL_GPU_MODEL:-} ]] && ((least_mib > 60000)); then pushes "${decode_model[0]}"; fi
} | tools/bench_table.py

# MFU: 6 x parameters x tokens against a large matrix product of the same dtype on the same GPU. Growth: of the memory that
# the allocator holds, after the second step; the last line looks at it over 100 steps.
say "measuring the learner"
{
  for ((ranks = 1; ranks <= gpus; ranks *= 2)); do
    learning "$ranks" 8 1 512 3584
    learning "$ranks" 12 8 512 256
  done
  learn 1 --bench.steps=100 --bench.prompts=8 --bench.group=8 --bench.prompt=128 --bench.new=64 || true
} | tools/bench_table.py

say "all lines are in $lines"
if [[ -s $failed ]]; then
  say "$(wc -l < "$failed") measurements failed"
  exit 1
fi
