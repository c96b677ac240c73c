# Gradients of few bits: keys of a recipe, plans, P5, resume, refusals.
$ printf 'exec bitgrad run ${RECIPES}/tiny.yaml quantize.weight_bits=8 quantize.activation_bits=8 report.figures=false checkpoint.every_steps=1 "$@"\n' > go; bash go --out eight stages='[train, evaluate]' quantize.gradient_bits=8 -v 2>&1 | grep -E 'codes|test accuracy'; cat eight/plan.txt
out~ train: .*
out: evaluate: quantized: test accuracy 100.00 %
out: quantized  test accuracy 100.00 %  (128 of 128)
out: requant f32-rne
out: conv1  w=s8/channel  a=u8  g=s8/tensor  dw=f32  u=sgd
out: conv2  w=s8/channel  a=u8  g=s8/tensor  dw=f32  u=sgd
out: fc  w=s8/channel  a=u8  g=s8/tensor  dw=f32  u=sgd

# Killed and gone on with, also in draws.
$ printf 'exec bash go stages="[train, finetune, evaluate]" quantize.gradient_bits=4 quantize.weight_gradient_bits=6 quantize.gradient_rounding=stochastic quantize.gradient_scale=channel train.epochs=4 "$@"\n' > few; bash few --out whole -q > /dev/null; kill_at 'train: epoch 2' bash few --out cut; kill_at 'finetune: epoch 1' bash few --out cut; bash few --out cut -q > /dev/null; bitgrad diff whole cut; cat cut/plan.txt
out: equal
out: requant f32-rne
out: conv1  w=s8/channel  a=u8  g=s4/channel  dw=s6/channel  u=sgd
out: conv2  w=s8/channel  a=u8  g=s4/channel  dw=s6/channel  u=sgd
out: fc  w=s8/channel  a=u8  g=s4/channel  dw=s6/channel  u=sgd

# Other rounding, other numbers.
$ bash few --out other -q quantize.gradient_rounding=nearest > /dev/null; bitgrad diff whole other | grep -c different
out: 1

# A plan's own stand, what it leaves is filled in; beside weights that live in integers.
$ printf 'conv1 w=s8 a=u8 g=bf16 dw=s5/channel u=residual:8\nconv2 w=s4 a=u8 g=s9/channel\nfc w=s8 a=u8\n' > plan.txt; bitgrad run ${RECIPES}/tiny.yaml --out mixed stages='[train, evaluate]' quantize.plan=plan.txt quantize.gradient_bits=6 report.figures=false -q > /dev/null; cat mixed/plan.txt
out: requant f32-rne
out: conv1  w=s8/channel  a=u8  g=bf16  dw=s5/channel  u=residual:8
out: conv2  w=s4/channel  a=u8  g=s9/channel  dw=f32  u=sgd
out: fc  w=s8/channel  a=u8  g=s6/tensor  dw=f32  u=sgd

# The classifier's follow from its classes, the others' from the recipe; asked again, the same plan.
$ bitgrad run ${RECIPES}/tiny.yaml --out classes -q report.figures=false quantize.gradient_bits=5 'select={policy: class-count, options: {scope: gradients, gradients: output}}' > /dev/null; cat classes/plan.txt; bitgrad select classes --out again.txt > /dev/null; cmp again.txt classes/plan.txt
out: requant f32-rne
out: conv1  w=s8/channel  a=u8  g=s5/tensor  dw=f32  u=sgd
out: conv2  w=s4/channel  a=u8  g=s5/tensor  dw=f32  u=sgd
out: fc  w=s8/channel  a=u8  g=s8/tensor  dw=f32  u=sgd

# Without quantized weights, in f32, and in more bits than bf16 holds.
$ for o in 'compute=exact quantize.gradient_bits=4' 'compute=reference quantize.gradient_bits=8 train.epochs=1' 'quantize.weight_bits=8 quantize.activation_bits=8 quantize.gradient_bits=12'; do bitgrad run ${RECIPES}/tiny.yaml --out o stages='[train, evaluate]' report.figures=false -v $o 2>&1 | grep -cE 'epoch|has more bits than bf16 holds'; rm -r o; done
out: 3
out: 1
out~ [34]

$ bitgrad run ${RECIPES}/tiny.yaml quantize.gradient_bits=1 quantize.weight_gradient_bits=1
err~ bitgrad: .*quantize.gradient_bits: a gradient of 1 bit has a sign and no size: 0 or 2 to 16
err~ bitgrad: .*quantize.weight_gradient_bits: a gradient of 1 bit has a sign and no size: 0 or 2 to 16
err~ bitgrad: .*tiny.yaml: 2 errors
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml quantize.gradient_bits=17
err~ bitgrad: .*quantize.gradient_bits: 17 is outside 0..16
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml quantize.gradient_rounding=floor
err~ bitgrad: .*quantize.gradient_rounding: .*floor.*
exit: 65

$ printf 'conv1 w=s8 a=u8 g=s1\n' > plan.txt; bitgrad run ${RECIPES}/tiny.yaml --out x stages='[train, evaluate]' quantize.plan=plan.txt
err: bitgrad: plan.txt:1: layer conv1: g=s1: 1 bits, at least 2
exit: 65

$ printf 'conv1 w=s8 a=u8\npool g=s8\n' > plan.txt; bitgrad run ${RECIPES}/tiny.yaml --out x stages='[train, evaluate]' quantize.plan=plan.txt
err~ bitgrad: plan.txt: the plan names layer pool, the network has no such layer.*
exit: 65
