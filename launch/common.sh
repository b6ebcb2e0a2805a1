# shellcheck shell=bash disable=SC2034
# Sourced by the scripts of this folder: paths, messages, and how mpirun is called on one machine.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${SETRL_BUILD:-$root/build}
setrl=$build/setrl
cuda=OFF
model_file=models/SmolLM2-135M-Instruct.Q4_1.gguf

say() { printf '\033[1m==\033[0m %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

# Libraries and headers brought along to a machine without network (launch/bundle.sh); LibTorch is that of its Python.
bundle_options=()
if [[ -n ${SETRL_BUNDLE:-} ]]; then
  # shellcheck source=/dev/null
  source "$SETRL_BUNDLE/env.sh" || die "SETRL_BUNDLE=$SETRL_BUNDLE is no folder of launch/bundle.sh"
  find_torch='import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])'
  export SETRL_TORCH=${SETRL_TORCH:-$(python3 -c "$find_torch" 2> /dev/null)}
  [[ -n $SETRL_TORCH ]] || die "python3 has no torch here: name a folder with LibTorch 2.11 in SETRL_TORCH"
fi

# From here on the build is the one for GPUs.
for_gpus() {
  cuda=ON
  build=${SETRL_BUILD:-$root/build-cuda}
  setrl=$build/setrl
}

# Makes or renews the build folder. Needs what launch/setup.sh --no-build brings.
configure() {
  say "configuring $build"
  cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSETRL_CUDA="$cuda" "${bundle_options[@]}" > "$build.log" 2>&1 || {
    cat "$build.log" >&2
    die "cmake failed"
  }
  mv "$build.log" "$build/configure.log"
}

# Builds the targets named; configures where that was not done.
# SETRL_JOBS: parallel compile jobs (default: cores).
build_targets() {
  [[ -e $build/build.ninja ]] || configure
  say "building"
  cmake --build "$build" -j "${SETRL_JOBS:-$(nproc)}" --target "$@" -- --quiet
}

# mpirun for ranks of one host: more ranks than cores are fine (idle ranks sleep), and containers may run it as root.
local_mpirun() {
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 \
    OMPI_MCA_btl_vader_single_copy_mechanism=${OMPI_MCA_btl_vader_single_copy_mechanism:-none} \
    mpirun --bind-to none --quiet "$@"
}

has_bfloat16() { grep -qwE 'avx512_bf16|amx_bf16' /proc/cpuinfo; }
