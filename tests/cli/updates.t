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
