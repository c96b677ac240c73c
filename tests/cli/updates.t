# Weights that live in integers: options, reports, resume, plans that name methods.
$ printf 'exec bitgrad run ${RECIPES}/tiny.yaml stages="[train, finetune, evaluate]" quantize.weight_bits=8 quantize.activation_bits=8 checkpoint.every_steps=1 report.figures=false train.update=residual "train.options={bits: 8, tune: nearest}" finetune.update=threshold train.epochs=4 "$@"\n' > go && bash go --out whole -q > /dev/null

$ bash go --out loud -v 2>&1 | grep -E 'in integers|conv2.weight' | sed 's/of [0-9]* steps/of N steps/; s/[0-9.]* %/P/g'
out: train: 518 of 518 weights in integers, bytes per weight: codes 1.00, below 1.03, momentum 4.00, f32 copies 0.00, gradient 4.00
out: train: conv2.weight: of N steps P changed a code, P were lost, P stopped at an end
out: finetune: 518 of 518 weights in integers, bytes per weight: codes 1.00, below 2.03, momentum 4.00, f32 copies 0.00, gradient 4.00
out: finetune: conv2.weight: of N steps P changed a code, P were lost, P stopped at an end

$ kill_at 'train: epoch 2' bash go --out cut
$ kill_at 'finetune: epoch 1' bash go --out cut
$ bash go --out cut -q > /dev/null; bitgrad diff whole cut
out: equal

$ bitgrad config show ${RECIPES}/tiny.yaml train.update=residual 'train.updates={threshold: {period: 3}}' > a.yaml && bitgrad config show a.yaml | cmp - a.yaml; sed -n '/^train:/,/^profile:/p' a.yaml | grep -A2 updates:
out:   updates:
out:     threshold:
out:       period: 3

$ bitgrad run ${RECIPES}/tiny.yaml 'train.updates={threshold: {periode: 3}}'
err~ bitgrad: .*train.updates.threshold.periode: unknown key, did you mean .period.\?
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml 'train.updates={treshold: {period: 3}}'
err~ bitgrad: .*unknown update method 'treshold', did you mean 'threshold'\?
exit: 65

# Each layer its own; the layer that the plan leaves to sgd keeps its f32 master.
$ printf 'conv1 w=s8 a=u8 u=residual:12\nconv2 w=s4 a=u8 u=threshold:14\nfc w=s8 a=u8\n' > plan.txt; bitgrad run ${RECIPES}/tiny.yaml --out mixed stages='[train, evaluate]' quantize.plan=plan.txt report.figures=false -v 2>&1 | grep -E 'in integers'
out~ train: 486 of 518 weights in integers, .*

$ printf 'conv1 w=s8 a=u8 u=threshold:3\nconv2 w=s4 a=u8\nfc w=s8 a=u8\n' > plan.txt; bitgrad run ${RECIPES}/tiny.yaml --out few stages='[train, evaluate]' quantize.plan=plan.txt report.figures=false -q
err~ bitgrad: conv1.weight: u=threshold:3: a sign and 3 overlapping bits leave none below the weight, least is 4
exit: 65

$ printf 'conv1 w=f32 a=f32 u=residual:8\nconv2 w=s4 a=u8\nfc w=s8 a=u8\n' > plan.txt; bitgrad run ${RECIPES}/tiny.yaml --out f32 stages='[train, evaluate]' quantize.plan=plan.txt report.figures=false -q
err~ bitgrad: plan.txt: layer conv1: u=residual:8 moves integer weights, the layer has w=f32
exit: 65

# The forms of a threshold and sums of several gradients; a run that was cut in the middle of a sum goes on with the same bits.
$ printf 'exec bitgrad run ${RECIPES}/tiny.yaml stages="[train, evaluate]" quantize.weight_bits=8 quantize.activation_bits=8 checkpoint.every_steps=1 report.figures=false train.epochs=3 "$@"\n' > forms; for o in 'residual {gradients: 3, sum_bits: 2}' 'threshold {form: dynamic, refit_every: 2}' 'threshold {form: fixed, adapt: true, refit_every: 1}'; do bash forms --out w train.update=${o%% *} "train.options=${o#* }" -q > /dev/null; kill_at 'train: epoch 2' bash forms --out c train.update=${o%% *} "train.options=${o#* }"; bash forms --out c train.update=${o%% *} "train.options=${o#* }" -q > /dev/null; bitgrad diff w c; rm -r w c; done
out: equal
out: equal
out: equal

