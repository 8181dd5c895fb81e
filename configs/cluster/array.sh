#!/bin/bash
# One part of a run in each job of an array; the jobs know nothing of each other.
#   sbatch --array=0-15 configs/cluster/array.sh RUN -c configs/decoder_inversion.yaml --data.root PHOTOS
#SBATCH --job-name=decinv
#SBATCH --ntasks=1
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue             # after a preemption or a node's failure SLURM starts the job again
#SBATCH --open-mode=append    # a job that starts again keeps its log
#SBATCH --signal=USR1@120     # two minutes before the time is up: the running chunk is dropped, the rest is safe
#SBATCH --output=%x-%A_%a.log
set -u
run=${1:?name the run directory}
shift

# The numbers of the array must begin at 0.
srun python main.py fit "$@" --data.shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --out "$run"
status=$?

# 138 and 143: ended by SIGUSR1 or SIGTERM. The next start skips what is done. 3: done, but some images failed.
case $status in
    138 | 143) scontrol requeue "$SLURM_JOB_ID" ;;
    3) status=0 ;; # no reason to keep the merging job from starting; results.csv names the images
esac
exit "$status"
