#!/usr/bin/env bash
# Measures the learner: speed in bfloat16 and float32, then memory and traffic for 1, 2, 4 and 8 ranks. JSON lines.
#   tools/bench_learn.sh [MODEL]        MODEL: folder or .gguf (default: the default model)
# SETRL=FILE       the program (default build/setrl)
# SETRL_PEER=DIR   a folder with a TRL environment (trl/bin/python), a Hugging Face model (smollm2) and a script
#                  trl_grpo_step.py MODEL DTYPE PROMPTS GROUP PROMPT_TOKENS NEW STEPS: TRL does the same step in the
#                  same session
# The machine should be idle: every figure is a wall-clock time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
setrl=${SETRL:-build/setrl}
model=${1:-models/SmolLM2-135M-Instruct.Q4_1.gguf}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=(--bench.prompts=4 --bench.group=8 --bench.prompt=200 --bench.new=128)

for dtype in bfloat16 float32; do
  "$setrl" bench learn --model.path="$model" --model.dtype=$dtype "${work[@]}"
  if [[ -n ${SETRL_PEER:-} ]]; then
    "$SETRL_PEER/trl/bin/python" -P "$SETRL_PEER/trl_grpo_step.py" "$SETRL_PEER/smollm2" $dtype 4 8 200 128 2 2> /dev/null | tail -n 1
  fi
done

# Eight short groups, so that eight ranks have one each; one thread a rank.
work=(--bench.prompts=8 --bench.group=2 --bench.prompt=64 --bench.new=32 --run.threads=1 --learn.activation_checkpointing=selective)
for ranks in 1 2 4 8; do
  mpirun --quiet --bind-to none --oversubscribe -n $ranks "$setrl" bench learn --model.path="$model" --model.dtype=float32 "${work[@]}"
done
