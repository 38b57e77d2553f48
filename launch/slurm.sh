#!/usr/bin/env bash
# Trains on several nodes under SLURM, one process a node with all of its GPUs:
#
#   sbatch --nodes=2 launch/slurm.sh --config=configs/davis16.py --workdir=out/davis16 [--config.KEY=VALUE ...]
#
# Submit it from the checkout, with the environment activated that `pip install '.[train]'` and `pip install jax[cuda13]`
# made; both must be on a file system that all nodes share, and so must the data and the working directory. JAX finds the
# other processes by SLURM's variables. Two minutes before the time limit SLURM sends SIGTERM: the job saves the step it
# is at and exits with 0, and the same command continues. A pre-empted job is queued again by SLURM and continues by itself.
#SBATCH --job-name=cosnet
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
# All GPUs of a node for its one process; JAX itself would give it the first.
export JAX_LOCAL_DEVICE_IDS=$(seq --separator=, 0 $((${SLURM_GPUS_ON_NODE:-1} - 1)))
srun --kill-on-bad-exit=1 python -u train.py "$@" --config.distributed.enabled=true
