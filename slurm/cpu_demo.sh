#!/usr/bin/env bash
# The demo task with a tiny random model on any two nodes: a first look at a cluster, done in a minute.
#   cd REPOSITORY && sbatch slurm/cpu_demo.sh [--section.key=value ...]
#SBATCH --job-name=setrl_demo
#SBATCH --time=00:10:00 --signal=B:USR1@60 --requeue --open-mode=append --output=%x-%j.out
#SBATCH --nodes=2 --ntasks-per-node=2 --cpus-per-task=1
[[ " $* " == *" --run.dir"* ]] || set -- --run.dir="runs/slurm-demo-$SLURM_JOB_ID" "$@"
exec "${SETRL_ROOT:-$SLURM_SUBMIT_DIR}/launch/slurm_run.sh" train --config "${SETRL_CONFIG:-configs/demo_tiny.cfg}" "$@"
