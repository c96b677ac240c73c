#!/usr/bin/env bash
# A run that is killed with -9 in training, in the search, in fine-tuning and while a checkpoint is written, and
# goes on each time, must equal one that was not disturbed; so must two undisturbed runs of one seed.
# Usage: scripts/check_resume.sh BUILD_DIR [RECIPE [key.path=value ...]]   (default: experiments/recipes/resume.yaml)
set -eu
build=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- experiments/recipes/resume.yaml
export PATH="$build:$PATH"
# shellcheck source=tests/cli/helpers.bash
. tests/cli/helpers.bash
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

go() { bitgrad run "$@"; }
equal() { # name, folder, folder
    local said
    said=$(bitgrad diff "$2" "$3") || failed=1
    echo "$1: $said"
}

echo "undisturbed"
go "$@" --out "$scratch/whole" -q >/dev/null
echo "undisturbed, again"
go "$@" --out "$scratch/again" -q >/dev/null
equal "two runs of one seed" "$scratch/whole" "$scratch/again"
for pattern in 'train: epoch 1' 'select: 1 of' 'finetune: epoch 1'; do
    echo "killed after '$pattern'"
    kill_at "$pattern" bitgrad run "$@" --out "$scratch/cut" || true
done
go "$@" --out "$scratch/cut" -q >/dev/null
equal "killed in training, search and fine-tuning" "$scratch/whole" "$scratch/cut"
kill_in_write "$scratch/half" bitgrad run "$@" || true
go "$@" --out "$scratch/half" -q >/dev/null
equal "killed in a checkpoint's write" "$scratch/whole" "$scratch/half"
exit $failed
