#!/usr/bin/env bash
# Sets the machine up, builds, and runs every test.
#   launch/test.sh [ctest arguments, such as -R text or -L unit]
# SETRL_DATA=DIR  real data for the tests that need it (default ../shared/data)
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
"$root/launch/setup.sh" --tests
[[ -z ${SETRL_DATA:-} ]] || configure  # the build folder remembers where the data are
say "testing"
# Many tests wait most of their time, for deadlines and for each other's ranks: twice as many as there are cores.
ctest --test-dir "$build" --output-on-failure -j $((2 * $(nproc))) "$@"
