#!/usr/bin/env bash
# Does fast training train as well as exact training? ResNet-20 in 8-bit weights and activations, three
# epochs from scratch on Fashion-MNIST, both computes, paired by seed. One row a run into
# OUT/fast.tsv; runs that are finished are not repeated, killed ones go on.
#   scripts/check_fast.sh BUILD [OUT] [SEED ...]
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/release}
out=${2:-runs/fast}
shift $(($# < 2 ? $# : 2))
seeds=${*:-1 2 3}
tsv=$out/fast.tsv

mkdir -p "$out"
[ -f "$tsv" ] || echo 'seed	compute	test	seconds' >"$tsv"
for seed in $seeds; do
    for compute in fast exact; do
        dir=$out/$compute-$seed
        grep -q "^$seed	$compute	" "$tsv" && continue
        "$build/bitgrad" run experiments/recipes/resnet20-w8a8.yaml "seed=$seed" "compute=$compute" train.epochs=3 \
            'stages=[train,evaluate,report]' report.figures=false --out "$dir" --quiet >/dev/null
        test=$(sed -n 's/^    "quantized": \(0\.[0-9]*\).*/\1/p' "$dir/result.json" | head -n 1)
        seconds=$(awk -F '\t' '$1 == "train" && $2 >= 0 { sum += $3 } END { print sum }' "$dir/timing.tsv")
        echo "$seed	$compute	$test	$seconds" >>"$tsv"
    done
done
column -t -s '	' "$tsv"
awk -F '\t' 'NR > 1 { sum[$2] += $3; n[$2]++ }
             END { fast = 100 * sum["fast"] / n["fast"]; exact = 100 * sum["exact"] / n["exact"]
                   printf "mean test accuracy: fast %.2f %%, exact %.2f %%, difference %.2f points\n", fast, exact, fast - exact
                   exit (fast - exact > 0.3 || exact - fast > 0.3) }' "$tsv"