$ bitgrad run ${RECIPES}/tiny.yaml --out floats stages='[train, evaluate]' train.update=threshold 'train.options={form: float, exponent: 4, mantissa: 3}' report.figures=false -v 2>&1 | grep -E 'in integers'
out: train: 518 of 518 weights in integers, bytes per weight: codes 1.00, below 2.01, momentum 4.00, f32 copies 4.00, gradient 4.00

$ bitgrad run ${RECIPES}/tiny.yaml --out no stages='[train, evaluate]' train.update=threshold 'train.options={form: float}' quantize.weight_bits=8 quantize.activation_bits=8 report.figures=false -q
err: bitgrad: train: update: threshold has no weight to move: form: float moves those with w=f32, other forms those of 2 to 16 bits
exit: 65

$ printf 'conv1 u=threshold:16\nconv2 w=s4 a=u8\nfc w=s8 a=u8\n' > plan.txt; bitgrad run ${RECIPES}/tiny.yaml --out form stages='[train, evaluate]' quantize.plan=plan.txt report.figures=false -q
err: bitgrad: conv1.weight: u=threshold moves weights with w=f32 by form: float alone, the form is integer
exit: 65

$ printf 'conv1 w=s1 a=u8\nconv2 w=s4 a=u8\nfc w=s8 a=u8\n' > plan.txt; bitgrad run ${RECIPES}/tiny.yaml --out one stages='[train, evaluate]' quantize.plan=plan.txt train.update=residual report.figures=false -q > /dev/null
err~ .*conv1.weight: weights of 1 bit keep an f32 master and move by sgd: residual moves 2 to 16 bits

$ bitgrad run ${RECIPES}/tiny.yaml --out none stages='[train, evaluate]' train.update=nearest report.figures=false -q
err: bitgrad: train.update: nearest moves integer weights of 2 to 16 bits, the plan has none: set quantize.weight_bits or quantize.plan
exit: 65

