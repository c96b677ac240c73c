#!/usr/bin/env bash
# Runs the transcripts tests/cli/*.t against the command of a build folder. Each transcript has a fresh
# folder of its own; the last line is "cli: N passed, M failed".
# Usage: scripts/run_cli_tests.sh BUILD_DIR [transcript ...]
#
# A transcript is a list of steps:
#   # a comment                      anywhere between steps
#   $ command                        run by bash in the folder, with tests/cli/helpers.bash
#   out: text    out~ regex          the next line of standard output, exactly or as a whole-line regex
#   err: text    err~ regex          the same for standard error
#   out...       err...              any number of lines, also none
#   exit: 65                         exit code, 0 when not given
# Lines that are not announced are failures. ${RECIPES} is experiments/recipes, ${DIR} the step's folder.
set -u
[ $# -ge 1 ] || { echo "usage: scripts/run_cli_tests.sh BUILD_DIR [transcript ...]" >&2; exit 64; }
root=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- "$root"/tests/cli/*.t

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PATH="$build:$PATH" LC_ALL=C TERM=dumb OMP_WAIT_POLICY=passive
export RECIPES="$root/experiments/recipes" DATA="$root/tests/cli/data" HELPERS="$root/tests/cli/helpers.bash"
passed=0 failed=0

# The expectations of one stream against its lines: sets `problem` to the first difference.
compare() {
    local stream=$1 file=$2 at=0 kind text i open=
    local -a lines=()
    mapfile -t lines <"$file"
    problem=
    for i in "${!kinds[@]}"; do
        kind=${kinds[$i]} text=${texts[$i]}
        case $kind in
        "$stream...") open=1; continue ;;
        "$stream:" | "$stream~") ;;
        *) continue ;;
        esac
        while :; do
            if [ $at -ge ${#lines[@]} ]; then
                problem="expected $kind $text"
                return
            fi
            if [ "$kind" = "$stream:" ]; then
                [ "${lines[$at]}" = "$text" ] && break
            else
                [[ ${lines[$at]} =~ ^($text)$ ]] && break
            fi
            if [ -z "$open" ]; then
                problem="expected $kind $text"$'\n'"     got $stream: ${lines[$at]}"
                return
            fi
            at=$((at + 1))
        done
        at=$((at + 1)) open=
    done
    if [ -z "$open" ] && [ $at -lt ${#lines[@]} ]; then
        problem="unexpected $stream: ${lines[$at]}"
    fi
}

finish_step() {
    [ -n "$command" ] || return 0
    local status failure=
    (cd "$DIR" && . "$HELPERS" && eval "$command") >"$scratch/out" 2>"$scratch/err" </dev/null
    status=$?
    [ "$status" -eq "$want" ] || failure="exit $status, expected $want"
    for stream in out err; do
        compare $stream "$scratch/$stream"
        [ -z "$problem" ] || failure="${failure:+$failure$'\n'}$problem"
    done
    if [ -z "$failure" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf '%s\n$ %s\n%s\n' "$where" "$command" "$failure"
        sed 's/^/  out| /' "$scratch/out" | head -n 20
        sed 's/^/  err| /' "$scratch/err" | head -n 20
        echo
    fi
    command=
}

run_transcript() {
    local line number=0 command= want=0 where= problem=
    local -a kinds=() texts=()
    export DIR="$scratch/$(basename "$1" .t)"
    mkdir -p "$DIR"
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        case $line in
        '$ '*)
            finish_step
            command=${line#\$ } want=0 kinds=() texts=() where="$(basename "$1"):$number"
            ;;
        exit:*) want=$(tr -d ' ' <<<"${line#exit:}") ;;
        out...* | err...*) kinds+=("${line:0:6}") texts+=('') ;;
        out:* | out~* | err:* | err~*)
            local text=${line:4}
            text=${text# }
            text=${text//'${DIR}'/$DIR}
            text=${text//'${RECIPES}'/$RECIPES}
            kinds+=("${line:0:4}") texts+=("$text")
            ;;
        '' | '#'*) ;;
        *)
            echo "$(basename "$1"):$number: not understood: $line"
            failed=$((failed + 1))
            ;;
        esac
    done <"$1"
    finish_step
    rm -rf "$DIR"
}

for transcript in "$@"; do
    run_transcript "$transcript"
done
echo "cli: $passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
