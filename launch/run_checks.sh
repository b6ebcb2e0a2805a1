# shellcheck shell=bash disable=SC2034,SC2154
# Sourced after common.sh: what is looked at before a run starts, and what is written down about it.

# check_plan COMMAND PLAN_OPTIONS... -- RUN_OPTIONS...
# Asks `setrl plan` about the run; sets run_dir, model_path and task_path. Where SETRL_MACHINE names a machine's
# description a misfit ends the script with code 2; without one only the options are checked. SETRL_PLAN: more options.
check_plan() {
  local command=$1 plan_options=() facts
  shift
  while [[ $1 != -- ]]; do
    plan_options+=("$1")
    shift
  done
  shift
  [[ $command == sft ]] && plan_options=() # every rank learns: the roles' plan does not apply
  if [[ -n ${SETRL_MACHINE:-} && $command == train ]]; then
    # shellcheck disable=SC2206  # several options in one variable
    plan_options+=(--plan.machine="$SETRL_MACHINE" ${SETRL_PLAN:-})
    "$setrl" plan --plan.check "${plan_options[@]}" "$@" || exit 2
  fi
  facts=$("$setrl" plan --plan.json "${plan_options[@]}" "$@") || exit 2
  run_dir=$(sed -n 's/^  "run_dir": "\(.*\)",\{0,1\}$/\1/p' <<< "$facts")
  model_path=$(sed -n 's/^  "model_path": "\(.*\)",\{0,1\}$/\1/p' <<< "$facts")
  task_path=$(sed -n 's/^  "task_path": "\(.*\)",\{0,1\}$/\1/p' <<< "$facts")
}

# record_environment RUN_DIR HOSTS: what somebody needs who asks later how this run was made. Only variables of the
# launchers and libraries are kept, nothing personal.
record_environment() {
  local file
  mkdir -p "$1/logs" || die "cannot make the folder $1/logs"
  file=$1/logs/environment-${SLURM_JOB_ID:-$(date +%Y%m%d-%H%M%S)}-${SLURM_RESTART_COUNT:-0}.txt
  {
    echo "date      $(date '+%F %T %Z')"
    echo "hosts     $2"
    echo "program   $("$setrl" --version)"
    echo "commit    $(git -C "$root" describe --always --dirty 2> /dev/null || echo unknown)"
    echo "mpi       $(mpirun --version 2> /dev/null | head -n 1)"
    echo "kernel    $(uname -sr)"
    echo "cpu       $(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores"
    echo "gpus      $(nvidia-smi -L 2> /dev/null | wc -l)"
    echo "limits    memlock $(ulimit -l), open files $(ulimit -n), stack $(ulimit -s)"
    echo "variables"
    env | grep -E '^(SLURM|OMPI|PMIX|UCX|NCCL|OMP|MKL|SETRL|CUDA_VISIBLE)' | grep -viE 'token|secret|password|_key' | sort | sed 's/^/  /'
    # Last, as its success stands for the whole: of the line above even "nothing found" is fine.
    echo "modules   ${LOADEDMODULES:-none}"
  } > "$file" || die "cannot write $file: is the disk full?"
}

# newest_step RUN_DIR: step of the newest whole checkpoint, or 0.
newest_step() {
  local newest=0 mark step
  for mark in "$1"/checkpoints/step-*[0-9]/DONE; do
    [[ -e $mark ]] || continue
    step=${mark%/DONE}
    step=$((10#${step##*step-}))
    ((step > newest)) && newest=$step
  done
  echo "$newest"
}

# lead_seconds RUN_DIR FALLBACK: how long before the end of the allocation the ranks must be told: they finish the step
# in progress and save. Twice the longest step and three times the longest save of the last 50 steps, and half a minute.
lead_seconds() {
  local metrics=$1/metrics.jsonl
  [[ -s $metrics ]] || {
    echo "$2"
    return
  }
  tail -n 50 "$metrics" | awk -v fallback="$2" '
    function value(key,   at) {
      at = index($0, "\"" key "\":")
      return at ? substr($0, at + length(key) + 3) + 0 : 0
    }
    { if (value("step_s") > step) step = value("step_s"); if (value("checkpoint_s") > save) save = value("checkpoint_s") }
    END { lead = 2 * step + 3 * save + 30; print (step > 0 ? int(lead) + 1 : fallback) }'
}
