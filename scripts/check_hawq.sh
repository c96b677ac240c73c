#!/usr/bin/env bash
# Solves the 18 allocation problems of HAWQ-V3 with `bitgrad allocate` and compares every layer with the published bits.
# Inputs, answers and their source: experiments/recipes/hawq-v3/. The last line counts: as published, better, worse.
# Usage: scripts/check_hawq.sh [BUILD]
set -eu
export LC_ALL=C
bitgrad=${1:-build/release}/bitgrad
data=$(cd "$(dirname "$0")/.." && pwd)/experiments/recipes/hawq-v3
declare -A count=([published]=0 [better]=0 [worse]=0)
spent=0

printf '%-8s  %-10s  %-5s  %10s  %10s  %10s  %s\n' model constraint share objective cost budget 'against the published'
while read -r model constraint share budget bits; do
    case $model in '#'* | model) continue ;; esac
    table=$data/$model.tsv ties=()
    for layer in $(awk '$1 ~ /identity$/ && $2 == 8 { print $1 }' "$table"); do
        ties+=(--tie "${layer%identity}conv1,$layer")
    done
    start=$(date +%s%N)
    answer=$("$bitgrad" allocate --costs "$table" --budget "$constraint=$budget" "${ties[@]}")
    spent=$((spent + $(date +%s%N) - start))
    grep -q 'optimal (proven' <<<"$answer" || { echo "$model $constraint $share: not proven"; exit 1; }
    # The published bits beside ours: objectives from the table, and the layers that differ.
    row=$(awk -v bits="$bits" -v constraint="$constraint" '
        FNR == NR { if ($1 !~ /^#/ && $2 ~ /^[48]$/) penalty[$1, $2] = $3; next }
        $2 == 4 || $2 == 8 {
            theirs = substr(bits, ++n, 1)
            our_sum += penalty[$1, $2]; their_sum += penalty[$1, theirs]
            if (theirs != $2) differ = differ " " $1 "=" $2
        }
        $1 == constraint && NF >= 3 { total = $2; budget = $3 }
        END {
            word = differ == "" ? "published" : our_sum < their_sum ? "better" : "worse"
            printf "%s %.5f %.5f %.5f %.5f%s", word, our_sum, their_sum, total, budget, differ
        }' "$table" - <<<"$answer")
    read -r word ours theirs total limit differ <<<"$row"
    count[$word]=$((count[$word] + 1))
    [ "$word" = published ] && say='the same in every layer' || say="$word: $theirs published; here $differ"
    printf '%-8s  %-10s  %-5s  %10s  %10s  %10s  %s\n' "$model" "$constraint" "$share" "$ours" "$total" "$limit" "$say"
done <"$data/published.tsv"
echo "$((spent / 1000000)) ms for all runs of the command"
echo "${count[published]} as published, ${count[better]} better, ${count[worse]} worse"
[ "${count[worse]}" -eq 0 ]
