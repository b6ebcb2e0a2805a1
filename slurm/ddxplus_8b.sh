#!/usr/bin/env bash
# Qwen3-8B on DDXPlus: one GPU node learns (4 ranks) and generates (4 ranks), one CPU node grades.
#   cd REPOSITORY && sbatch slurm/ddxplus_8b.sh [--section.key=value ...]
# The components form one MPI_COMM_WORLD in this order: learner, rollout, verifier. See slurm/README.md.
#SBATCH --job-name=ddxplus_8b
#SBATCH --time=24:00:00 --signal=B:USR1@600 --requeue --open-mode=append --output=%x-%j.out
#SBATCH --partition=gpu --nodes=1 --ntasks-per-node=4 --gres=gpu:4 --cpus-per-task=8 --mem=900G
#SBATCH hetjob
#SBATCH --partition=gpu --nodes=1 --ntasks-per-node=4 --gres=gpu:4 --cpus-per-task=8 --mem=400G
#SBATCH hetjob
#SBATCH --partition=cpu --nodes=1 --ntasks-per-node=4 --cpus-per-task=4 --mem=32G
export SETRL_MACHINE=${SETRL_MACHINE:-configs/machines/h100_8x.cfg}
exec "${SETRL_ROOT:-$SLURM_SUBMIT_DIR}/launch/slurm_run.sh" train --config "${SETRL_CONFIG:-configs/ddxplus_8b.cfg}" "$@"
