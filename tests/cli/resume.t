# A run that was killed goes on and comes to the same as one that was not.
$ printf 'exec bitgrad run ${RECIPES}/tiny.yaml checkpoint.every_steps=1 select.search=linear select.pin_first=false select.pin_last=false report.figures=false train.epochs=4 "$@"\n' > go && bash go --out whole -q
out...
out~ fp32 +test accuracy .*
out~ quantized +test accuracy .*
out~ finetuned +test accuracy .*
out~ integers +0 of .* outputs differ from the independent judge .*
out~ size .* times smaller, .* bits per weight
out: report     whole/report.html

$ ls whole
out: checkpoint-finetune.h5
out: checkpoint-last.h5
out: checkpoint-select.h5
out: checkpoint-train.h5
out: plan.txt
out: recipe.yaml
out: report.html
out: result.json
out: run.h5
out: timing.tsv

# Killed with -9 in training, in the search and in fine-tuning, one after the other.
$ kill_at 'train: epoch 2' bash go --out cut
$ kill_at 'select: 1 of 3' bash go --out cut
$ kill_at 'finetune: epoch 1' bash go --out cut
$ bash go --out cut -v 2>&1 | grep -c 'train: epoch\|select: . of 3'
out: 0
exit: 1
$ bitgrad diff whole cut
out: equal

# Killed while a checkpoint is written: the half of a file is swept away, and nothing else is lost.
$ kill_in_write half bash go
out: killed in a write
$ bash go --out half -q > /dev/null; ls half | grep -c tmp
out: 0
exit: 1
$ bitgrad diff whole half
out: equal

# Many kills, wherever they fall.
$ for i in 05 08 11 14 17 20 23 26 29; do kill_after 0.$i bash go --out many -q; done; bash go --out many -q > /dev/null; bitgrad diff whole many
out: equal

# A signal saves and stops; the same command goes on.
$ stop_at 'train: epoch 1' bash go --out stop
out~ bitgrad: stopped in stage train after step [0-9]+; the same command goes on from there
exit: 75
$ bash go --out stop -q > /dev/null; bitgrad diff whole stop
out: equal

# A finished run says so.
$ bash go --out whole
err: whole: this run is finished; 'bitgrad report whole' makes its report again

# Another recipe on it is refused, naming the first key that differs.
$ bash go --out whole train.lr=0.1
err: bitgrad: whole holds a run of another recipe: train.lr: 0.05 against 0.1; use another --out
exit: 65

$ bash go --out whole threads=2
err: bitgrad: whole holds a run of another recipe: threads: 1 against 2; use another --out
exit: 65

# Another machine is refused: the instruction set is capped here to stand for one.
$ kill_at 'train: epoch 1' bash go --out other; DNNL_MAX_CPU_ISA=SSE41 bash go --out other
err~ bitgrad: other was begun with instruction set '.*', this is 'SSE41': results would differ; use another --out
exit: 65

# Two writers on one folder.
$ (flock 9; bash go --out other) 9>>other/lock
err: bitgrad: other is in use by another bitgrad
exit: 65

# Equal and different runs.
$ bash go --out again -q > /dev/null; bitgrad diff whole again
out: equal
$ bash go --out seed2 seed=2 -q > /dev/null; bitgrad diff whole seed2
out~ different: run.h5: .*seed.*1 against .*2
exit: 1
$ cp -r again less; rm less/checkpoint-train.h5; bitgrad diff again less
out: different: checkpoint-train.h5 is in again only
exit: 1
$ sed -i s/s4/s5/ less/plan.txt; cp again/checkpoint-train.h5 less; bitgrad diff again less
out~ different: plan.txt: line [0-9]+: '.*s4.*' against '.*s5.*'
exit: 1
$ bitgrad diff whole nothere
err: bitgrad: nothere: there is no such directory
exit: 65
$ mkdir empty; bitgrad diff whole empty
err: bitgrad: empty/run.h5: there is no such file
exit: 65

# The report again, the evaluation again.
$ rm whole/report.html; bitgrad report whole --no-figures; ls whole/report.html
out: whole/report.html
out: whole/report.html
$ bitgrad eval whole --json | grep -o '"count":128'
out: "count":128
$ bitgrad eval whole --checkpoint train
out~ accuracy .* % \([0-9]+ of 128\), loss .*
out...

# A plan edited by hand: from the start, and for the trained network.
$ sed 's/w=s[0-9]*/w=s6/' whole/plan.txt > six.txt; bash go --out six -q select.plan=six.txt > /dev/null; grep -c w=s6 six/plan.txt
out: 3
# Bits from the start, others selected from there; the edges keep 8.
$ bash go --out low -q quantize.weight_bits=4 quantize.activation_bits=5 'stages=[train, evaluate]' > /dev/null; grep -o '^[a-z0-9]* .*a=u[0-9]*' low/plan.txt | tr -s ' '
out: conv1 w=s8/channel a=u8
out: conv2 w=s4/channel a=u5
out: fc w=s8/channel a=u8
$ bash go --out low -q quantize.weight_bits=4 quantize.edge_bits=0 'stages=[train, evaluate]' | head -1
err~ bitgrad: low holds a run of another recipe: .*
$ bash go --out both -q quantize.weight_bits=8 quantize.activation_bits=8 | grep -o '^[a-z]* *test accuracy'
out: trained    test accuracy
out: quantized  test accuracy
out: finetuned  test accuracy
$ kill_at 'select: 0 of' bash go --out killed8 quantize.weight_bits=8 quantize.activation_bits=8 checkpoint.every_steps=3 --verbose; bash go --out killed8 -q quantize.weight_bits=8 quantize.activation_bits=8 checkpoint.every_steps=3 > /dev/null; bash go --out once8 -q quantize.weight_bits=8 quantize.activation_bits=8 checkpoint.every_steps=3 > /dev/null; bitgrad diff once8 killed8
out: equal

$ bash go --out start -q quantize.plan=six.txt 'stages=[train, evaluate]' | grep -c 'test accuracy'; cmp start/plan.txt six/plan.txt
out: 1
