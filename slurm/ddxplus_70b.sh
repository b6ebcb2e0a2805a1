#!/usr/bin/env bash
# Llama-3 70B (or Qwen2.5-72B) on DDXPlus: 16 nodes x 8 GPUs learn, 8 nodes x 8 GPUs generate, 4 CPU nodes grade.
#   cd REPOSITORY && sbatch slurm/ddxplus_70b.sh [--section.key=value ...]
# The three components form one MPI_COMM_WORLD in this order; their sizes below are the only place that states them.
# What to change for your cluster: slurm/README.md. The job ends in seconds, with the reason, where the plan does not fit.
#SBATCH --job-name=ddxplus_70b
#SBATCH --time=24:00:00 --signal=B:USR1@900 --requeue --open-mode=append --output=%x-%j.out
#SBATCH --partition=gpu --nodes=16 --ntasks-per-node=8 --gres=gpu:8 --cpus-per-task=12 --mem=0 --exclusive
#SBATCH hetjob
#SBATCH --partition=gpu --nodes=8 --ntasks-per-node=8 --gres=gpu:8 --cpus-per-task=12 --mem=0 --exclusive
#SBATCH hetjob
#SBATCH --partition=cpu --nodes=4 --ntasks-per-node=8 --cpus-per-task=4 --mem=0 --exclusive
export SETRL_MACHINE=${SETRL_MACHINE:-configs/machines/h100_8x.cfg}
exec "${SETRL_ROOT:-$SLURM_SUBMIT_DIR}/launch/slurm_run.sh" train --config "${SETRL_CONFIG:-configs/ddxplus_70b.cfg}" "$@"
