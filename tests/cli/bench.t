# bitgrad bench: small sizes; that words, options and results are what they are said to be. Times
# themselves are nobody's business here.

$ bitgrad bench
err: bitgrad: bench: too few words; usage: bitgrad bench step|update|layers|ops|profile|eval|scale [--model NAME] [--variants PLAN/COMPUTE[/UPDATE],...] [--json]
exit: 64

$ bitgrad bench layer
err: bitgrad: bench: unknown word 'layer'; did you mean layers?
exit: 64

$ bitgrad bench nothing 2>&1 | head -n 1 | cut -c1-60
out: bitgrad: bench: unknown word 'nothing'; usage: bitgrad bench

$ bitgrad bench step --model lenet
err: bitgrad: bench: unknown model 'lenet'; 'bitgrad list networks' names them
exit: 64

$ bitgrad bench step --model lenet5:padding
err: bitgrad: bench: expected key=value after ':', got 'padding'
exit: 64

$ bitgrad bench step --model lenet5:pading=2
err: bitgrad: bench: f32/exact: bench:2:1: network.pading: unknown key, did you mean 'padding'?
exit: 65

$ bitgrad bench step --model resnet21
err~ bitgrad: .*depth 21 is not 6n \+ 2.*
exit: 65

$ bitgrad bench step --image 28x28
err: bitgrad: --image: expected HEIGHTxWIDTHxCHANNELS, each 1 to 4096, got '28x28'
exit: 64

$ bitgrad bench step --image 3x3x1 --model lenet5
err~ bitgrad: .*
exit: 65

$ bitgrad bench step --variants f32
err: bitgrad: bench: variant 'f32' is not PLAN/COMPUTE[/UPDATE], like W8A8/fast; a compute is fast, exact or reference
exit: 64

$ bitgrad bench step --variants f32/quick
err: bitgrad: bench: compute 'quick' is not fast, exact or reference
exit: 64

$ bitgrad bench step --variants f32/exact,
err: bitgrad: bench: variant '' is not PLAN/COMPUTE[/UPDATE], like W8A8/fast; a compute is fast, exact or reference
exit: 64

$ bitgrad bench step --variants $(printf 'f32/exact,%.0s' 1 2 3 4 5 6 7 8)f32/exact
err: bitgrad: bench: more than 8 variants
exit: 64

$ bitgrad bench step --variants f32/exact --compute exact
err: bitgrad: bench: --variants goes without --plan and --compute: it has both
exit: 64

$ bitgrad bench step --model lenet5 --plan none.txt
err: bitgrad: bench: plan 'none.txt' is not f32, bits like W8A8, or a file
exit: 64

$ bitgrad bench step --model lenet5 --batch 2 --steps 1 --plan W17A8
err~ bitgrad: bench: W17A8/fast: .*17.*
exit: 65

$ bitgrad bench step --model lenet5 --update adamant
err~ bitgrad: .*adamant.*
exit: 65

$ bitgrad bench step --figure x.svg
err: bitgrad: bench step draws no figure; bench scale does
exit: 64

$ bitgrad bench scale --figure 'x y.svg'
err: bitgrad: --figure: the name before .svg is at most 62 letters, digits, - and _, got 'x y.svg'
exit: 64

$ bitgrad bench scale --figure x.png
err: bitgrad: --figure: expected a file name ending with .svg, got 'x.png'
exit: 64

$ bitgrad bench scale --figure none/x.svg
err: bitgrad: --figure: there is no folder 'none'
exit: 65

$ bitgrad bench eval --plan f32
err: bitgrad: bench eval: the plan is compared with f32: give another one
exit: 64

# A step: text, and JSON with the asked number of seconds of each variant.
$ bitgrad bench step --model lenet5 --batch 4 --steps 3 --variants f32/exact,W8A8G4/fast,W4A4/exact
out: lenet5, batch 4 of 28x28x1, 2 threads, update sgd: 3 steps each, in turns
out~ variant .*
out~ f32/exact +[0-9.]+ +[0-9.]+ +1.00 +1.00 .*
out...
out~ W8A8G4/fast +[0-9.]+ +[0-9.]+ .*
out~   (all fast: 5 layers on codes and bf16|not fast, all in f32: this CPU has no AMX.*)
out~ W4A4/exact +[0-9.]+ +[0-9.]+ .*
out: 
out: f32/exact: forward, backward data, backward weights
out...

$ bitgrad bench step --model mlp:hidden=[8] --batch 4 --threads 1 --steps 7 --update sgd:momentum=0 --variants f32/exact,W8A8/exact --json >step.json

