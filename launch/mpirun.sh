#!/usr/bin/env bash
# A run over several hosts without a batch system: plain mpirun over ssh.
#   launch/mpirun.sh -n RANKS [-f HOSTFILE] COMMAND [--config FILE --section.key=value ...]
#   launch/mpirun.sh -n 8 -f hosts train --config configs/ddxplus_smollm2.cfg --run.resume=auto
# HOSTFILE: a line a host, "node1 slots=4"; every host sees this folder under the same path and lets ssh in without a
# password. Ranks fill the hosts in order: learners first, then rollouts, then verifiers.
# SETRL_MACHINE=FILE  description of a host (configs/machines/*.cfg): the plan is checked before anything starts
# SETRL_BIND          see launch/bind.sh
# SETRL_SSH           the remote shell (default ssh)
# SETRL_MPIRUN        further options of mpirun, such as "--mca btl_tcp_if_include eth0"
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$root/launch/run_checks.sh"
ranks='' hostfile=''
while getopts n:f: option; do
  case $option in
    n) ranks=$OPTARG ;;
    f) hostfile=$OPTARG ;;
    *) die "usage: launch/mpirun.sh -n RANKS [-f HOSTFILE] COMMAND [--section.key=value ...]" ;;
  esac
done
shift $((OPTIND - 1))
[[ $ranks =~ ^[1-9][0-9]*$ && $# -gt 0 ]] || die "usage: launch/mpirun.sh -n RANKS [-f HOSTFILE] COMMAND [--section.key=value ...]"
[[ -x $setrl ]] || die "$setrl is not built: run launch/setup.sh"
cd "$root"
hosts=1
launcher=(local_mpirun)
if [[ -n $hostfile ]]; then
  [[ -r $hostfile ]] || die "cannot read the host file $hostfile"
  mapfile -t names < <(awk '!/^[[:space:]]*(#|$)/ { print $1 }' "$hostfile")
  hosts=${#names[@]}
  ((hosts > 0)) || die "the host file $hostfile names no host"
  launcher=(mpirun --quiet --bind-to none --map-by slot --hostfile "$hostfile")
  [[ -n ${SETRL_SSH:-} ]] && launcher+=(--mca plm_rsh_agent "$SETRL_SSH")
fi
command=$1
shift
check_plan "$command" --plan.ranks="$ranks" --plan.nodes="$hosts" -- "$@"
if [[ $command == train || $command == sft ]]; then
  record_environment "$run_dir" "${names[*]:-$(hostname)}"
fi
# shellcheck disable=SC2206  # several options in one variable
extra=(${SETRL_MPIRUN:-})
"${launcher[@]}" -n "$ranks" -x SETRL_BIND "${extra[@]}" "$root/launch/bind.sh" "$setrl" "$command" "$@"
