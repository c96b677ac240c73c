# Damaged, missing and unfit files: one sentence each, and nothing lost.
$ printf 'exec bitgrad run -q ${RECIPES}/tiny.yaml report.figures=false "$@"\n' > go; bash go --out whole > /dev/null
$ kill_at 'select: 0' bitgrad run ${RECIPES}/tiny.yaml report.figures=false --out half

# Checkpoints and run files of a run to go on with.
$ cp -r half a; cut_file a/checkpoint-last.h5 3000; bash go --out a
err~ bitgrad: a/checkpoint-last.h5: damaged: .*
exit: 65
$ cp -r half b; flip_byte b/checkpoint-last.h5 -2000; bash go --out b
err~ bitgrad: b/checkpoint-last.h5: damaged: .*
exit: 65
$ cp -r half c; flip_byte c/run.h5 -2000; bash go --out c
err~ bitgrad: c/run.h5: damaged: .*
exit: 65
$ cp -r half d; cut_file d/run.h5 100; bash go --out d
err~ bitgrad: d/run.h5: .*
exit: 65
$ cp -r half e; rm e/run.h5; bash go --out e
err~ bitgrad: e/run.h5: .*No such file or directory
exit: 65
$ cp -r half f; echo nonsense > f/checkpoint-last.h5; bash go --out f
err~ bitgrad: f/checkpoint-last.h5: .*not an HDF5 file.*
exit: 65
$ cp -r half g; cp g/run.h5 g/checkpoint-last.h5; bash go --out g
err~ bitgrad: g/checkpoint-last.h5: .*
exit: 65
$ cp -r half h; echo 'name: [' > h/recipe.yaml; bash go --out h
err~ bitgrad: h/recipe.yaml:.*
exit: 65

$ cp -r half k; rm k/recipe.yaml; bash go --out k
err: bitgrad: k holds run.h5 but no recipe.yaml; use another --out
exit: 65

# A damaged checkpoint is replaced by that of a stage's end: the same result.
$ cp a/checkpoint-train.h5 a/checkpoint-last.h5; bash go --out a > /dev/null; bitgrad diff whole a
out: equal

# Finished runs.
$ cp -r whole i; cut_file i/run.h5 5000; bitgrad report i
err~ bitgrad: i/run.h5: damaged: .*
exit: 65
$ bitgrad diff whole i
err~ bitgrad: i/run.h5: damaged: .*
exit: 65
$ cp -r whole j; flip_byte j/checkpoint-last.h5 -3000; bitgrad eval j
err~ bitgrad: j/checkpoint-last.h5: damaged: .*
exit: 65
$ bitgrad report nothere
err~ bitgrad: nothere/run.h5: .*No such file or directory
exit: 65
$ bitgrad eval half
err: bitgrad: half is not finished (2 of 7 stages done); 'bitgrad run' goes on with it
exit: 65

# A disk that fills up: exit 74, and the run goes on when there is room again.
$ (ulimit -f 60; bash go --out full)
err~ bitgrad: full/.*: cannot write: File too large
exit: 74
$ ls full | grep -c tmp
out: 0
exit: 1
$ bash go --out full > /dev/null; bitgrad diff whole full
out: equal

# Plans.
$ sed 's/s4/s17/' whole/plan.txt > p.txt; bash go --out p1 select.plan=p.txt
err~ bitgrad: p.txt:3: layer conv2: .*17 bits, limit is 16
exit: 65
$ sed 's/conv2/conv3/' whole/plan.txt > p.txt; bash go --out p2 select.plan=p.txt
err~ bitgrad: p.txt: .*conv3.*
exit: 65
$ sed '/conv2/d' whole/plan.txt > p.txt; bash go --out p3 select.plan=p.txt
err~ bitgrad: p.txt: .*conv2.*
exit: 65
$ sed 's/a=u8/a=q8/' whole/plan.txt > p.txt; bash go --out p4 quantize.plan=p.txt 'stages=[train, evaluate]'
err~ bitgrad: p.txt:2: layer conv1: .*
exit: 65
$ sed '2s/u=sgd/u=residul:8/' whole/plan.txt > p.txt; bash go --out p7 select.plan=p.txt
err: bitgrad: p.txt: layer conv1: u=residul: there is no such update method, did you mean residual?
exit: 65
$ sed '1s/f32-rne/fixed-single/; s/w=s4/w=s9/' whole/plan.txt > p.txt; bash go --out p8 select.plan=p.txt
err: bitgrad: p.txt: requant fixed-single needs integers everywhere: layer conv2: w has 9 bits, integers are evaluated up to 8
exit: 65
$ bash go --out p5 select.plan=none.txt
err~ bitgrad: none.txt: .*No such file or directory
exit: 65
$ head -c 300 /dev/zero > p.txt; bash go --out p6 select.plan=p.txt
err~ bitgrad: p.txt.*
exit: 65
$ ls -d p1 p2 p3 p4 p5 p6 p7 p8 2>&1 | grep -c 'No such file'
out: 8

