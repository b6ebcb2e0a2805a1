#!/usr/bin/env bash
# A scaling study: the same run with different numbers of ranks, one folder each, for tools/scaling_report.py.
#   slurm/scaling_study.sh [-k strong|weak] [-s "1 2 4 8"] [-p RANKS_PER_NODE] [-w PROMPTS] [-m] [-o "SBATCH OPTIONS"] DIR \
#                          --config FILE [--section.key=value ...]
#   -k strong  the same problems a step for every size (default); weak: PROMPTS for each rank
#   -s SIZES   rank counts (default "1 2 4 8"), ascending
#   -p N       ranks that one node takes (default 8): sizes up to N form one job array, larger ones a chain of jobs
#   -w N       problems of a step: in all (strong, default 16) or a rank (weak, default 4)
#   -m         plain mpirun on this machine, one size after the other, instead of sbatch
#   -o TEXT    further options of sbatch, such as "--partition=gpu --gres=gpu:8"
# Afterwards: tools/scaling_report.py DIR
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
kind=strong sizes='1 2 4 8' per_node=8 prompts='' local='' extra=()
usage() {
  sed -n '2,13s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}
while getopts k:s:p:w:o:m option; do
  case $option in
    k) kind=$OPTARG ;;
    s) sizes=$OPTARG ;;
    p) per_node=$OPTARG ;;
    w) prompts=$OPTARG ;;
    m) local=1 ;;
    o) read -ra extra <<< "$OPTARG" ;;
    *) usage ;;
  esac
done
shift $((OPTIND - 1))
[[ $# -gt 0 && $1 != -* && ($kind == strong || $kind == weak) ]] || usage
dir=$1
shift
[[ $dir == /* ]] || dir=$PWD/$dir
[[ -z $(compgen -G "$dir/ranks-*") ]] || { echo "error: $dir holds a study already; give another folder" >&2; exit 2; }
mkdir -p "$dir"
[[ -n $prompts ]] || { [[ $kind == strong ]] && prompts=16 || prompts=4; }
echo "$kind" > "$dir/kind.txt"

problems_of() { [[ $kind == strong ]] && echo "$prompts" || echo $((prompts * $1)); }

if [[ -n $local ]]; then
  for size in $sizes; do
    "$root/launch/mpirun.sh" -n "$size" train "$@" --task.prompts_per_step="$(problems_of "$size")" --run.dir="$dir/ranks-$size"
  done
  exit
fi

export SETRL_STUDY_DIR=$dir SETRL_ROOT=$root
submit() { # further sbatch options; prints the job's number
  sbatch --parsable --export=ALL "${extra[@]}" "$@"
}
cd "$root"
array_sizes='' array_prompts='' count=0 large=()
for size in $sizes; do
  if ((size <= per_node)); then
    array_sizes+="$size " array_prompts+="$(problems_of "$size") " count=$((count + 1))
  else
    large+=("$size")
  fi
done
previous=''
if ((count > 0)); then
  # One at a time: points that run side by side would measure each other.
  export SETRL_STUDY_SIZES=$array_sizes SETRL_STUDY_PROMPTS=$array_prompts
  previous=$(submit --nodes=1 --ntasks="$per_node" --array="0-$((count - 1))%1" --output="$dir/slurm-%A_%a.out" slurm/scaling_point.sh "$@")
  echo "$previous array of ${array_sizes% } ranks"
fi
for size in "${large[@]}"; do
  SETRL_STUDY_SIZES=$size SETRL_STUDY_PROMPTS=$(problems_of "$size")
  previous=$(submit --nodes=$(((size + per_node - 1) / per_node)) --ntasks="$size" ${previous:+--dependency=afterany:$previous} \
    --output="$dir/slurm-%j.out" slurm/scaling_point.sh "$@")
  echo "$previous $size ranks"
done
