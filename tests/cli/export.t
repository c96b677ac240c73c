# The integers of a finished run in a file.
$ printf 'exec bitgrad run -q ${RECIPES}/tiny.yaml report.figures=false "$@"\n' > go; bash go --out whole > /dev/null
$ bitgrad export whole --format npz
out~ whole/integers.npz: [0-9]+ bytes, 6 steps
$ bitgrad export whole --format h5
out~ whole/integers.h5: [0-9]+ bytes, 6 steps
$ bitgrad export whole --format npz --out again.npz --samples 10 > said; sed "s/ $(stat -c %s again.npz) bytes/ its size/" said; cmp whole/integers.npz again.npz
out: again.npz: its size, 6 steps
$ head -c 4 again.npz | od -An -c | tr -d ' '; grep -ac '"format": "bitgrad-integers"' again.npz
out: PK003004
out: 1
$ bitgrad export whole --format npz --out all.npz --samples 128; bitgrad export whole --format h5 --out one.h5 --samples 1
out~ all.npz: [0-9]+ bytes, 6 steps
out~ one.h5: [0-9]+ bytes, 6 steps
$ for f in all.npz again.npz; do grep -aoE '"golden": \{"count": [0-9]+' $f; done
out: "golden": {"count": 128
out: "golden": {"count": 10

# An export is no part of a run: runs are still equal, and the export is the same for equal runs.
$ bash go --out other > /dev/null; bitgrad diff whole other; bitgrad export other --format h5 > /dev/null; cmp whole/integers.h5 other/integers.h5
out: equal

# Command lines.
$ bitgrad export --help | head -n 1
out: usage: bitgrad export RUN --format npz|h5 [--out FILE] [--samples N]
$ bitgrad export
err: bitgrad: export: too few words; usage: bitgrad export RUN --format npz|h5 [--out FILE] [--samples N]
exit: 64
$ bitgrad export whole
err: bitgrad: export: --format is missing; usage: bitgrad export RUN --format npz|h5 [--out FILE] [--samples N]
exit: 64
$ bitgrad export whole --format onnx
err: bitgrad: --format: expected npz or h5, got 'onnx'
exit: 64
$ bitgrad export whole other --format npz
err: bitgrad: export: unexpected 'other'; usage: bitgrad export RUN --format npz|h5 [--out FILE] [--samples N]
exit: 64
$ bitgrad export whole --format npz --sample 3 --samples 0
err: bitgrad: --samples: expected a whole number from 1 to 1000, got '0'
exit: 64
$ bitgrad export whole --format npz --samples 1001
err: bitgrad: --samples: expected a whole number from 1 to 1000, got '1001'
exit: 64
$ bitgrad export whole --format npz --samples 129
err: bitgrad: --samples 129: the test part has 128 images
exit: 65

# Runs without integers, and what is no finished run.
$ bash go --out plain 'stages=[train, evaluate]' > /dev/null; bitgrad export plain --format npz
err: bitgrad: plain: the network is f32, there are no integers in it
exit: 65
$ bash go --out wide 'stages=[train, profile, select]' select.activation_bits=12 > /dev/null; bitgrad export wide --format npz
err~ bitgrad: wide: the network is not one of integers: layer conv1: .*12.*
exit: 65
$ ls plain wide | grep -c integers
out: 0
exit: 1
$ kill_at 'select: 0' bitgrad run ${RECIPES}/tiny.yaml report.figures=false --out half; bitgrad export half --format npz
err: bitgrad: half is not finished (2 of 7 stages done); 'bitgrad run' goes on with it
exit: 65
$ bitgrad export nothere --format npz
err~ bitgrad: nothere/recipe.yaml: .*No such file or directory
exit: 65
$ cp -r whole i; flip_byte i/checkpoint-last.h5 -3000; bitgrad export i --format h5
err~ bitgrad: i/checkpoint-last.h5: damaged: .*
exit: 65

# Files that cannot be written: nothing is left behind, and what was there stays.
$ bitgrad export whole --format npz --out nothere/x.npz
err~ bitgrad: nothere/x.npz.*: cannot write: No such file or directory
exit: 74
$ echo before > kept; (ulimit -f 4; bitgrad export whole --format npz --out kept)
err~ bitgrad: kept.*: cannot write: File too large
exit: 74
$ (ulimit -f 4; bitgrad export whole --format h5 --out kept)
err~ bitgrad: kept.*: cannot write: File too large
exit: 74
$ cat kept; ls | grep -c tmp
out: before
out: 0
exit: 1
$ mkfifo pipe; bitgrad export whole --format npz --out pipe
err: bitgrad: pipe: cannot write: not a regular file
exit: 74
$ bitgrad export whole --format npz --out whole/run.h5
err: bitgrad: --out 'whole/run.h5': a file of a run has this name
exit: 64
$ mkdir folder; bitgrad export whole --format npz --out folder
err~ bitgrad: folder: cannot write: Is a directory
exit: 74
$ bitgrad export whole --format npz --out again.npz > /dev/full
err: bitgrad: standard output cannot be written
exit: 74
