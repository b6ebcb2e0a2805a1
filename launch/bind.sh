#!/usr/bin/env bash
# One rank of a job: gives it its GPU and its cores, then becomes the program.
#   mpirun ... launch/bind.sh PROGRAM ARGUMENTS      srun ... launch/bind.sh PROGRAM ARGUMENTS
# SETRL_BIND=none   all cores that the rank may use (ranks of several roles on one node work in turn)
# SETRL_BIND=cores  the node's cores divided evenly among its ranks, in order; neighbours share a NUMA domain
# SETRL_BIND=print  as cores, and says so on standard error
set -euo pipefail
# The stop signal has no effect until the program listens to it (and none on this shell).
trap '' USR2
local_rank=${OMPI_COMM_WORLD_LOCAL_RANK:-${SLURM_LOCALID:-0}}
local_size=${OMPI_COMM_WORLD_LOCAL_SIZE:-${SETRL_RANKS_PER_NODE:-1}}
mode=${SETRL_BIND:-none}

# "0-3,8" -> one core a line.
expand() {
  local part
  for part in ${1//,/ }; do seq "${part%-*}" "${part#*-}"; done
}

# Allowed cores ordered by NUMA domain, so that a contiguous share stays within one where it can.
allowed_cores() {
  local allowed domain
  allowed=$(expand "$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)")
  {
    for domain in /sys/devices/system/node/node*/cpulist; do
      [[ -r $domain ]] && expand "$(< "$domain")"
    done
    echo "$allowed"
  } | awk 'NR == FNR { ok[$1] = 1; next } ($1 in ok) && !seen[$1]++' <(echo "$allowed") -
}

# The launcher's list (or all GPUs) holds the node's devices: this rank takes one. A node without GPUs must not keep
# the list that a heterogeneous job's first node has left in the environment.
if compgen -G '/dev/nvidia[0-9]*' > /dev/null; then
  IFS=, read -ra devices <<< "${CUDA_VISIBLE_DEVICES:-$(find /dev -maxdepth 1 -name 'nvidia[0-9]*' | sed 's/.*nvidia//' | sort -n | paste -sd, -)}"
  ((${#devices[@]} > 1)) && export CUDA_VISIBLE_DEVICES=${devices[local_rank % ${#devices[@]}]}
else
  unset CUDA_VISIBLE_DEVICES
fi

if [[ $mode == none ]] || ! command -v taskset > /dev/null; then
  exec "$@"
fi
mapfile -t cores < <(allowed_cores)
count=${#cores[@]}
first=$((count * local_rank / local_size))
last=$((count * (local_rank + 1) / local_size))
((last > first)) || last=$((first + 1)) # more ranks than cores
((last <= count)) || { first=$((local_rank % count)) last=$((first + 1)); }
list=$(printf '%s\n' "${cores[@]:first:last-first}" | paste -sd, -)
[[ $mode == print ]] && echo "local rank $local_rank of $local_size on $(hostname): cores $list, GPU ${CUDA_VISIBLE_DEVICES:-none}" >&2
exec taskset -c "$list" "$@"