$ sed 's/.*"variants":.*/one line/' step.json; grep -o '^{"batch":4,"bench":"step","image":\[28,28,1\]' step.json; grep -o '"threads":1,"update":"sgd:momentum=0","variants":' step.json
out: one line
out: {"batch":4,"bench":"step","image":[28,28,1]
out: "threads":1,"update":"sgd:momentum=0","variants":

# 7 steps are two turns of four. Each variant has its names, bytes, seconds and ratios.
$ grep -Eo '"(bytes|gflops|median|min)":' step.json | sort | uniq -c | sed 's/^ *//'
out: 2 "bytes":
out: 2 "gflops":
out: 4 "median":
out: 4 "min":

$ grep -Eo '"(name|plan|compute|count|fast|node)":[^,}]*' step.json | tr '\n' ' '
out: "compute":"exact" "count":8 "fast":false "node":"fc1" "node":"fc2" "name":"f32/exact" "plan":"f32" "compute":"exact" "count":8 "fast":false "node":"fc1" "node":"fc2" "name":"W8A8/exact" "plan":"W8A8" 

$ grep -Eo '"seconds":\[[^]]*\]' step.json | tr -cd ',\n' | awk '{ print length($0) }' | tr '\n' ' '
out: 7 7 

# In every variant the least is no more than the median, and the first variant is its own measure.
$ tr ',' '\n' <step.json | grep -E '^"(median|min)":[0-9.e-]+$' | cut -d: -f2 | paste - - | awk '{ print ($2 > 0 && $2 <= $1) }' | tr '\n' ' '
out: 1 1 

$ grep -o '"times_faster":{"median":1.0,"min":1.0}' step.json
out: "times_faster":{"median":1.0,"min":1.0}

# Updates alone, each variant with its own method; the first is the measure of the others.
$ bitgrad bench update --model mlp:hidden=[8] --batch 4 --steps 2 --variants W8A8/exact,W8A8/exact/residual:bits=4,f32/exact/sgd:momentum=0 | tr -s ' ' | sed 's/[0-9]*\.[0-9]* /N /g'
out: mlp:hidden=[8], 6370 parameters, batch 4, 2 threads: the updates of 2 steps each, in turns
out: variant min us median us ns each times as long (of medians, of minima)
out: W8A8/exact N N N N 1.00
out~ W8A8/exact/residual:bits=4 N N N N [0-9.]+
out~ f32/exact/sgd:momentum=0 N N N N [0-9.]+

$ bitgrad bench update --model mlp:hidden=[8] --batch 4 --steps 2 --json >update.json; grep -Eo '"(bench|name|update|parameters)":[^,}]*' update.json | tr '\n' ' '
out~ "bench":"update" "parameters":6370 "name":"f32/exact" "update":"sgd" "name":"W8A8/fast" "update":"sgd" "name":"W8A8/fast/residual:bits=8" "update":"residual:bits=8" .*

$ bitgrad bench update --model mlp:hidden=[8] --variants W8A8/fast/adamant
err~ bitgrad: bench: W8A8/fast/adamant: .*adamant.*
exit: 65

$ bitgrad bench update --variants W8A8/quick/sgd
err: bitgrad: bench: variant 'W8A8/quick/sgd' is not PLAN/COMPUTE[/UPDATE], like W8A8/fast; a compute is fast, exact or reference
exit: 64

$ bitgrad bench update --variants W8A8/fast/
err: bitgrad: bench: variant 'W8A8/fast/' is not PLAN/COMPUTE[/UPDATE], like W8A8/fast; a compute is fast, exact or reference
exit: 64

# An update of a variant's own is in its name; the head says none then.
$ bitgrad bench step --model mlp:hidden=[8] --batch 4 --steps 1 --variants W8A8/exact,W8A8/exact/residual:bits=4 | head -n 1
out: mlp:hidden=[8], batch 4 of 28x28x1, 2 threads: 1 steps each, in turns

# Where nothing is trained, no such words.
$ bitgrad bench layers --variants W8A8/fast/residual
err: bitgrad: bench layers trains nothing: it takes no --variants
exit: 64

$ bitgrad bench ops --update residual
err: bitgrad: bench ops trains nothing: it takes no --update
exit: 64

# A plan file, with the reference compute.
$ printf 'fc1 w=s4 a=u8\nfc2 w=s8 a=u8\n' > plan.txt
$ bitgrad bench step --model mlp:hidden=[4] --image 4x4x1 --batch 2 --steps 1 --plan plan.txt --compute reference | sed -n 3p
out~ plan.txt/reference .*

$ printf 'fc1 w=s4 a=u8\nfc3 w=s8 a=u8\n' > plan.txt
$ bitgrad bench step --model mlp:hidden=[4] --image 4x4x1 --batch 2 --steps 1 --plan plan.txt --compute exact
err~ bitgrad: bench: plan.txt/exact: .*fc3.*
exit: 65

# Each variant plain and observed.
$ bitgrad bench profile --model lenet5 --batch 4 --steps 2 --variants f32/exact,W8A8/exact --json >profile.json

$ grep -Eo '"(name|observed)":[^,}]*' profile.json | tr '\n' ' '
out: "name":"f32/exact" "name":"W8A8/exact" "name":"f32/exact" "observed":false "name":"W8A8/exact" "observed":false "name":"f32/exact" "observed":true "name":"W8A8/exact" "observed":true 

$ grep -Eo '"ratios":\[\{"median":[0-9.e-]+,"min":[0-9.e-]+,"name":"f32/exact"\},\{[^}]*\}\]' profile.json | grep -c .
out: 1

$ bitgrad bench profile --model lenet5 --batch 4 --steps 2 --compute exact
out~ lenet5, batch 4 .*
out~ variant .*
out~ f32/exact .* %

# The rate of an integer program needs one: 9 bits have none.
$ bitgrad bench eval --model lenet5 --batch 4 --steps 2 --json >eval.json

$ grep -Eo '"(name|plan|why_no_integers)":"[^"]*"' eval.json | tr '\n' ' '; grep -Eo '"images_per_second":[1-9]' eval.json | wc -l
out: "plan":"W8A8" "name":"f32" "name":"simulated" "name":"integer" "why_no_integers":"" 3

$ sed 's/.*"name":"simulated"//' eval.json | grep -Eo '"node":"[^"]*"' | tr '\n' ' '
out: "node":"conv1" "node":"conv2" "node":"fc1" "node":"fc2" "node":"fc3" 

$ bitgrad bench eval --model lenet5 --batch 4 --steps 2 --plan W9A9 | sed -n '3,$p'
out~ f32 .*
out~ simulated .*
out~ no integer program: .*

# Layers: the first one's input gradient is nobody's; ceilings are there.
$ bitgrad bench layers --model mlp:hidden=[8] --batch 4 --steps 2 --json >layers.json

$ grep -Eo '"ceilings":\{[^}]*\}' layers.json | grep -Eo '"(f32|memory)":[1-9]' | cut -d: -f1 | tr '\n' ' '
out: "f32" "memory" 

$ tr '{' '\n' <layers.json | grep '"arithmetic"' | grep -v '"fast"' | grep -Eo '"(arithmetic|layer|operations|pass)":[^,}]*' | cut -d: -f2 | tr -d '"' | paste -d' ' - - - - | tr '\n' ';'
out: f32 fc1 50176.0 forward;f32 fc1 50176.0 backward-weights;integer fc1 50176.0 forward;f32 fc2 640.0 forward;f32 fc2 640.0 backward-data;f32 fc2 640.0 backward-weights;integer fc2 640.0 forward;

# 4 x 784 values in, 4 x 8 out, 8 x 784 weights, of 4 bytes.
$ grep -Eo '"arithmetic":"f32","bytes":[0-9]+' layers.json | head -n 1
out: "arithmetic":"f32","bytes":37760

$ grep -Eo '"(share|implementation)":("[^"]|[0-9.e-]*[1-9])' layers.json | cut -d: -f1 | sort | uniq -c | awk '{ n[NR] = $1 } END { print (n[1] == n[2]), (n[1] >= 7) }'
out: 1 1

$ bitgrad bench ops --batch 4 --steps 2 --json >ops.json

$ grep -o '"elements":50176,' ops.json; for op in copy bn-statistics bn-backward-apply quantize relu sgd gradient-statistics fast-statistics fast-forward fast-reduce fast-apply; do grep -o "\"op\":\"$op\"" ops.json | wc -l; done | uniq -c | sed 's/^ *//'
out: "elements":50176,
out: 11 1

# Scale: work grows as the batch does, and there is a figure.
$ bitgrad bench scale --model mlp:hidden=[4] --batch 2 --steps 1 --variants f32/exact --figure scale.svg >scale.txt

$ head -n 1 scale.txt | tr '\t' ' '
out: dimension value variant seconds macs bytes peak_bytes time_factor work_factor memory_factor

$ tail -n +2 scale.txt | awk -F '\t' '{ print NF, $1, $2, $9, ($4 > 0), ($6 > 0) }' | tr '\n' ';'
out: 10 batch 1 - 1 1;10 batch 4 4.00 1 1;10 batch 16 4.00 1 1;10 batch 64 4.00 1 1;10 batch 256 4.00 1 1;10 batch 1024 4.00 1 1;10 image 14 - 1 1;10 image 28 3.79 1 1;10 image 56 3.94 1 1;10 image 112 3.99 1 1;

$ ls scale.*; grep -c "'scale" scale.gp; grep -o '</svg>' scale.svg
out: scale.gp
out: scale.svg
out: scale.tsv
out: scale.txt
out: 6
out: </svg>

$ bitgrad bench scale --model mlp:hidden=[4] --batch 2 --steps 1 --variants f32/exact/adamant
err~ bitgrad: bench: f32/exact/adamant: .*adamant.*
exit: 65
