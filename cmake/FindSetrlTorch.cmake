# LibTorch from the `torch` wheel or any LibTorch folder, without find_package(Torch), which asks for a CUDA toolkit.
# Input:  SETRL_TORCH (cache or environment): the folder that holds include/ and lib/libtorch_cpu.so.
# Output: target setrl::torch.
set(SETRL_TORCH "$ENV{SETRL_TORCH}" CACHE PATH "Folder of LibTorch (holds include/ and lib/)")
if(NOT SETRL_TORCH)
  set(SETRL_TORCH "${PROJECT_SOURCE_DIR}/.venv/libtorch/torch")
endif()
find_library(SETRL_TORCH_CPU torch_cpu PATHS "${SETRL_TORCH}/lib" NO_DEFAULT_PATH)
find_library(SETRL_TORCH_C10 c10 PATHS "${SETRL_TORCH}/lib" NO_DEFAULT_PATH)
find_path(SETRL_TORCH_INCLUDE ATen/ATen.h PATHS "${SETRL_TORCH}/include" NO_DEFAULT_PATH)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  SetrlTorch
  REQUIRED_VARS SETRL_TORCH_CPU SETRL_TORCH_C10 SETRL_TORCH_INCLUDE
  REASON_FAILURE_MESSAGE "run launch/setup.sh, or set SETRL_TORCH to a folder with LibTorch 2.11")
if(SetrlTorch_FOUND AND NOT TARGET setrl::torch)
  get_filename_component(setrl_torch_lib_dir "${SETRL_TORCH_CPU}" DIRECTORY)
  add_library(setrl_torch INTERFACE)
  add_library(setrl::torch ALIAS setrl_torch)
  # Searched last: the folder holds a newer copy of fmt, whose functions the system's library does not have.
  target_compile_options(
    setrl_torch INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${SETRL_TORCH_INCLUDE}>"
                          "$<$<COMPILE_LANGUAGE:CXX>:SHELL:-idirafter ${SETRL_TORCH_INCLUDE}/torch/csrc/api/include>")
  target_link_libraries(
    setrl_torch INTERFACE OpenMP::OpenMP_CXX "${SETRL_TORCH_CPU}" "${SETRL_TORCH_C10}" "-Wl,-rpath,${setrl_torch_lib_dir}"
                          "-Wl,--allow-shlib-undefined")
endif()
