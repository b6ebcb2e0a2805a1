# The CUDA runtime and NCCL: headers and libraries, from NVIDIA's wheels beside LibTorch (launch/setup.sh --cuda), from a
# CUDA toolkit, or from the system. SetrlCudaLanguage looks for the compiler.
# Input:  SETRL_TORCH (as of FindSetrlTorch), CUDA_HOME and NCCL_HOME (environment): searched first, in this order.
# Output: target setrl::gpu: the runtime, NCCL, and LibTorch's CUDA back end.
set(setrl_wheels "${SETRL_TORCH}/../nvidia")
set(setrl_cuda_hints "${setrl_wheels}/cu13" "$ENV{CUDA_HOME}" /usr/local/cuda)
set(setrl_nccl_hints "${setrl_wheels}/nccl" "$ENV{NCCL_HOME}" "$ENV{CUDA_HOME}" /usr/local/cuda)
find_path(SETRL_CUDA_INCLUDE cuda_runtime_api.h HINTS ${setrl_cuda_hints} PATH_SUFFIXES include)
find_path(SETRL_NCCL_INCLUDE nccl.h HINTS ${setrl_nccl_hints} PATH_SUFFIXES include)
find_library(SETRL_CUDART NAMES cudart libcudart.so.13 HINTS ${setrl_cuda_hints} PATH_SUFFIXES lib64 lib)
find_library(SETRL_NCCL NAMES nccl libnccl.so.2 HINTS ${setrl_nccl_hints} PATH_SUFFIXES lib64 lib)
find_library(SETRL_TORCH_CUDA torch_cuda PATHS "${SETRL_TORCH}/lib" NO_DEFAULT_PATH)
find_library(SETRL_C10_CUDA c10_cuda PATHS "${SETRL_TORCH}/lib" NO_DEFAULT_PATH)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  SetrlGpu
  REQUIRED_VARS SETRL_CUDA_INCLUDE SETRL_CUDART SETRL_NCCL_INCLUDE SETRL_NCCL SETRL_TORCH_CUDA SETRL_C10_CUDA
  REASON_FAILURE_MESSAGE "run launch/setup.sh --cuda, or set CUDA_HOME and NCCL_HOME (docs/gpu.md tells more)")
if(SetrlGpu_FOUND AND NOT TARGET setrl::gpu)
  add_library(setrl_gpu INTERFACE)
  add_library(setrl::gpu ALIAS setrl_gpu)
  target_include_directories(setrl_gpu SYSTEM INTERFACE "${SETRL_CUDA_INCLUDE}" "${SETRL_NCCL_INCLUDE}")
  get_filename_component(setrl_cudart_dir "${SETRL_CUDART}" DIRECTORY)
  get_filename_component(setrl_nccl_dir "${SETRL_NCCL}" DIRECTORY)
  # LibTorch's CUDA back end registers itself when it is loaded; nothing refers to it, so the linker would leave it out.
  # It needs libraries (cuDNN, cuFile, ...) that a machine that only builds does not have: they are not resolved here.
  target_link_libraries(
    setrl_gpu INTERFACE "${SETRL_CUDART}" "${SETRL_NCCL}" "-Wl,-rpath,${setrl_cudart_dir}" "-Wl,-rpath,${setrl_nccl_dir}"
                        "-Wl,--allow-shlib-undefined" "-Wl,--push-state,--no-as-needed" "${SETRL_TORCH_CUDA}"
                        "${SETRL_C10_CUDA}" "-Wl,--pop-state")
endif()
