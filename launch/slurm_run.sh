#!/usr/bin/env bash
# The body of every job script in slurm/: checks, srun, signal, requeue, resume.
#   exec launch/slurm_run.sh COMMAND [--config FILE --section.key=value ...]     inside of an sbatch script
# A heterogeneous job's components are learner, rollout, verifier, in this order; of any other job the ranks are divided
# as --topology.* says. Exit code: that of the program.
# SETRL_MACHINE=FILE     description of a node: `setrl plan --check` must pass; SETRL_PLAN="..." are options for it alone
# SETRL_STALLS=N         starts from the same checkpoint that are allowed before the job is no longer requeued (3)
# SETRL_LEAD=SECONDS     when to stop before the time limit, until it is known from measured steps (120)
# SETRL_RANKS=N          ranks, where fewer than the allocation's tasks are wanted
# SETRL_SRUN="..."       further options of srun, such as a container
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$root/launch/run_checks.sh"
cd "$root"
[[ -n ${SLURM_JOB_ID:-} ]] || die "not inside of a SLURM job: sbatch a script of slurm/, or use launch/mpirun.sh"
[[ $# -gt 0 ]] || die "usage: launch/slurm_run.sh COMMAND [--section.key=value ...]"
[[ -x $setrl ]] || die "$setrl is not built: run launch/setup.sh on a login node, or set SETRL_BUILD"
command=$1
shift

requeue() {
  # By the number that names the whole job: of a heterogeneous one its first component's, of an array's task its own.
  scontrol requeue "${SLURM_HET_JOB_ID:-$SLURM_JOB_ID}" || return
  sleep 60 # until SLURM ends this start
}
trap 'say "signal before the ranks have started: requeueing"; requeue; exit 75' USR1

# Sizes, from SLURM alone.
groups=${SLURM_HET_SIZE:-1}
nodes_of=() ranks_of=()
for ((g = 0; g < groups; g++)); do
  suffix=''
  ((groups > 1)) && suffix=_HET_GROUP_$g
  nodes=SLURM_JOB_NUM_NODES$suffix per_node=SLURM_NTASKS_PER_NODE$suffix ranks=SLURM_NTASKS$suffix
  nodes_of[g]=${!nodes}
  if [[ -n ${!per_node:-} ]]; then
    ranks_of[g]=$((nodes_of[g] * ${!per_node}))
  else
    ranks_of[g]=${!ranks:-${nodes_of[g]}}
  fi
done
case $groups in
  1)
    topology=()
    ranks_of[0]=${SETRL_RANKS:-${ranks_of[0]}}
    total=${ranks_of[0]} nodes=${nodes_of[0]}
    ;;
  3)
    topology=(--topology.learner="${ranks_of[0]}" --topology.rollout="${ranks_of[1]}" --topology.verifier="${ranks_of[2]}")
    total=$((ranks_of[0] + ranks_of[1] + ranks_of[2]))
    # The plan lays ranks out node by node; the learners' nodes set the pace.
    nodes=$(((total * nodes_of[0] + ranks_of[0] - 1) / ranks_of[0]))
    export SETRL_BIND=${SETRL_BIND:-cores}
    ;;
  *) die "a heterogeneous job has three components here: learner, rollout, verifier (this one has $groups)" ;;
esac

say "job $SLURM_JOB_ID, start $((${SLURM_RESTART_COUNT:-0} + 1)), $(date '+%F %T'): $total ranks"
per_node=$(((ranks_of[0] + nodes_of[0] - 1) / nodes_of[0]))
check_plan "$command" --plan.ranks="$total" --plan.nodes="$nodes" --plan.ranks_per_node="$per_node" -- "${topology[@]}" "$@"

# Every node must see the same run directory, model, data and program.
mkdir -p "$run_dir/logs" || die "cannot make the folder $run_dir/logs"
mark=$run_dir/logs/.seen-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}
echo x > "$mark" || die "cannot write into $run_dir: is the disk full or the folder read-only?"
[[ $model_path == random ]] && model_path=''
for ((g = 0; g < groups; g++)); do
  where=()
  ((groups > 1)) && where=(--het-group="$g")
  # shellcheck disable=SC2016  # expanded on the nodes
  env -u SLURM_NTASKS -u SLURM_NPROCS -u SLURM_NTASKS_PER_NODE srun "${where[@]}" --mpi=none --nodes="${nodes_of[g]}" --ntasks="${nodes_of[g]}" --ntasks-per-node=1 bash -c '
    for path; do
      [[ -z $path || -r $path ]] || { echo "error: node $(hostname) does not see $path" >&2; exit 2; }
    done' check "$mark" "$setrl" "$model_path" "$task_path" || {
    rm -f "$mark"
    die "the nodes of component $g do not share this folder, the model or the data: put them on a file system that all nodes mount"
  }
done
rm -f "$mark"
record_environment "$run_dir" "$(for ((g = 0; g < groups; g++)); do
  name=SLURM_JOB_NODELIST$( ((groups > 1)) && echo "_HET_GROUP_$g")
  printf '%s ' "${!name:-}"
done)"

