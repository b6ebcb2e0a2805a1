# setrl_test(NAME module.thing SOURCES file... USES module... [TORCH] [RANKS n...] [LABELS label...] [TIMEOUT seconds]
#            [PROCESSORS n] [LINK external...])
# One GoogleTest program. Without RANKS it runs in one process with the stock main. With RANKS it is linked to the MPI main
# (tests/support) and run under mpirun once for each count, as module.thing.ranksN.
# Tests see the environment: SETRL_DATA, SETRL_FIXTURES (tests/fixtures), SETRL_SOURCE_DIR, SETRL_BINARY_DIR.
set(setrl_test_data "$ENV{SETRL_DATA}")
if(NOT setrl_test_data)
  set(setrl_test_data "${PROJECT_SOURCE_DIR}/../shared/data")
endif()

function(setrl_test)
  cmake_parse_arguments(arg "TORCH" "NAME;TIMEOUT;PROCESSORS" "SOURCES;USES;RANKS;LABELS;LINK" ${ARGN})
  string(REPLACE "." "_" target "test_${arg_NAME}")
  add_executable(${target} ${arg_SOURCES})
  target_link_libraries(${target} PRIVATE setrl_warnings GTest::gtest GTest::gmock ${arg_LINK})
  foreach(module IN LISTS arg_USES)
    target_link_libraries(${target} PRIVATE setrl_${module})
  endforeach()
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
  if(arg_TORCH)
    setrl_use_torch(${target})
  else()
    target_compile_options(${target} PRIVATE -O0)  # half the compile time; the modules they test are optimised
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  if(NOT arg_PROCESSORS)
    set(arg_PROCESSORS 1)
  endif()
  set(environment
      "SETRL_DATA=${setrl_test_data}" "SETRL_FIXTURES=${PROJECT_SOURCE_DIR}/tests/fixtures" "SETRL_SOURCE_DIR=${PROJECT_SOURCE_DIR}"
      "SETRL_BINARY_DIR=${PROJECT_BINARY_DIR}" "OMPI_ALLOW_RUN_AS_ROOT=1" "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
      "OMPI_MCA_rmaps_base_oversubscribe=1" "OMPI_MCA_btl_vader_single_copy_mechanism=none" "OMP_NUM_THREADS=2")
  if(arg_RANKS)
    target_link_libraries(${target} PRIVATE setrl_mpi_main)
    foreach(ranks IN LISTS arg_RANKS)
      set(processors 1)
      if(ranks GREATER 2)
        set(processors 2)
      endif()
      add_test(NAME ${arg_NAME}.ranks${ranks} COMMAND ${MPIEXEC_EXECUTABLE} -n ${ranks} --bind-to none $<TARGET_FILE:${target}>)
      set_tests_properties(
        ${arg_NAME}.ranks${ranks} PROPERTIES TIMEOUT ${arg_TIMEOUT} PROCESSORS ${processors} LABELS "mpi;${arg_LABELS}"
                                             ENVIRONMENT "${environment};OMP_NUM_THREADS=1")
    endforeach()
  else()
    target_link_libraries(${target} PRIVATE GTest::gtest_main)
    add_test(NAME ${arg_NAME} COMMAND ${target})
    set_tests_properties(
      ${arg_NAME} PROPERTIES TIMEOUT ${arg_TIMEOUT} PROCESSORS ${arg_PROCESSORS} LABELS "unit;${arg_LABELS}"
                             ENVIRONMENT "${environment}")
  endif()
endfunction()
