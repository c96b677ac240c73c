# Helpers for the steps of transcripts; sourced for each one.

# Changes the byte at an offset of a file (negative: from the end).
flip_byte() {
    local file=$1 offset=$2 byte
    [ "$offset" -ge 0 ] || offset=$(($(stat -c %s "$file") + offset))
    byte=$(od -An -tu1 -j "$offset" -N 1 "$file" | tr -d ' ')
    printf "\\x$(printf %02x $((byte ^ 255)))" | dd of="$file" bs=1 seek="$offset" conv=notrunc status=none
}

# Cuts a file to so many bytes.
cut_file() {
    truncate -s "$2" "$1"
}

# Runs a command and kills it with -9 as soon as a line of its messages matches. Says so when it
# ended before that.
kill_at() {
    local pattern=$1 log pid
    shift
    log=$(mktemp)
    "$@" >/dev/null 2>"$log" &
    pid=$!
    until grep -Eq "$pattern" "$log"; do
        kill -0 "$pid" 2>/dev/null || { echo "ended before '$pattern'"; cat "$log"; break; }
    done
    kill -9 "$pid"
    wait "$pid"
    rm -f "$log"
} 2>/dev/null # where the shell would say "Killed"

# As kill_at with SIGTERM; prints the last message and returns the command's exit code.
stop_at() {
    local pattern=$1 log pid status
    shift
    log=$(mktemp)
    "$@" >/dev/null 2>"$log" &
    pid=$!
    until grep -Eq "$pattern" "$log"; do
        kill -0 "$pid" 2>/dev/null || break
    done
    kill -TERM "$pid"
    wait "$pid"
    status=$?
    tail -n 1 "$log"
    rm -f "$log"
    return $status
}

# Kills a command with -9 after so many seconds.
kill_after() {
    local seconds=$1 pid
    shift
    "$@" >/dev/null 2>&1 &
    pid=$!
    sleep "$seconds"
    kill -9 "$pid"
    wait "$pid"
} 2>/dev/null

# Runs `bitgrad ... --out DIR` again and again, killing it as soon as a temporary file appears, until
# one is left behind: the kill came in the midst of a write.
kill_in_write() {
    local dir=$1 try pid
    shift
    for try in 1 2 3 4 5 6 7 8 9 10; do
        "$@" --out "$dir" >/dev/null 2>&1 &
        pid=$!
        until compgen -G "$dir/checkpoint-last.h5.tmp.*" >/dev/null; do
            kill -0 "$pid" 2>/dev/null || break
        done
        kill -9 "$pid"
        wait "$pid"
        compgen -G "$dir/checkpoint-last.h5.tmp.*" >/dev/null && { echo "killed in a write"; return; }
    done
    echo "no kill hit a write"
} 2>/dev/null

# Bytes given as decimal numbers.
bytes() {
    local value
    for value; do printf "\\x$(printf %02x "$value")"; done
}

# write_idx IMAGES LABELS COUNT CLASSES: 4x4 images whose bytes are all 16 times their label, labels
# 0, 1, ... CLASSES-1, 0, ...; in the IDX format of MNIST.
write_idx() {
    local images=$1 labels=$2 count=$3 classes=$4 i v
    { bytes 0 0 8 3 0 0 0 "$count" 0 0 0 4 0 0 0 4
      for ((i = 0; i < count; i++)); do v=$((i % classes * 16)); bytes $v $v $v $v $v $v $v $v $v $v $v $v $v $v $v $v; done; } >"$images"
    { bytes 0 0 8 1 0 0 0 "$count"
      for ((i = 0; i < count; i++)); do bytes $((i % classes)); done; } >"$labels"
}

# Puts other 64-bit numbers in the place of a row of them, which the file has once, and seals it.
forge_numbers() { # FILE "OLD ..." "NEW ..."
    local numbers=() list n i
    for list in "$2" "$3"; do
        numbers+=("$(for n in $list; do for ((i = 0; i < 64; i += 8)); do printf '\\x%02x' $(((n >> i) & 255)); done; done)")
    done
    tail -c +513 "$1" > forged
    [ "$(grep -obUaP "${numbers[0]}" forged | wc -l)" = 1 ] || echo "not there once: $2"
    sed -i "s/${numbers[0]}/${numbers[1]}/" forged
    printf 'bitgrad file 1\nsha256 %s\nlength %d\n' "$(sha256sum < forged | cut -d' ' -f1)" "$(stat -c %s forged)" > "$1"
    truncate -s 512 "$1"
    cat forged >> "$1"
    rm forged
}
