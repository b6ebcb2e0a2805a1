# shellcheck shell=bash disable=SC2034
# Sourced by the scripts of this folder: paths, messages, and how mpirun is called on one machine.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${SETRL_BUILD:-$root/build}
setrl=$build/setrl
model_file=models/SmolLM2-135M-Instruct.Q4_1.gguf

say() { printf '\033[1m==\033[0m %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

# mpirun for ranks of one host: more ranks than cores are fine (idle ranks sleep), and containers may run it as root.
local_mpirun() {
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 \
    OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none} \
    mpirun --bind-to none --quiet "$@"
}

has_bfloat16() { grep -qwE 'avx512_bf16|amx_bf16' /proc/cpuinfo; }
