#!/usr/bin/env bash
# One point of a scaling study; submitted by slurm/scaling_study.sh, which sets the size.
# SETRL_STUDY_DIR: results; SETRL_STUDY_SIZES: rank counts, of which an array's task takes its own; SETRL_STUDY_PROMPTS:
# problems of a step, for each size.
#SBATCH --job-name=setrl_scaling
#SBATCH --time=01:00:00 --open-mode=append --output=%x-%j.out
read -ra sizes <<< "$SETRL_STUDY_SIZES"
read -ra prompts <<< "$SETRL_STUDY_PROMPTS"
export SETRL_RANKS=${sizes[${SLURM_ARRAY_TASK_ID:-0}]}
exec "${SETRL_ROOT:-$SLURM_SUBMIT_DIR}/launch/slurm_run.sh" train "$@" \
  --task.prompts_per_step="${prompts[${SLURM_ARRAY_TASK_ID:-0}]}" --run.dir="$SETRL_STUDY_DIR/ranks-$SETRL_RANKS"
