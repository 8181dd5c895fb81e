#!/bin/bash
# One run on all GPUs of several nodes: one process a GPU, none of which waits for another.
#   sbatch --nodes=4 configs/cluster/nodes.sh RUN -c configs/decoder_inversion.yaml --data.root PHOTOS
#SBATCH --job-name=decinv
#SBATCH --ntasks-per-node=8   # as many as --trainer.devices below
#SBATCH --gres=gpu:8          # for the node, not for the task: every task sees all eight and takes its own
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@120
#SBATCH --output=%x-%j.log
set -u
run=${1:?name the run directory}
shift

# A process that fails ends no other.
srun --kill-on-bad-exit=0 python main.py fit "$@" --trainer.num_nodes "$SLURM_NNODES" --trainer.devices 8 --out "$run"
status=$?

case $status in
    138 | 143) scontrol requeue "$SLURM_JOB_ID" ;;
    3) status=0 ;;
esac
exit "$status"
