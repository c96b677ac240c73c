# What a recipe may not say. ${RECIPES}/tiny.yaml is a good one.
$ bitgrad config show ${RECIPES}/tiny.yaml > a.yaml && bitgrad config show a.yaml > b.yaml && cmp a.yaml b.yaml

$ for r in ${RECIPES}/*.yaml; do bitgrad config show $r > a.yaml && bitgrad config show a.yaml | cmp - a.yaml; done

$ bitgrad config show ${RECIPES}/tiny.yaml train.epochs=7 select.pinned='[conv2]' | grep -E '^  (epochs: 7|pinned:)'
out:   epochs: 7
out:   pinned: [conv2]

$ bitgrad run ${RECIPES}/tiny.yaml train.epoch=3
err~ bitgrad: command line:1:[0-9]+: train.epoch: unknown key, did you mean .epochs.\?
exit: 65

# All errors at once.
$ bitgrad run ${RECIPES}/tiny.yaml train.epoch=3 selct.policy=x train.lr=-1 data.name=fashon-mnist
err...
err~ bitgrad: .*selct: unknown key, did you mean .select.\?
err...
err~ bitgrad: .*train.lr: -1 is outside 0\.\.1000
err...
err~ bitgrad: .*data.name: unknown data set .fashon-mnist., did you mean .fashion-mnist.\?
err~ bitgrad: .*/tiny.yaml: 4 errors
exit: 65

$ printf 'name: x\ntrain:\n  epochs: tenn\n' > r.yaml; bitgrad config show r.yaml data.name=synthetic network.name=lenet5
err~ bitgrad: r.yaml:3:[0-9]+: train.epochs: expected an integer, got .tenn.
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml data.name=mnist
err~ bitgrad: .*data.name: unknown data set .mnist..*
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml select.second_bits=17
err~ bitgrad: .*select.second_bits: 17 is outside 1\.\.16
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml select.policy=gradient-profil
err~ bitgrad: .*select.policy: unknown method 'gradient-profil', did you mean 'gradient-profile'\?
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml train.update=sdg
err~ bitgrad: .*train.update: unknown method 'sdg', did you mean 'sgd'\?
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml finetune.options.momentun=1
err~ bitgrad: .*finetune.options.momentun: unknown key, did you mean .momentum.\?
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml 'quantize.weight_range={name: percentil}'
err~ bitgrad: .*quantize.weight_range: unknown range method .percentil., did you mean .percentile.\?
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml 'stages=[train, evalute]'
err~ bitgrad: .*stages: unknown stage .evalute., did you mean .evaluate.\?
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml 'stages=[select, train]'
err~ bitgrad: .*stages: train cannot come after select
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml 'stages=[train, finetune]'
err~ bitgrad: .*stages: finetune needs the select stage, quantize.plan or quantize.weight_bits
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml quantize.weight_bits=4 'stages=[select, evaluate]'
err~ bitgrad: .*stages: quantize.plan, weight_bits and activation_bits need the train stage; .*
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml quantize.weight_bits=4 quantize.plan=p.txt 'stages=[train, evaluate]'
err~ bitgrad: .*quantize: plan says all bits: leave weight_bits and activation_bits out
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml quantize.weight_bits=17
err~ bitgrad: .*quantize.weight_bits: .*17.*16
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml name=a/b
err~ bitgrad: .*name: "a/b" cannot name a folder.*
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml name=
err~ bitgrad: .*name: "" cannot name a folder: 1 to 63 characters.*
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml 'name="a\nb"'
err~ bitgrad: .*name: "\?" cannot name a folder.*
exit: 65

# A name that would break the line is shown on one.
$ bitgrad run $'not\nthere.yaml'
err~ bitgrad: not\?there.yaml: .*No such file or directory
exit: 65

# What the select stage would refuse is refused before the training.
$ bitgrad run ${RECIPES}/tiny.yaml 'select.pinned=[conv3]' --out x
err~ bitgrad: select.pinned: no layer 'conv3'.*
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml data.validation=0 --out x
err: bitgrad: select: search binary needs a validation part; set data.validation
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml 'stages=[train, select]' --out x
err: bitgrad: gradient-profile: the profile has no gradients; run the profile stage
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml 'select={policy: weight-displacement, options: {reference: reset}}' --out x
err: bitgrad: weight-displacement: the profile has no cycle measured against "reset"; run the train or profile stage so
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml select.activation_bits=1 --out x
err~ bitgrad: layer conv1: a=u1 needs an input without negative values.*
exit: 65

# A network that fits nowhere.
$ bitgrad run ${RECIPES}/tiny.yaml 'network={layers: [{linear: {out: 65536}}, {linear: {out: 65536}}, {linear: {out: 4}}]}' --out x
err~ bitgrad: command line:[0-9:]+ linear linear2: weight has 4294967296 elements, limit is 2147483647
exit: 65

# Impossible shapes name the layer.
$ bitgrad run ${RECIPES}/tiny.yaml network.layers.0.conv.kernel=15 --out x
err~ bitgrad: .*/tiny.yaml:[0-9]+:[0-9]+: conv2d conv1: kernel 15x15 does not fit input 12x12 with padding 1
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml network.layers.8.linear.out=5 --out x
err~ bitgrad: .*layer fc: the last layer gives 1x1x5 values, the data have 4 classes
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml network.layers.4.conv.groups=4 --out x
err~ bitgrad: .*conv2d conv2: .*4 groups
exit: 65

