# HDF5, by CMake's own module (HDF5_ROOT says where): its parallel build, by which several ranks write one file, or the
# serial one. A process holds one of them, never both; files and function calls are the same.
# Input:  SETRL_PARALLEL_HDF5: AUTO, the parallel build where it is installed; ON, it must be; OFF, the serial build, as
#         far as that is installed.
# Output: target setrl::hdf5, HDF5_IS_PARALLEL.
if(DEFINED setrl_hdf5_asked AND NOT "${SETRL_PARALLEL_HDF5}" STREQUAL "${setrl_hdf5_asked}")
  # What was found for the other answer is forgotten.
  get_cmake_property(setrl_cached CACHE_VARIABLES)
  list(FILTER setrl_cached INCLUDE REGEX "^HDF5_")
  list(REMOVE_ITEM setrl_cached HDF5_ROOT HDF5_DIR)
  foreach(variable IN LISTS setrl_cached)
    unset(${variable} CACHE)
  endforeach()
endif()
set(setrl_hdf5_asked "${SETRL_PARALLEL_HDF5}" CACHE INTERNAL "SETRL_PARALLEL_HDF5 of the last search")
set(HDF5_PREFER_PARALLEL ON)
if(SETRL_PARALLEL_HDF5 STREQUAL "OFF")
  set(HDF5_PREFER_PARALLEL OFF)
endif()
find_package(HDF5 COMPONENTS C)
set(setrl_hdf5_suits TRUE)
if(SETRL_PARALLEL_HDF5 STREQUAL "ON" AND NOT HDF5_IS_PARALLEL)
  set(setrl_hdf5_suits FALSE)
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  SetrlHdf5
  REQUIRED_VARS HDF5_FOUND setrl_hdf5_suits
  REASON_FAILURE_MESSAGE "SETRL_PARALLEL_HDF5=ON wants HDF5's parallel build (Debian: libhdf5-openmpi-dev), else libhdf5-dev does")
if(SetrlHdf5_FOUND AND NOT TARGET setrl::hdf5)
  add_library(setrl_hdf5 INTERFACE)
  add_library(setrl::hdf5 ALIAS setrl_hdf5)
  target_link_libraries(setrl_hdf5 INTERFACE hdf5::hdf5)
  if(HDF5_IS_PARALLEL)
    # Its hdf5.h includes mpi.h.
    target_link_libraries(setrl_hdf5 INTERFACE MPI::MPI_CXX)
  endif()
endif()
