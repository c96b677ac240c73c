#!/usr/bin/env bash
# One trained network, every instruction set and thread count: the hash of all its codes must not change.
# Usage: [ISAS='AVX2 ...'] scripts/check_isa.sh BUILD_DIR [RUN ...]   (default: a short run of the tiny recipe)
set -eu
cd "$(dirname "$0")/.."
build=$1
shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if [ $# = 0 ]; then
    "$build/bitgrad" run experiments/recipes/tiny.yaml report.figures=false --out "$scratch/run" -q >/dev/null
    set -- "$scratch/run"
fi
failed=0
isas=${ISAS:-ALL AVX512_CORE_VNNI AVX512_CORE AVX2 SSE41}
for run in "$@"; do
    first=
    for isa in $isas; do
        for threads in 1 2; do
            hash=$(DNNL_MAX_CPU_ISA=$isa "$build/bitgrad" verify "$run" --hash --threads $threads | sed -n 's/^hash *//p')
            first=${first:-$hash}
            if [ -z "$hash" ] || [ "$hash" != "$first" ]; then
                echo "$run: $isa, $threads threads: ${hash:-no hash}, expected $first"
                failed=1
            fi
        done
    done
    echo "$run: $first: $isas, 1 and 2 threads"
done
exit $failed
