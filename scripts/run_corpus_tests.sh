#!/usr/bin/env bash
# Replays every parser's corpus (tests/fuzz/corpus/<target>/) through its fuzz target with a plain main:
# one test per target. A crash, a sanitizer report or an empty corpus fails.
# Usage: scripts/run_corpus_tests.sh BUILD_DIR
set -u
build=$1
passed=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for source in tests/fuzz/fuzz_*.c; do
    target=$(basename "$source" .c)
    corpus=tests/fuzz/corpus/${target#fuzz_}
    program=$build/$target
    count=$(find "$corpus" -type f 2>/dev/null | wc -l)
    if [ "$count" -eq 0 ]; then
        echo "$target: no corpus in $corpus"
        failed=$((failed + 1))
    elif timeout 120 "$program" "$corpus"/* >"$log" 2>&1; then
        passed=$((passed + 1))
    else
        tail -n 30 "$log"
        echo "reproduce: $program $corpus/*"
        failed=$((failed + 1))
    fi
done

echo "corpus: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
