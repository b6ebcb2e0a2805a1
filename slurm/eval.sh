#!/usr/bin/env bash
# Evaluates a model, run or checkpoint on a split: coverage, calibration, intervals.
#   cd REPOSITORY && sbatch slurm/eval.sh --config configs/ddxplus_8b.cfg --model.path runs/NAME --run.dir runs/eval
#SBATCH --job-name=setrl_eval
#SBATCH --time=02:00:00 --open-mode=append --output=%x-%j.out
#SBATCH --nodes=2 --ntasks-per-node=2 --cpus-per-task=4
exec "${SETRL_ROOT:-$SLURM_SUBMIT_DIR}/launch/slurm_run.sh" eval "$@"
