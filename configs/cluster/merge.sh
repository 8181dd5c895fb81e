#!/bin/bash
# Put the tables of all processes together into RUN/results.csv, once they have ended.
#   sbatch --dependency=afterok:JOB configs/cluster/merge.sh RUN
#SBATCH --job-name=decinv-merge
#SBATCH --ntasks=1
#SBATCH --time=00:30:00
#SBATCH --output=%x-%j.log
set -u
python -m decinv.runs "${1:?name the run directory}"