# What updates did is data: a row per layer, stage and epoch, summed up in the result and the report.
$ bitgrad run ${RECIPES}/tiny.yaml --out told stages='[train, evaluate, report]' quantize.plan=mixed/plan.txt report.figures=false -q > /dev/null; tr -d ' \n' < told/result.json | grep -oE '"updates":.*' | grep -oE '"(f32|integer)":\{"bytes_per_weight":\{[^}]*\}|"below_bits":[0-9]*,"layer":"[a-z0-9]*"|"method":"[a-z]*","saturated":[0-9.nul]*|"written":null' | sed -E 's/("saturated":)[0-9][0-9.]*/\1N/'; grep -c '<h2>Updates' told/report.html; grep -c 'left">train</td>' told/report.html
out: "f32":{"bytes_per_weight":{"below":0.0,"codes":0.0,"f32":8.0,"gradient":4.0,"momentum":4.0}
out~ "integer":\{"bytes_per_weight":\{"below":2.0[0-9]*,"codes":1.0,"f32":0.0,"gradient":4.0,"momentum":4.0\}
out: "below_bits":12,"layer":"conv1"
out: "method":"residual","saturated":N
out: "below_bits":14,"layer":"conv2"
out: "method":"threshold","saturated":N
out: "below_bits":0,"layer":"fc"
out: "method":"sgd","saturated":null
out: 1
out: 3

# Residual bits chosen from the steps of training, in f32 (no grid) and on the grids of a plan; the record gives the same plan again.
$ bitgrad run ${RECIPES}/tiny.yaml --out probe stages='[train, profile, select, finetune]' 'select.residual={}' report.figures=false -q > /dev/null; grep -cE '^conv[12] .*w=s[48]/channel .*u=residual:[0-9]+$' probe/plan.txt; bitgrad select probe 2> /dev/null | sed -n '/^requant/,$p' | cmp - probe/plan.txt; bitgrad select probe 'select.residual={margin: 3}' 2> /dev/null | grep -oE 'u=residual:[0-9]+' > more; grep -oE 'u=residual:[0-9]+' probe/plan.txt | paste -d' ' - more | awk -F'[: ]' '$4 != $2 + 2' 
out: 2

$ printf 'conv1 w=s8 a=u8\nconv2 w=s4 a=u8 u=residual:5\nfc w=s6 a=u8 u=residual\n' > kept.txt; bitgrad run ${RECIPES}/tiny.yaml --out kept stages='[train, select, finetune]' quantize.plan=kept.txt select.plan=kept.txt 'select.residual={quantile: 0.1, least: 10, most: 12}' report.figures=false -v 2>&1 | grep -E '^select: [a-z0-9]*: ' | sed -E 's/2\^-?[0-9.]+/2^N/'; sed -E 's/residual:1[0-2]$/residual:R/' kept/plan.txt
out: select: conv1: 10 % of its steps are below 2^N of a step of its 8-bit weights: u=residual:10
out~ select: fc: 10 % of its steps are below 2\^N of a step of its 6-bit weights: u=residual:1[0-2]
out: requant f32-rne
out: conv1  w=s8/channel  a=u8  g=f32  dw=f32  u=residual:R
out: conv2  w=s4/channel  a=u8  g=f32  dw=f32  u=residual:5
out: fc  w=s6/channel  a=u8  g=f32  dw=f32  u=residual:R

$ bitgrad run ${RECIPES}/tiny.yaml --out kept3 stages='[profile, select]' 'select.residual={}' -q
err~ bitgrad: .*: select.residual: needs the train stage, whose updates it reads
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml --out kept3 'select.residual={quantil: 0.1}' -q
err~ bitgrad: .*select.residual.quantil: unknown key, did you mean .quantile.\?
exit: 65

# Bits change in the middle, every value stays: 8 + 10 bits become 4 + 16 with the grid's step 2^5 or 2^4 times as large; nothing is encoded from f32.
$ printf 'conv1 w=s8 a=u8 u=residual:10\nconv2 w=s4 a=u8 u=residual:16\nfc w=s8 a=u8 u=residual:10\n' > fewer.txt; bitgrad run ${RECIPES}/tiny.yaml --out fewer stages='[train, select, finetune, evaluate]' quantize.weight_bits=8 quantize.activation_bits=8 train.update=residual 'train.options={bits: 10}' select.plan=fewer.txt report.figures=false checkpoint.every_steps=1 -v 2>&1 | grep 'in integers'; tr -d ' \n' < fewer/result.json | grep -oE '"below_bits":[0-9]*,"layer":"conv2"'
out: train: 518 of 518 weights in integers, bytes per weight: codes 1.00, below 2.03, momentum 4.00, f32 copies 0.00, gradient 4.00
out: finetune: 518 of 518 weights in integers, bytes per weight: codes 1.00, below 2.03, momentum 4.00, f32 copies 0.00, gradient 4.00
out: "below_bits":16,"layer":"conv2"
out: "below_bits":10,"layer":"conv2"

$ sed -i 's/:16/:9/' fewer.txt; bitgrad run ${RECIPES}/tiny.yaml --out refused stages='[train, select, finetune]' quantize.weight_bits=8 quantize.activation_bits=8 train.update=residual 'train.options={bits: 10}' select.plan=fewer.txt report.figures=false -q
err: bitgrad: layer conv2: conv2.weight: weights of 4 bits with 9 below them would drop bits of their values that are not 0; at least 14 below are needed, limit is 24
exit: 65

# A mixed plan from end to end: no f32 master, none made for a moment of displacement, and the result says so.
$ printf 'conv1 w=s8 a=u8 u=residual:8\nconv2 w=s4 a=u8 u=residual:12\nfc w=s6 a=u8 u=threshold:14\n' > all.txt; bitgrad run ${RECIPES}/tiny.yaml --out all stages='[train, finetune, evaluate]' quantize.plan=all.txt train.no_displacement=true report.figures=false -q > /dev/null; tr -d ' \n' < all/result.json | grep -oE '"updates".*' | grep -oE '"(train|finetune)":|"(f32|integer)":\{|"f32":[0-9.]+|"remembered_bytes_per_weight":[0-9.]+|"weights":[0-9]+' | paste -sd' '
out: "finetune": "integer":{ "f32":0.0 "weights":518 "remembered_bytes_per_weight":8.0 "train": "integer":{ "f32":0.0 "weights":518 "remembered_bytes_per_weight":0.0

# Residual bits chosen for weights that are in integers: no fewer than their values need in the planned width, so that the plan can be put on.
$ bitgrad run ${RECIPES}/tiny.yaml --out carried stages='[train, select, finetune]' quantize.weight_bits=8 quantize.activation_bits=8 train.update=residual 'train.options={bits: 10}' select.policy=uniform select.search=count 'select.residual={most: 4}' report.figures=false -q > /dev/null; grep -o '^[a-z0-9]* .w=s[0-9]*\|residual:[0-9]*' carried/plan.txt | paste -d' ' - -; bitgrad select carried 2> /dev/null | sed -n '/^requant/,$p' | cmp - carried/plan.txt
out: conv1  w=s8 residual:10
out: conv2  w=s4 residual:15
out: fc  w=s8 residual:10
err: bitgrad: warning: select: conv1: more than 1 % of its steps stopped at the grid's end: it needs headroom, residual bits do not help
err: bitgrad: warning: select: conv2: more than 1 % of its steps stopped at the grid's end: it needs headroom, residual bits do not help
err: bitgrad: warning: select: fc: more than 1 % of its steps stopped at the grid's end: it needs headroom, residual bits do not help

# A grid that was re-fitted has left channels more bits than the method began with: those count.
$ bitgrad run ${RECIPES}/tiny.yaml --out refitted stages='[train, select, finetune]' quantize.weight_bits=8 quantize.activation_bits=8 train.update=residual 'train.options={bits: 10, grid: refit, refit_every: 2}' train.epochs=6 train.lr=0.2 select.policy=uniform select.search=count 'select.residual={most: 4}' finetune.update=residual 'finetune.options={grid: refit}' report.figures=false -q > /dev/null; grep -o '^[a-z0-9]* .w=s[0-9]*\|residual:[0-9]*' refitted/plan.txt | paste -d' ' - -; bitgrad select refitted 2> /dev/null | sed -n '/^requant/,$p' | cmp - refitted/plan.txt
out: conv1  w=s8 residual:11
out: conv2  w=s4 residual:16
out: fc  w=s8 residual:12

# A layer that had integers in one epoch and an f32 master in the next counts in the first alone: 8 steps, not 16; and its weights count.
$ bitgrad run ${RECIPES}/tiny.yaml --out part stages='[train, profile, select, finetune]' report.figures=false select.search=count select.count=2 select.second_bits=1 select.every=1 select.pin_first=false select.pin_last=false 'select.progress=[2, 1]' finetune.epochs=2 finetune.update=residual -q > /dev/null 2>&1; grep -o '^[a-z0-9]* .w=s[0-9]*' part/plan.txt; tr -d ' \n' < part/result.json | grep -oE '"updates".*"train"' | grep -oE '"(layer|method)":"[a-z0-9]+"|"writes_per_weight(_and_step)?":[0-9.e-]+' | sed 's/.*"://; s/"//g' | paste -sd' ' | awk '{ for (i = 3; i < NF; i += 4) { sum += $(i + 2) * ($i ~ /conv1/ ? 54 : $i ~ /conv2/ ? 432 : 32); printf "%s %s %.0f\n", $i, $(i + 1), $(i + 2) / $(i + 3) } d = sum / 518 - $1; print (d < 1e-9 && d > -1e-9) ? "sums up" : d }'
out: conv1  w=s2
out: conv2  w=s1
out: fc  w=s1
out: conv1 residual 16
out: conv2 sgd 8
out: fc sgd 8
out: sums up

# What a sum of gradients holds at the end of a stage (24 steps, 5 to a write) or before a selection is written then: other options can follow. A killed run comes to the same.
$ printf 'exec bitgrad run ${RECIPES}/tiny.yaml stages="[train, profile, select, finetune]" quantize.weight_bits=8 quantize.activation_bits=8 report.figures=false train.update=residual "train.options={bits: 12, gradients: 5, sum_bits: 2}" select.policy=uniform select.search=count select.every=1 "select.residual={least: 12}" finetune.epochs=2 "finetune.updates={residual: {gradients: 3}}" checkpoint.every_steps=1 "$@"\n' > sums; bash sums --out s1 -q > /dev/null 2>&1; echo $?; kill_at 'train: epoch 2' bash sums --out s2; kill_at 'finetune: epoch 1' bash sums --out s2; bash sums --out s2 -q > /dev/null 2>&1; bitgrad diff s1 s2
out: 0
out: equal

# Cycles of displacement in a later round train integers such as finetune has them, with bits that those of train would drop.
$ for o in 'residual {bits: 8, gradients: 3} {bits: 12, split: floor}' 'threshold {bits: 12} {bits: 16}'; do m=${o%% *}; t=${o#* }; bitgrad run ${RECIPES}/tiny.yaml --out cycles stages='[train, profile, select, finetune]' report.figures=false quantize.weight_bits=8 quantize.activation_bits=8 profile.cycles=1 select.policy=weight-displacement select.every=1 finetune.epochs=2 train.update=$m "train.options=${t%%\} *}}" finetune.update=$m "finetune.options=${t#*\} }" -q > /dev/null; grep -c 'w=s[48]' cycles/plan.txt; rm -r cycles; done
out: 3
out: 3

# Numbers of a run file by which others shift have limits.
$ printf 'conv1 w=s8 a=u8 u=residual:9\nconv2 w=s5 a=u8 u=residual:11\nfc w=s6 a=u8 u=residual:13\n' > odd.txt; bitgrad run ${RECIPES}/tiny.yaml --out odd stages='[train, select]' quantize.plan=odd.txt select.plan=odd.txt train.epochs=2 report.figures=false -q > /dev/null; cp -r odd odd2; forge_numbers odd/run.h5 '8 5 6 8 5 6' '8 5 6 8 5 40'; bitgrad select odd
err: bitgrad: odd/run.h5: updates/epochs/weight_bits: row 5 is 40, limits are 0 and 16
exit: 65
$ forge_numbers odd2/run.h5 '9 11 13 9 11 13' '9 11 13 9 11 25'; bitgrad select odd2
err: bitgrad: odd2/run.h5: updates/epochs/below_bits: row 5 is 25, limits are 0 and 24
exit: 65

# Learning rates of 1/16 and 1/32, and a number that is none in the place of the last.
$ bitgrad run ${RECIPES}/tiny.yaml --out odd3 stages='[train, select]' select.policy=uniform train.epochs=2 train.batch=256 train.lr=0.0625 train.schedule=step 'train.milestones=[1]' train.gamma=0.5 report.figures=false -q > /dev/null; s=0x3fb0000000000000; t=0x3fa0000000000000; forge_numbers odd3/run.h5 "$s $s $s $t $t $t" "$s $s $s $t $t 0x7ff8000000000000"; bitgrad select odd3
err: bitgrad: odd3/run.h5: updates/epochs/lr: row 5 is nan, expected a finite number from 0
exit: 65

# Bits fall along fine-tuning, the residuals follow the recorded steps; a killed run comes to the same, and the record gives each plan again.
$ printf 'exec bitgrad run ${RECIPES}/tiny.yaml stages="[train, profile, select, finetune]" report.figures=false profile.measures="[fisher, weight-error]" select.policy=fisher select.search=budget select.pin_first=false select.pin_last=false "select.budget={mean-weight-bits: 3}" select.every=1 "select.progress=[2, 1.5, 1]" finetune.epochs=3 "select.residual={}" checkpoint.every_steps=1 "$@"\n' > falling; bash falling --out f1 -q > /dev/null; kill_at 'select: selection 3' bash falling --out f2; kill_at 'finetune: epoch 3' bash falling --out f2; bash falling --out f2 -q > /dev/null; bitgrad diff f1 f2; bitgrad select f1 2> /dev/null | sed -n '/^requant/,$p' | cmp - f1/plan.txt; grep -c 'w=s[23]/channel .*u=residual' f1/plan.txt
out: equal
out: 3

# The section names the method and the plan leaves it open: each selection ranges and encodes anew.
$ sed 's/ "select.residual={}"//' falling > open; bash open --out f3 finetune.update=residual -v 2>&1 | grep -c 'in integers'; tr -d ' \n' < f3/result.json | grep -oE '"weights":[0-9]+'
out: 3
out: "weights":518
out: "weights":518
