# setrl_module(NAME [TORCH] [USES module...] [LINK external...])
# One static library a module, named setrl_NAME, from every .cpp in its folder. USES is the list of allowed module
# dependencies (base is implied); tests/house/dependencies_check.py compares it with the #include lines.
# TORCH adds LibTorch and the shared precompiled header.
function(setrl_module name)
  cmake_parse_arguments(arg "TORCH" "" "USES;LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  add_library(setrl_${name} STATIC ${sources})
  target_include_directories(setrl_${name} PUBLIC "${PROJECT_SOURCE_DIR}/src")
  target_link_libraries(setrl_${name} PRIVATE setrl_warnings)
  if(NOT name STREQUAL "base")
    target_link_libraries(setrl_${name} PUBLIC setrl_base)
  endif()
  foreach(module IN LISTS arg_USES)
    target_link_libraries(setrl_${name} PUBLIC setrl_${module})
  endforeach()
  target_link_libraries(setrl_${name} PUBLIC ${arg_LINK})
  if(arg_TORCH)
    setrl_use_torch(setrl_${name})
  endif()
endfunction()

# LibTorch and its precompiled header (made once, in setrl_torch_pch) for a target.
function(setrl_use_torch target)
  target_link_libraries(${target} PUBLIC setrl::torch)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")
    # The precompiled header was made with -fPIC; CMake would give executables -fPIE, for which it is not valid.
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${target} PRIVATE -fPIC)
  endif()
  target_precompile_headers(${target} REUSE_FROM setrl_torch_pch)
  # The header is made with -fPIC; CMake compiles programs with -fPIE, and GCC refuses the header then.
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "EXECUTABLE")
    target_compile_options(${target} PRIVATE -fPIC)
  endif()
endfunction()
