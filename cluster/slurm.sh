#!/usr/bin/env bash
# A search on Slurm: one Ray node on each machine of the job, the search on the first of them.
#   MLFLOW_TRACKING_URI=... sbatch cluster/slurm.sh encoder /shared/encoder-search /shared/cells [/shared/more ...]
# Submitted again after a time limit, it goes on. What must be there: ptsam-auto in the PATH of all machines, and a
# home and a /shared that all of them see. Your environment goes with the job, credentials too.
#SBATCH --job-name=ptsam-auto
#SBATCH --nodes=2
#SBATCH --exclusive
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --time=08:00:00
#SBATCH --export=ALL
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: sbatch slurm.sh SPACE OUT DATA [DATA ...]" >&2
    exit 2
fi
space=$1 out=$2
shift 2
data=()
for folder in "$@"; do data+=(--data "$folder"); done

export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
# All nodes of the cluster know one token; Ray answers to nobody else.
export RAY_AUTH_TOKEN_PATH="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
if [ ! -s "$RAY_AUTH_TOKEN_PATH" ]; then
    mkdir -p "$(dirname "$RAY_AUTH_TOKEN_PATH")"
    (umask 077 && python3 -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH")
fi

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))
# Starts Ray everywhere, runs the command on the head once all have joined, and stops Ray at its end: every Ray of
# yours on these machines, which is why the job has them to itself (--exclusive).
srun ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
    ptsam-auto search "$space" "${data[@]}" --out "$out" --address auto
