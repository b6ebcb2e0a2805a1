#!/usr/bin/env bash
# Measures the rollout engine beside others, in turns; one JSON line a run, the machine's load before it in `load`.
#   tools/bench_rollout.sh DTYPE BATCH PROMPT NEW [GROUP]    e.g. bfloat16 32 256 128, bfloat16 64 256 128 8
# SETRL=FILE       the program (default build/setrl); SETRL2=FILE: another build of it, measured in the same turns
# DEVICE=cuda      on a GPU, of a build for them
# MODEL=DIR        a Hugging Face folder (default: SETRL_PEER/smollm2)
# SETRL_PEER=DIR   a folder with environments vllm and trl (bin/python) and the scripts vllm_generate.py and hf_generate.py
#                  (MODEL DTYPE BATCH PROMPT NEW [GROUP])
# PEERS="vllm hf"  which of them take part (default: vllm); TURNS=N: rounds (default 2)
# RUN="CMD"        a command put before each run, e.g. one that waits for an idle machine
# The machine should be idle: every figure is a wall-clock time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dtype=$1 batch=$2 prompt=$3 new=$4 group=${5:-1}
model=${MODEL:-${SETRL_PEER:-.}/smollm2}

line() {
  local load
  load=$(cut -d ' ' -f 1 /proc/loadavg)
  ${RUN:-} "$@" 2> /dev/null | grep '^{' | tail -n 1 | sed "s/^{/{\"load\": $load, /"
}

setrl() {
  line "$1" bench rollout --model.path="$model" --model.dtype="$dtype" --bench.batch="$batch" --bench.prompt="$prompt" \
    --bench.new="$new" --bench.group="$group" --bench.device="${DEVICE:-cpu}"
}

for ((turn = 0; turn < ${TURNS:-2}; ++turn)); do
  setrl "${SETRL:-build/setrl}"
  [[ -z ${SETRL2:-} ]] || setrl "$SETRL2"
  for peer in ${SETRL_PEER:+${PEERS:-vllm}}; do
    case $peer in
      vllm) line "$SETRL_PEER/vllm/bin/python" -P "$SETRL_PEER/vllm_generate.py" "$model" "$dtype" "$batch" "$prompt" "$new" "$group" ;;
      hf) line "$SETRL_PEER/trl/bin/python" -P "$SETRL_PEER/hf_generate.py" "$model" "$dtype" "$batch" "$prompt" "$new" ;;
      *) echo "unknown peer $peer" >&2 && exit 2 ;;
    esac
  done
done
