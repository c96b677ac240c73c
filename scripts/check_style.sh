#!/usr/bin/env bash
# The rules of the house that a script can see. Prints each break and exits 1 if there was one.
set -u
export LC_ALL=C
bad=0
say() {
    echo "$1"
    bad=1
}
sources=$(git ls-files -co --exclude-standard '*.c' '*.h')
product=$(grep -v '^tests/' <<<"$sources")
library=$(grep -E '^(core|autograd|layers|policies|datasets)/' <<<"$sources")

# Formatting.
for f in $sources; do
    clang-format --dry-run -Werror "$f" >/dev/null 2>&1 || say "$f: not formatted (clang-format -i $f)"
done

# Includes run one way: core <- autograd <- layers <- policies <- experiments, core <- datasets <- experiments.
up() { # folder, forbidden folders
    local rows
    rows=$(grep -nE "#include \"($2)/" $(grep "^$1/" <<<"$product") /dev/null) && say "upward include:
$rows"
}
up core 'autograd|layers|policies|datasets|experiments'
up autograd 'layers|policies|datasets|experiments'
up layers 'policies|datasets|experiments'
up policies 'datasets|experiments'
up datasets 'autograd|layers|policies|experiments'

# Walls: an outside library's header stays in its files.
wall() { # header pattern, file pattern
    local rows
    rows=$(grep -nE "#include [<\"]($1)" $product | grep -vE "^($2)") && say "outside its wall:
$rows"
}
wall '(oneapi/dnnl/)?dnnl' 'core/dnn_'
wall 'hdf5|H5' 'core/h5'
wall 'yaml\.h' 'core/yaml'
wall 'openssl/' 'core/hash\.c'
wall 'zlib\.h' 'core/npz|datasets/'
wall 'immintrin|x86intrin' 'core/kernel_'

# Banned functions; in the library also those that print, exit or bypass core/mem.c.
banned='\b(sprintf|vsprintf|strcpy|strcat|strncpy|strncat|atoi|atol|atof|strtok|gets|rand|srand|alloca)\('
rows=$(grep -nE "$banned" $sources) && say "banned function:
$rows"
rows=$(grep -nE '\b(exit|_exit|abort|printf|puts|putchar|malloc|calloc|realloc|free|strdup|setlocale|getenv)\(' $library |
    grep -vE '^core/(mem|arena)\.c:|: *\*|: */\*|_exit\(|bg_house' ) && say "not allowed in the library:
$rows"
rows=$(grep -nE '(if|while) \([^=!<>]*[^=!<>]=[^=]' $product | grep -vE ':[0-9]+: *(\*|/\*)') && say "assignment in a condition:
$rows"
rows=$(grep -nwE 'TOD[O]|FIXM[E]|XX[X]' $sources) && say "left open:
$rows"

# Size: files to 450 lines, functions to 60 lines and complexity 15.
for f in $product; do
    n=$(wc -l <"$f")
    [ "$n" -le 450 ] || say "$f: $n lines, limit is 450"
done
rows=$(pmccabe $(grep '\.c$' <<<"$product") 2>/dev/null |
    awk '$1 > 15 || $5 > 62 { printf "%s: complexity %d, %d lines\n", $0, $1, $5 }') && [ -n "$rows" ] && say "$rows"

# Every file opens with a comment that says what it is.
for f in $sources; do
    head -c 2 "$f" | grep -q '/\*' || say "$f: no opening comment"
done

# Scripts parse.
for f in scripts/*.sh .ci/run; do bash -n "$f" || say "$f: does not parse"; done
exit $bad