# How often did this job start from where it starts now?
starts=$run_dir/logs/starts.txt
first_step=$(newest_step "$run_dir")
echo "$SLURM_JOB_ID ${SLURM_RESTART_COUNT:-0} $first_step $(date +%FT%T)" >> "$starts"
stalls=$(awk -v job="$SLURM_JOB_ID" -v step="$first_step" '$1 == job { n = $3 == step ? n + 1 : 0 } END { print n + 0 }' "$starts")
most=${SETRL_STALLS:-3}
((stalls <= most)) || die "no checkpoint was made in $most starts of this job (step $first_step): see $run_dir/logs; sbatch again when it is mended"

options=()
if [[ $command == train ]]; then
  case " $* " in *" --run.resume"*) ;; *) options+=(--run.resume=auto) ;; esac
fi
launcher=(srun --mpi=pmix --cpu-bind=none)
if ((groups > 1)); then
  launcher+=(--het-group="0-$((groups - 1))")
elif [[ -n ${SETRL_RANKS:-} ]]; then
  # The allocation's own count would only be warned about.
  unset SLURM_NTASKS_PER_NODE
  launcher+=(--ntasks="$SETRL_RANKS")
fi
# shellcheck disable=SC2206  # several options in one variable
launcher+=(${SETRL_SRUN:-})
export SETRL_RANKS_PER_NODE=$per_node

# USR1 comes from SLURM (--signal=B:USR1@...) or from the timer below; the ranks get USR2, once: a second one would end
# them at once. TERM comes from scancel, which tells the ranks itself.
told='' cancelled='' overdue='' pid='' started=0 postponed=''
# shellcheck disable=SC2317  # called by the trap
tell_ranks() {
  [[ -z $told && -n $pid ]] || return 0
  # With a short limit SLURM's warning may come at once, when the ranks do not listen yet.
  if ((SECONDS - started < 10)); then
    if [[ -z $postponed ]]; then
      postponed=1
      (sleep $((started + 11 - SECONDS)) && kill -USR1 $$) > /dev/null 2>&1 &
    fi
    return 0
  fi
  told=1
  say "the time is nearly over: telling the ranks to save"
  kill -USR2 "$pid" 2> /dev/null || true
}
# A start that reaches its limit is over for SLURM, and not requeued: better without what the ranks did since their last save.
# (srun has been seen to stay after all tasks of a heterogeneous job had ended.)
# shellcheck disable=SC2317  # called by the trap
leave_ranks() {
  [[ -n $pid ]] || return 0
  overdue=1
  say "$reserve s before the time limit srun has not ended: going on without it"
  kill -KILL "$pid" 2> /dev/null || true
}
trap tell_ranks USR1
trap leave_ranks ALRM
trap 'cancelled=1' TERM

"${launcher[@]}" "$root/launch/bind.sh" "$setrl" "$command" "${topology[@]}" "${options[@]}" "$@" 2> >(tee "$run_dir/logs/.stderr" >&2) &
pid=$! started=$SECONDS
lead=$(lead_seconds "$run_dir" "${SETRL_LEAD:-120}")
end=$(date -d "$(squeue -h -j "$SLURM_JOB_ID" -o %e | head -n 1)" +%s 2> /dev/null || echo 0)
timer=''
if [[ $command == train ]] && ((end > 0)); then
  left=$((end - $(date +%s)))
  # However long the lead, the ranks get a fifth of the time.
  ((lead > left * 4 / 5)) && lead=$((left * 4 / 5))
  reserve=$((lead / 5))
  say "the ranks will be told $lead s before the time limit, in $((left - lead)) s"
  # An inner shell ends with its sleep: a killed timer leaves nothing behind.
  (
    trap 'kill "$nap" 2> /dev/null; exit' TERM
    doze() {
      sleep "$1" > /dev/null 2>&1 &
      nap=$!
      wait "$nap"
    }
    doze $((left - lead)) && kill -USR1 $$ && doze $((lead - reserve)) && kill -ALRM $$
  ) &
  timer=$!
fi
code=0
while :; do
  code=0
  wait "$pid" || code=$?
  kill -0 "$pid" 2> /dev/null || break
done
if [[ -n $timer ]]; then
  kill "$timer" 2> /dev/null || true # it may have ended
fi
if [[ -n $overdue ]]; then
  code=75
else
  say "the program ended with code $code"
fi

# A rank that was killed from outside could not say why.
why=$run_dir/logs/why.txt
if ((code != 0 && code != 75)) && [[ ! -e $why && -z $cancelled ]]; then
  {
    echo "first cause"
    echo "$(date '+%F %T') no rank reported; srun ended with code $code$( ((code > 128)) && echo " (signal $((code - 128)))"). Its last lines:"
    tail -n 15 "$run_dir/logs/.stderr"
  } > "$why" 2> /dev/null || true
fi
[[ -e $why ]] && ((code != 0 && code != 75)) && sed 's/^/  /' "$why" >&2
rm -f "$run_dir/logs/.stderr"

[[ $command == train && -z $cancelled ]] || exit "$code"
case $code in
  0 | 2) exit "$code" ;;                   # done; or a mistake that a new start repeats
  140 | 143) exit "$code" ;;               # told twice, or ended by hand
  75) ;;                                   # saved, or left behind
  *) say "a rank was lost; see $why" ;;
esac
reached=$(newest_step "$run_dir")
if ((reached == first_step && stalls >= most)); then
  say "no checkpoint was made in $most starts (step $reached): the job is not requeued"
  exit "$code"
fi
say "requeueing from step $reached"
requeue
exit "$code"
