#!/usr/bin/env bash
# The prefetch thread under ThreadSanitizer: the whole command, built by clang (gcc's OpenMP runtime gives false
# reports), on the small synthetic recipe with one OpenMP thread. Criterion does not start under TSan.
set -eu
make -j2 -s MODE=tsan CC=clang-14 all
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export TSAN_OPTIONS="log_path=$scratch/tsan:exitcode=66"
build/tsan/bitgrad run experiments/recipes/tiny.yaml threads=1 data.prefetch=true report.figures=false \
    --out "$scratch/run" -q >"$scratch/out" || { cat "$scratch/out" "$scratch"/tsan.* 2>/dev/null; exit 1; }
for log in "$scratch"/tsan.*; do
    [ -s "$log" ] || continue
    head -n 60 "$log"
    exit 1
done
echo "tsan: clean"
