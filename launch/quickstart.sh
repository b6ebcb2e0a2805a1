#!/usr/bin/env bash
# Trains SmolLM2-135M with multi-answer RL on the built-in demo task: cold start, then RL with one rank of each role under
# mpirun, then a table of held-out problems before and after. At most 15 minutes on two cores.
#   launch/quickstart.sh [DIR]      results go to DIR (default runs/quickstart), which must not hold a run
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
"$root/launch/setup.sh"
cd "$root"
dir=${1:-runs/quickstart}
[[ -e $dir/train/metrics.jsonl ]] && die "$dir holds a run already; give another folder: launch/quickstart.sh runs/quickstart2"
common=(--config configs/demo_smollm2.cfg)
steps=10
if ! has_bfloat16; then
  steps=6
  say "this CPU has no bfloat16 instructions: float32, $steps steps instead of 10"
fi
say "cold start: teaching the answer format from gold sets"
"$setrl" sft "${common[@]}" --run.dir="$dir/sft"
say "reinforcement learning: $steps steps, 3 ranks (learner, rollout, verifier)"
local_mpirun -n 3 "$setrl" train "${common[@]}" --model.path="$dir/sft" --run.dir="$dir/train" --run.steps="$steps" \
  --eval.every="$steps"
cat <<EOF

metrics       $dir/train/metrics.jsonl
trajectories  $dir/train/trajectories/    (look: $setrl inspect $dir/train)
checkpoint    $dir/train/checkpoints/latest
ask the model $setrl ask "A 30 year old man with fever and a dry cough." --model.path=$dir/train
EOF