# Layers side by side: two to four of one height and width.
$ bitgrad run ${RECIPES}/tiny.yaml 'network.layers.6={concat: {from: [conv2]}}' --out x
err~ bitgrad: command line:1:[0-9]+: network.layers\[6\].concat: concat reads 2 to 4 layers: from: \[a, b\], from names 1
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml 'network.layers.6={concat: {from: [conv2, conv2, conv2, conv2, conv2]}}' --out x
err~ bitgrad: command line:1:[0-9]+: network.layers\[6\].concat: concat reads 2 to 4 layers: from: \[a, b\], from names 5
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml 'network.layers.6={concat: {from: [conv2, conv3]}}' --out x
err~ bitgrad: command line:1:[0-9]+: network.layers\[6\].concat: from: no earlier layer is called "conv3", did you mean "conv1"\?
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml 'network.layers.6={concat: {from: [batch-norm2, conv1]}}' --out x
err~ bitgrad: command line:1:[0-9]+: concat concat1: batch-norm2 is 6x6x8, conv1 is 12x12x6: all must have one height and width
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml 'network.layers.6={relu7: {}}' --out x
err~ bitgrad: command line:1:[0-9]+: network.layers\[6\]: unknown layer type "relu7", did you mean "relu"\?
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml 'network={name: mobilenet-small, depth: 4}' --out x
err~ bitgrad: .*network.depth: 4 is outside 5\.\.64
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml 'network={name: vgg-smal}' --out x
err~ bitgrad: .*network.name: unknown network "vgg-smal", did you mean "vgg-small"\?
exit: 65

# Such a network trains, and its recipe is written with every layer's sources.
$ bitgrad run -q ${RECIPES}/tiny.yaml 'network.layers.6={concat: {from: [batch-norm2, max-pool1]}}' 'network.layers.2={relu6: {}}' 'stages=[train]' train.epochs=1 --out joined > /dev/null && bitgrad config show joined/recipe.yaml | grep -A2 -e '- concat'
out:     - concat:
out:         name: concat1
out:         from: [batch-norm2, max-pool1]

# Nothing is left behind by a run that could not begin.
$ ls x
err~ ls: cannot access 'x': .*
exit: 2

$ bitgrad run nothere.yaml
err~ bitgrad: nothere.yaml: .*No such file or directory
exit: 65

$ printf 'name: x\n  bad: [' > bad.yaml; bitgrad run bad.yaml
err~ bitgrad: bad.yaml:2:.*
exit: 65

$ printf 'name: x\nname: y\n' > bad.yaml; bitgrad run bad.yaml
err~ bitgrad: bad.yaml:2:.*name.*
exit: 65

$ printf 'name: x\n' > few.yaml; bitgrad config show few.yaml
err~ bitgrad: few.yaml:1:1: data: section is missing
err~ bitgrad: few.yaml:1:1: network: section is missing
err: bitgrad: few.yaml: 2 errors
exit: 65

# Of very many errors the first are listed.
$ for i in {1..20000}; do echo "k$i: 1"; done > many.yaml; bitgrad config show many.yaml
err: bitgrad: many.yaml:1:1: k1: unknown key
err...
err~ bitgrad: many.yaml: more than [0-9]+ errors, the first are listed
exit: 65

$ bitgrad run ${RECIPES}/tiny.yaml train.milestones=1,2
err~ bitgrad: override "train.milestones=1,2": a list needs brackets.*
exit: 64

$ bitgrad run ${RECIPES}/tiny.yaml train
err~ bitgrad: override "train": expected key.path=value
exit: 64

# Folders that cannot be written.
$ touch file; bitgrad run ${RECIPES}/tiny.yaml --out file/x
err~ bitgrad: file.*
exit: 74

# Training that runs away stops and names what is not finite; nothing of it is saved.
$ bitgrad run -q ${RECIPES}/tiny.yaml train.lr=1000 train.epochs=30 --out away
err~ bitgrad: .*step [0-9]+.*: .* not finite.*
exit: 65
$ bitgrad run -q ${RECIPES}/tiny.yaml train.lr=1000 train.epochs=1 --out away1
err: bitgrad: batch-norm2.running_var is not finite and cannot be saved; a lower lr may help
exit: 65

# A warm-up that never ends is said.
$ bitgrad run -q ${RECIPES}/tiny.yaml train.warmup=5 'stages=[train]' --out warm > /dev/null
err: bitgrad: warning: train: warmup of 5 epochs is longer than the 3 trained

# Per-channel statistics recorded along training serve a policy too.
$ bitgrad run ${RECIPES}/tiny.yaml profile.batches=0 train.profile_every=4 profile.per_channel=true select.options.granularity=channel report.figures=false --out channels -q | grep statistic: ; bitgrad run ${RECIPES}/tiny.yaml --out channels -q 2>/dev/null
out: statistic: mean of mean square per channel of weight gradients over 6 batches, ascending
exit: 65

# What training on codes comes to is said: as a whole, or layer by layer (a CPU without AMX: not at all).
$ bitgrad run ${RECIPES}/tiny.yaml compute=fast report.figures=false --out fast 2>&1 | grep 'fast[:,]'
out~ finetune: (all fast: 3 layers on codes and bf16|not fast, all in f32: this CPU has no AMX.*)
$ bitgrad run ${RECIPES}/tiny.yaml compute=fast 'quantize.activation_range={name: lsq}' report.figures=false --out partly 2>&1 | grep 'fast[:,]'
out~ finetune: (partly fast: 3 of 3 layers on codes, the rest in f32 \(relu1: ranges by lsq need every value of a batch\)|not fast, all in f32: this CPU has no AMX.*)
