#!/usr/bin/env bash
# make check: style and one-way includes, headers alone, clang with warnings as errors, clang-tidy, cppcheck.
# Prints what each failing part found; the last line says whether all is clean.
set -u
failed=0
part() { # name, command...
    local name=$1 log
    shift
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        echo "$name: clean"
    else
        { grep -E '(error|warning): ' "$log" || cat "$log"; } | head -n 60
        echo "$name: FAILED"
        failed=1
    fi
    rm -f "$log"
}
flags=$(make -s print-cflags)

headers_alone() {
    local f ok=0
    for f in $(git ls-files -co --exclude-standard '*.h' | grep -v '^tests/'); do
        # shellcheck disable=SC2086
        echo "#include \"$f\"" | gcc $flags -Werror -Wno-unused-function -fsyntax-only -x c - || ok=1
    done
    return $ok
}
# A second compiler: clang-tidy gives its warnings too, but takes neither tests nor kernels.
clang_tests() {
    # shellcheck disable=SC2086
    git ls-files -co --exclude-standard 'tests/*.c' |
        xargs -P 2 -n 8 clang-14 $flags -Werror -Wno-unknown-warning-option -fsyntax-only
}
clang_kernels() { # for each instruction set
    # shellcheck disable=SC2086
    make -s print-kernel-flags |
        xargs -P 2 -L 1 clang-14 $flags -Werror -Wno-unknown-warning-option -fsyntax-only
}
tidy() {
    # shellcheck disable=SC2086
    git ls-files -co --exclude-standard '*.c' | grep -vE '^(tests|core/kernel_)' |
        xargs -P 2 -n 1 sh -c 'clang-tidy --quiet "$@" -- '"$(printf '%q ' $flags)"' -Wno-unknown-warning-option' tidy
}
check_cppcheck() {
    cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr --enable=warning,performance,portability \
        --suppress=missingIncludeSystem --suppress=unknownMacro -I. -j 2 \
        -DBG_VERSION='"0"' -DBG_ISA=base -DDNNL_VERSION_MAJOR=2 core autograd layers policies datasets experiments
}
part style scripts/check_style.sh
part headers headers_alone
part clang-tests clang_tests
part clang-kernels clang_kernels
part cppcheck check_cppcheck
part clang-tidy tidy
[ $failed -eq 0 ] && echo "check: clean" || echo "check: FAILED"
exit $failed
