#!/usr/bin/env bash
# The exported integers of a small run in each requantisation mode, computed again by scripts/replay.py from the file
# alone, as .npz and as .h5. Needs /usr/bin/python3 with NumPy and h5py, so it is not part of `make test`.
# Usage: scripts/check_replay.sh BUILD_DIR [RECIPE [key.path=value ...]]   (default: experiments/recipes/tiny.yaml)
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
shift
given=$#
[ $given -gt 0 ] || set -- "$root/experiments/recipes/tiny.yaml"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

replay() { # file
    local said
    said=$(cd "$scratch" && /usr/bin/python3 "$root/scripts/replay.py" "$1") || failed=1
    tail -n 1 <<<"$said"
    grep -v ', 0 differ$' <<<"$said" | sed 's/^/  /' || true
}

# Adds of codes, concat, groups, dilation, both activations, every pool, tensors with negative values.
branches='network={layers: [{conv: {name: a, out: 8, kernel: 3, padding: 1}}, {batch-norm: {}}, {relu6: {name: ar}},
  {conv: {name: b, out: 8, kernel: 3, padding: 2, dilation: 2, groups: 8}}, {batch-norm: {name: bn}},
  {add: {name: sum, from: [bn, ar]}}, {conv: {name: c, out: 6, kernel: 3, stride: 2, padding: 1, groups: 2}},
  {relu: {name: cr}}, {avg-pool: {name: down, kernel: 2, from: sum}}, {concat: {from: [cr, down]}},
  {max-pool: {kernel: 3, stride: 1, padding: 1}}, {global-pool: {}}, {linear: {out: 4}}]}'

# name, then what else the command line says
check() {
    local name=$1 format
    shift
    "$build/bitgrad" run "$@" report.figures=false --out "$scratch/$name" -q >/dev/null
    for format in npz h5; do
        "$build/bitgrad" export "$scratch/$name" --format $format --out "$scratch/$name.$format" >/dev/null
        replay "$name.$format"
    done
}

for mode in f32-rne fixed-single fixed-double pow2-rne; do
    check $mode "$@" quantize.requant=$mode
    [ "$given" -gt 0 ] || check branches-$mode "$@" quantize.requant=$mode "$branches"
done

# A file that was tampered with must be noticed, or the above says nothing.
cp "$scratch/f32-rne.h5" "$scratch/damaged.h5"
/usr/bin/python3 - "$scratch/damaged.h5" <<'PYTHON'
import h5py, json, sys
with h5py.File(sys.argv[1], "r+") as file:
    model = json.loads(file["model"][()].tobytes())
    weights = file[next(t["weights"] for s in model["steps"] for t in s.get("terms", []) if "weights" in t)]
    weights[...] = -weights[...]
PYTHON
said=$(/usr/bin/python3 "$root/scripts/replay.py" "$scratch/damaged.h5" || true)
if ! tail -n 1 <<<"$said" | grep -qE ', [1-9][0-9]* differ$'; then
    echo "other weights were not noticed"
    failed=1
fi
[ $failed -eq 0 ] && echo "replay: equal" || echo "replay: FAILED"
exit $failed
