#!/usr/bin/env bash
# What is trained is what ships: every network at uniform 8, 4 and 2 bits and in mixed bits, trained a
# few epochs on Fashion-MNIST, its integers compared with the independent judge on all test images.
# One row a run into OUT/integers.tsv; runs that are finished are not repeated, killed ones go on.
#   scripts/check_integers.sh BUILD [OUT] [NETWORK ...]
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/release}
out=${2:-runs/integers}
shift $(($# < 2 ? $# : 2))
networks=${*:-mlp lenet5 resnet20 vgg-small mobilenet-small}
recipe=experiments/recipes/integers.yaml
tsv=$out/integers.tsv

network_keys() {
    case $1 in
    resnet20) echo "network.name=resnet network.depth=20" ;;
    *) echo "network.name=$1" ;;
    esac
}

# Widths that differ from layer to layer. Layers that read one tensor (a residual block's first
# convolution and its shortcut) have the same activation bits.
mix_bits() {
    awk '/^requant/ { print; next }
         { split("8 4 3 5 2 6 1 7", w, " "); split("8 5 6 4 7 3", a, " ")
           width = $1 ~ /shortcut|b1\.conv1/ ? 8 : a[n % 6 + 1]
           printf "%s  w=s%d/channel  a=u%d  g=f32  dw=f32  u=sgd\n", $1, w[n % 8 + 1], width; n++ }' "$1"
}

# Key of one of the objects at the top of a result.json.
field() { # file, object, key
    sed -n "/^  \"$2\": {/,/^  }/s/^ *\"$3\": \"\{0,1\}\([^\",]*\).*/\1/p" "$1"
}

add_row() { # run, network, bits
    local result=$1/result.json row="$2	$3"
    for at in accuracy:fp32 accuracy:integer integer:images integer:outputs integer:differ \
        integer:mistrusted integer:hash; do
        row="$row	$(field "$result" "${at%:*}" "${at#*:}")"
    done
    echo "$row" >>"$tsv"
}

mkdir -p "$out"
[ -f "$tsv" ] || echo 'network	bits	fp32	integer	images	outputs	differ	mistrusted	hash' >"$tsv"
for network in $networks; do
    keys=$(network_keys "$network")
    # shellcheck disable=SC2086 # keys are words
    "$build/bitgrad" run "$recipe" $keys 'stages=[train]' --out "$out/$network-f32" --quiet
    for bits in 8 4 2 mixed; do
        dir=$out/$network-$bits
        grep -q "^$network	$bits	" "$tsv" && continue
        bits_keys="select.second_bits=$bits select.activation_bits=$bits"
        if [ "$bits" = mixed ]; then
            mix_bits "$out/$network-8/plan.txt" >"$out/$network-mixed.txt"
            bits_keys="select.plan=$out/$network-mixed.txt"
        fi
        # shellcheck disable=SC2086
        "$build/bitgrad" run "$recipe" $keys $bits_keys "weights=$out/$network-f32/checkpoint-train.h5" \
            'stages=[select,finetune,evaluate,verify,report]' report.figures=false --out "$dir" --quiet
        add_row "$dir" "$network" "$bits"
    done
done
column -t -s '	' "$tsv" | cut -c1-100
awk -F '\t' 'NR > 1 && ($7 != 0 || $8 != 0) { bad++ } END { exit bad > 0 }' "$tsv"