# Initial weights.
$ bash go --out w1 weights=none.npz
err~ bitgrad: none.npz: .*No such file or directory
exit: 65
$ { printf 'PK\005\006'; head -c 18 /dev/zero; } > empty.npz; bash go --out w4 weights=empty.npz
err: bitgrad: empty.npz: no arrays in it
exit: 65
$ bash go --out w2 weights=whole/checkpoint-train.h5 'stages=[evaluate]' | grep fp32
out~ fp32 +test accuracy 100.00 % .*
$ bash go --out w3 weights=j/checkpoint-last.h5
err~ bitgrad: .*j/checkpoint-last.h5: damaged: .*
exit: 65

# HDF5 data for a finished run.
$ bitgrad eval whole --data $DATA/images.h5 | head -n 1
out~ accuracy .* % \([0-9]+ of 16\), loss .*
$ bitgrad eval whole --data $DATA/images.h5 --json
out~ \{"accuracy":[0-9.]+,"correct":[0-9]+,"count":16,"evaluated":"integer","loss":[0-9.]+,"per_class":\[[0-9.,]+\],"schema":1\}
$ bitgrad eval whole --data $DATA/wide.h5
err: bitgrad: images are 6x24x1, the network takes 12x12x1
exit: 65
$ bitgrad eval whole --data $DATA/class9.h5
err: bitgrad: sample 3 has class 9, the network knows 4
exit: 65
$ bitgrad eval whole --data none.h5
err~ bitgrad: none.h5: .*No such file or directory
exit: 65
$ cp $DATA/images.h5 cut.h5; cut_file cut.h5 2500; bitgrad eval whole --data cut.h5
err~ bitgrad: cut.h5: .*
exit: 65
$ bitgrad eval whole --data $DATA/images.h5 data.test_x=test/z
err~ bitgrad: .*test/z.*
exit: 65
$ bitgrad eval whole train.epochs=3
err: bitgrad: eval: 'train.epochs=3': only keys of the data can be given, as data.key=value
exit: 64

# IDX data.
$ write_idx xi xl 12 4; write_idx yi yl 8 4; bitgrad data info idx train_images=xi train_labels=xl test_images=yi test_labels=yl | head -n 3 | cut -c 1-40
out: idx: 4 x 4 x 1, u8, 4 classes
out~ train: 12 samples, sha256 .*
out~ test: 8 samples, sha256 .*
$ echo 'data: {name: idx, train_images: xi, train_labels: xl, test_images: yi, test_labels: yl}' > d.yaml; bitgrad data verify d.yaml | tail -n 1
out: every sample read; give --train-hash and --test-hash to compare
$ hash=$(bitgrad data verify d.yaml | sed -n 's/^train: .* //p'); bitgrad data verify d.yaml --train-hash $hash | tail -n 1
out: every sample read, hashes as expected
$ hash=$(bitgrad data verify d.yaml | sed -n 's/^train: .* //p'); flip_byte xi 20; bitgrad data verify d.yaml --train-hash $hash
out...
err~ bitgrad: data: the training part has sha256 [0-9a-f]+, expected [0-9a-f]+
exit: 65
$ cut_file xi 100; bitgrad data info d.yaml
err~ bitgrad: xi: .*
exit: 65
$ rm xi; bitgrad data verify d.yaml
err~ bitgrad: xi: .*No such file or directory
exit: 65
$ write_idx xi xl 12 4; gzip xi; bitgrad data verify d.yaml data.train_images=xi.gz | tail -n 1
out: every sample read; give --train-hash and --test-hash to compare
$ flip_byte xi.gz -6; bitgrad data verify d.yaml train_images=xi.gz
err~ bitgrad: xi.gz: .*
exit: 65
$ bitgrad data info idx
err...
exit: 65

# A class without samples.
$ write_idx xi xl 12 3; bitgrad data info d.yaml classes=4
err~ bitgrad: .*class 3 has no samples .*
exit: 65
$ bitgrad data infos d.yaml
err: bitgrad: data: unknown word 'infos'; usage: bitgrad data info|verify NAME|RECIPE [key=value ...]
exit: 64
