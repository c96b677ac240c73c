#!/usr/bin/env bash
# A subset of the unit tests under valgrind (which hides AVX-512, so it also takes the AVX2 paths).
# Criterion stays green on valgrind errors, so the gate is the log files.
set -eu
build=${1:-build/debug}
filter=${2:-'@(mem|text|yaml|options|plan|npz|search|ranking|select|memory_plan|schedule)/*'}
make -j2 -s MODE=debug "$build/run-tests"
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
OMP_NUM_THREADS=1 valgrind --quiet --trace-children=yes --leak-check=full --errors-for-leak-kinds=definite \
    --log-file="$logs/vg.%p" "$build/run-tests" -j1 --filter "$filter" >"$logs/out" 2>&1 || {
    cat "$logs/out"
    exit 1
}
tested=$(grep -a 'Synthesis: Tested:' "$logs/out" | sed 's/\x1b\[[0-9;]*m//g; s/.*Tested: *\([0-9]*\).*/\1/')
[ "${tested:-0}" -gt 0 ] || { cat "$logs/out"; echo "valgrind: no test ran"; exit 1; }
for log in "$logs"/vg.*; do
    [ -s "$log" ] || continue
    cat "$log"
    echo "valgrind: errors; reproduce: valgrind --trace-children=yes $build/run-tests -j1 --filter '$filter'"
    exit 1
done
echo "valgrind: $tested tests clean"
