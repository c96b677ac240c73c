#!/usr/bin/env bash
# Runs every test of a build folder: the Criterion runner, the parser corpora, the command's transcripts.
# Passes only when each part ran at least one test, none failed, and no sanitizer wrote a report.
# The last line is "N passed, M failed" (", K skipped" when the CPU lacks a feature).
# Usage: scripts/run_tests.sh BUILD_DIR [--unit-only] [Criterion options, e.g. --filter 'grid*']
set -u
build=$1
shift
unit_only=
[ "${1:-}" = --unit-only ] && { unit_only=1; shift; }

scratch=$(mktemp -d)
# What is started here ends with the script. Signals are heeded in `wait`, not while a command runs.
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$scratch"' EXIT
trap 'exit 143' INT TERM
limited() { # seconds, command...
    timeout "$@" &
    wait $!
}
# Criterion forks a process per test: one at a time, and no OpenMP thread may spin while it waits.
export OMP_WAIT_POLICY=passive
export ASAN_OPTIONS="log_path=$scratch/asan:detect_leaks=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="log_path=$scratch/ubsan:print_stacktrace=1:${UBSAN_OPTIONS:-}"
export LSAN_OPTIONS="log_path=$scratch/lsan:${LSAN_OPTIONS:-}"

passed=0 failed=0 skipped=0

# The runner's tests are mostly of one thread: the other parts run beside it.
beside=()
[ -n "$unit_only" ] || beside=(corpus cli)
(
    trap 'kill $(jobs -p) 2>/dev/null' EXIT
    trap 'exit 143' TERM
    for part in "${beside[@]}"; do
        limited 2400 "scripts/run_${part}_tests.sh" "$build" >"$scratch/$part" 2>&1
        echo $? >"$scratch/$part.status"
    done
) &

limited 2400 "$build/run-tests" -j1 --verbose=1 "$@" >"$scratch/unit" 2>&1
status=$?
# The synthesis line: "[====] Synthesis: Tested: 12 | Passing: 11 | Failing: 1 | Crashing: 0"
line=$(grep -a 'Synthesis: Tested:' "$scratch/unit" | tail -n 1 | sed 's/\x1b\[[0-9;]*m//g')
number() { sed -n "s/.*$1: *\([0-9]*\).*/\1/p" <<<"$line"; }
tested=$(number Tested)
passing=$(number Passing)
# Criterion counts skipped tests nowhere; those that a filter leaves out are called disabled.
skips=$(grep -a '^\[SKIP\]' "$scratch/unit" | grep -avc 'Test is disabled')
if [ "${tested:-0}" -eq 0 ]; then
    cat "$scratch/unit"
    echo "unit: no test ran (exit $status)"
    failed=$((failed + 1))
else
    bad=$((tested - ${passing:-0}))
    if [ "$bad" -gt 0 ] || [ "$status" -ne 0 ]; then
        grep -avE '^\[(PASS|RUN |SKIP)\]|^\[====\] Running' "$scratch/unit"
        echo "reproduce: $build/run-tests -j1 --filter 'SUITE/TEST'"
        [ "$bad" -gt 0 ] || bad=1
    fi
    echo "unit: $passing passed, $bad failed, $skips skipped"
    passed=$((passed + passing)) failed=$((failed + bad)) skipped=$((skipped + skips))
fi

wait
for part in "${beside[@]}"; do
    status=$(cat "$scratch/$part.status")
    line=$(grep -a "^$part: " "$scratch/$part" | tail -n 1)
    ok=$(sed -n 's/.*: \([0-9]*\) passed.*/\1/p' <<<"$line")
    bad=$(sed -n 's/.* \([0-9]*\) failed.*/\1/p' <<<"$line")
    if [ "${ok:-0}" -eq 0 ] || [ "${bad:-1}" -ne 0 ] || [ "$status" -ne 0 ]; then
        cat "$scratch/$part"
        [ "${bad:-0}" -gt 0 ] || bad=1
    fi
    echo "$part: ${ok:-0} passed, $bad failed"
    passed=$((passed + ${ok:-0})) failed=$((failed + bad))
done

for report in "$scratch"/asan.* "$scratch"/ubsan.* "$scratch"/lsan.*; do
    [ -s "$report" ] || continue
    head -n 40 "$report"
    failed=$((failed + 1))
done

if [ "$skipped" -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
