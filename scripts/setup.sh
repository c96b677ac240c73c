#!/usr/bin/env bash
# Installs what bitgrad needs to build, test and run, with apt-get, and only what is missing.
#   scripts/setup.sh          compiler, libraries, gnuplot, Fashion-MNIST
#   scripts/setup.sh --check  the tools of `make check` and of the sanitizer and valgrind runs as well
#   scripts/setup.sh --dev    all of that, and PyTorch, h5py and Chromium (golden data, comparisons, looking at reports)
set -eu

packages="gcc make pkg-config libc6-dev libgomp1 libdnnl-dev libhdf5-dev libyaml-dev libjansson-dev
          libssl-dev zlib1g-dev libcriterion-dev gnuplot-nox dataset-fashion-mnist"
check="clang-14 clang-tidy clang-format cppcheck pmccabe valgrind libclang-rt-14-dev libomp-14-dev"
dev="python3-torch python3-h5py python3-numpy chromium"

case ${1:-} in
'') ;;
--check) packages="$packages $check" ;;
--dev) packages="$packages $check $dev" ;;
*)
    echo "setup.sh: unknown option '$1' (known: --check, --dev)" >&2
    exit 64
    ;;
esac

command -v dpkg-query >/dev/null || {
    echo "setup.sh: this is not a Debian system; install by hand: $(echo $packages)" >&2
    exit 70
}
missing=
for package in $packages; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "setup.sh: missing packages; as root run: apt-get install$missing" >&2
    exit 70
fi
echo "setup.sh: installing$missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# A package list that is too old or empty is refreshed once.
# shellcheck disable=SC2086
if ! apt-get install -y -qq --no-install-recommends $missing >"$log" 2>&1; then
    if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        echo "setup.sh: apt-get could not install:$missing" >&2
        exit 74
    fi
fi
