#!/usr/bin/env bash
# Gathers what the build for GPUs needs beside a compiler, CMake, ninja, CUDA and PyTorch into one folder, for a machine
# without network: the headers that the build really includes, the libraries with all that they load, and mpirun.
#   launch/bundle.sh [DIR]     on Debian 12 after `launch/setup.sh --tests`; DIR: a new folder (default bundle/)
# There, with the checkout and DIR copied (docs/gpu.md, "A machine without network"):
#   SETRL_BUNDLE=DIR launch/gpu_check.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
bundle=${1:-$root/bundle}
most_mb=60
libraries=/usr/lib/x86_64-linux-gnu
plugins=$libraries/openmpi/lib/openmpi3

# Debian packages whose headers, CMake and pkg-config files, and libraries are taken. Those of the compiler and of the C
# library belong to the other machine, as do LibTorch and CUDA.
packages=(libopenmpi-dev libhdf5-dev libhdf5-openmpi-dev libboost1.74-dev libboost-program-options1.74-dev libgtest-dev libgmock-dev nlohmann-json3-dev
  libspdlog-dev libfmt-dev libpcre2-dev libutf8proc-dev libseccomp-dev)
foreign=(libc6 libgcc-s1 libstdc++6 libgomp1)

[[ -e $build/.ninja_deps && -x $setrl ]] || die "there is no whole build in $build: run launch/setup.sh --tests first"
hdf5=serial
ldd "$setrl" | grep -q libhdf5_openmpi && hdf5=openmpi
[[ ! -e $bundle ]] || die "$bundle is there already: remove it, or name another folder"
mkdir -p "$bundle"
bundle=$(cd "$bundle" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Copies files (absolute paths on standard input) to their places below the bundle, links as links.
take() { tar --create --absolute-names --no-recursion --files-from - | tar --extract --absolute-names --transform "s,^/,$bundle/," --show-transformed-names; }

files_of() { dpkg -L "$@" | sort -u; }

# The libraries that programs and libraries load, except the foreign ones and LibTorch's.
closure() {
  ldd "$@" 2> /dev/null | awk '$2 == "=>" && $3 ~ /^\// {print $3} $1 ~ /^\// && NF == 2 {print $1}' | grep -v "^$root/" | xargs -r realpath | sort -u |
    grep -vxFf <(files_of "${foreign[@]}" | xargs -r realpath -q)
}

# The file behind a library's name and every link to it in its folder.
with_links() {
  local file
  while read -r file; do
    find "$(dirname "$file")" -maxdepth 1 \( -samefile "$file" -o -lname "$(basename "$file")" \)
    find "$(dirname "$file")" -maxdepth 1 -type l -name "$(basename "$file" | sed 's/\.so.*/.so*/')"
  done | sort -u
}

say "gathering headers"
ninja -C "$build" -t deps | sed -n 's/^ *\(\/[^:]*\)$/\1/p' | xargs -r realpath -q --no-symlinks | sort -u > "$scratch/included"
files_of "${packages[@]}" > "$scratch/offered"
{
  comm -12 "$scratch/included" "$scratch/offered"
  grep -E "^/usr/include/g(test|mock)/" "$scratch/offered"
  grep -E '/(cmake/.*|pkgconfig/[^/]*\.pc)$' "$scratch/offered" | grep -vE "/cmake/boost_" || true
  grep -E "/cmake/boost_(headers|program_options)-" "$scratch/offered"
  dpkg -L libopenmpi-dev openmpi-bin openmpi-common 2> /dev/null | grep -E '^/(usr/share|etc)/openmpi/'
} > "$scratch/files"

say "gathering libraries"
mapfile -t cores < <(closure "$setrl" /usr/bin/orterun /usr/bin/orted)
pmix=$(realpath "$libraries/libpmix.so.2" 2> /dev/null || realpath "$libraries/pmix2/lib/libpmix.so.2")
mapfile -t pmix_libraries < <(closure "$pmix")
printf '%s\n' "${cores[@]}" "$pmix" "${pmix_libraries[@]}" | sort -u > "$scratch/libraries"
# Plugins of Open MPI and PMIx that load nothing else: shared memory, TCP, ssh; not the networks' own libraries.
for plugin in "$plugins"/*.so "$libraries"/pmix2/lib/pmix/*.so; do
  [[ -n $(closure "$plugin" | comm -23 - "$scratch/libraries") ]] || echo "$plugin" >> "$scratch/files"
done
{
  with_links < "$scratch/libraries"
  find "$libraries" -maxdepth 1 \( -name 'libgtest*.a' -o -name 'libgmock*.a' \)
  printf '%s\n' "$libraries"/lib{boost_program_options,fmt,spdlog,pcre2-8,utf8proc,seccomp,mpi,"hdf5_$hdf5"}.so
  ls -d "$libraries"/openmpi/lib/libmpi.so "$libraries"/hdf5/$hdf5/libhdf5.so 2> /dev/null || true
  printf '%s\n' /usr/bin/orterun /usr/bin/orted /usr/bin/pkgconf
  closure /usr/bin/pkgconf | with_links
} >> "$scratch/files"
sort -u "$scratch/files" | take
ln -s orterun "$bundle/usr/bin/mpirun"
ln -s orterun "$bundle/usr/bin/mpiexec"
ln -s pkgconf "$bundle/usr/bin/pkg-config"

# What the build and mpirun have to be told, since nothing lies where it was made for.
printf 'bundle_hdf5=%s\n' "$hdf5" > "$bundle/env.sh"
cat >> "$bundle/env.sh" << 'END'
# shellcheck shell=bash
# Sourced by launch/common.sh where SETRL_BUNDLE names this folder.
bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bundle_libraries=$bundle/usr/lib/x86_64-linux-gnu
export PATH=$bundle/usr/bin:$PATH
export LD_LIBRARY_PATH=$bundle_libraries:$bundle_libraries/openmpi/lib:$bundle_libraries/pmix2/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export CMAKE_PREFIX_PATH=$bundle/usr
export PKG_CONFIG_LIBDIR=$bundle_libraries/pkgconfig PKG_CONFIG_SYSROOT_DIR=$bundle
export OPAL_PREFIX=$bundle/usr OPAL_LIBDIR=$bundle_libraries/openmpi/lib OPAL_PKGLIBDIR=$bundle_libraries/openmpi/lib/openmpi3
export OPAL_DATADIR=$bundle/usr/share OPAL_PKGDATADIR=$bundle/usr/share/openmpi OPAL_SYSCONFDIR=$bundle/etc/openmpi
export PMIX_INSTALL_PREFIX=$bundle_libraries/pmix2 PMIX_PKGLIBDIR=$bundle_libraries/pmix2/lib/pmix
export OMPI_MCA_plm_rsh_agent=${OMPI_MCA_plm_rsh_agent:-/bin/false}  # one host; there may be no ssh
bundle_options=(
  "-DMPI_CXX_SKIP_MPICXX=ON" "-DMPI_CXX_LIB_NAMES=mpi" "-DMPI_mpi_LIBRARY=$bundle_libraries/openmpi/lib/libmpi.so"
  "-DMPI_CXX_HEADER_DIR=$bundle_libraries/openmpi/include" "-DMPIEXEC_EXECUTABLE=$bundle/usr/bin/mpirun"
  "-DHDF5_ROOT=$bundle/usr" "-DHDF5_C_INCLUDE_DIR=$bundle/usr/include/hdf5/$bundle_hdf5"
  "-DHDF5_hdf5_LIBRARY_RELEASE=$bundle_libraries/libhdf5_$bundle_hdf5.so"
)
END

glibc=$(find "$bundle" -name '*.so*' -type f -exec objdump -T {} + 2> /dev/null | grep -oE 'GLIBC_2\.[0-9]+' | sort -Vu | tail -n 1)
size_mb=$(du -sm "$bundle" | cut -f 1)
((size_mb <= most_mb)) || die "$bundle takes $size_mb MB, more than $most_mb"
say "$bundle: $size_mb MB; the other machine's C library must have ${glibc:-GLIBC_2.36}"
