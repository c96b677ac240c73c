#!/usr/bin/env bash
# Builds in the folder of MODE and runs all tests there: MODE=asan scripts/run_mode.sh
set -eu
: "${MODE:?set MODE to debug or asan}"
make -j2 -s MODE="$MODE" tests
scripts/run_tests.sh "build/$MODE"
