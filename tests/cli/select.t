# Measures, and decisions taken again from what a run has recorded.
$ printf 'exec bitgrad run ${RECIPES}/tiny.yaml report.figures=false profile.measure_batches=2 "profile.candidates=[2, 4, 8]" select.pin_first=false select.pin_last=false "$@"\n' > go; printf 'profile.measures=[weight-error, activation-error, {name: output-error, as: kl, metric: kl}, loss-change, gradient-error, fisher, {name: hessian, vectors: 2}, {name: perturbation, draws: 2}, combinations]' > all; bash go --out whole -q "$(cat all)" > /dev/null; ls whole
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

$ bitgrad list measures | grep -c '^[a-z]'
out: 9

# The recipe with measures prints as it reads.
$ bitgrad config show ${RECIPES}/tiny.yaml "$(cat all)" 'select={policy: reverse, options: {of: {name: fisher, noise: measured}}}' > a.yaml; bitgrad config show a.yaml | cmp - a.yaml; grep -A 3 'as: .kl' a.yaml; grep -A 2 'of:' a.yaml
out:       as: "kl"
out:       output: logits
out:       metric: kl
out:       weights: true
out:     of:
out:       name: fisher
out:       noise: measured

# The run's own policy again: the same ranking and the same plan.
$ bitgrad select whole --out again.txt > text; cmp again.txt whole/plan.txt; grep -c 'rank' text; bitgrad select whole --out again.txt
err: bitgrad: --out again.txt: exists already
out: 2
exit: 64

# Any policy, from data alone; the run does not change.
$ find whole -type f | sort | xargs sha256sum > before; for p in class-count fisher gradient-error gradient-profile hessian loss-change oracle perturbation random uniform weight-displacement weight-error; do bitgrad select whole policy=$p select.search=count select.count=1 --penalties | grep -c 'w=s4'; done | uniq -c; bitgrad select whole policy=output-error options.measure=kl options.metric=kl select.search=count select.count=2 --json | grep -o '"chosen":[0-9]*'; bitgrad select whole policy=reverse 'options.of={name: fisher, noise: measured}' select.search=threshold select.threshold=0 | grep -c 'reverse of fisher'; find whole -type f | sort | xargs sha256sum | cmp - before
out:      12 1
out: "chosen":2
out: 1

# A class-count run: asked again, the same from its own trials; they say nothing of a plan that fixes
# no layer or fixes it at other bits, nor the trials of such a run of this one.
$ bash go --out classes -q "$(cat all)" 'select={policy: class-count, options: {supported: [16]}}' > /dev/null; bitgrad select classes --out c.txt > c; cmp c.txt classes/plan.txt; grep -c '^fc.*w=s16' c.txt; grep -c 'classes need' c; bitgrad select classes policy=class-count 'options.supported=[8]' | grep -c 'no plan'; bitgrad select classes policy=uniform | grep -c 'no plan'; bash go --out uniform -q "$(cat all)" select.policy=uniform > /dev/null; bitgrad select uniform policy=class-count 'options.supported=[16]' | grep -c 'no plan'
out: 1
out: 1
out: 1
out: 1
out: 1

# Layers recorded along training stand in for a stage that recorded none, with their own channels.
$ bash go --out along -q train.profile_every=1 profile.batches=0 profile.cycles=2 profile.per_channel=true > /dev/null; bitgrad select along policy=gradient-profile options.granularity=channel select.search=count select.count=1 | grep -c 'per channel'
out: 1

# Missing quantities are found before training.
$ bash go --out x 'profile.measures=[output-error]' 'select={policy: output-error, options: {metric: kl}}'
err~ bitgrad: output-error: measure "output-error" has no divergence of weights; measure it so in profile.measures
exit: 65

# A live decision of every policy, by a run that takes the measures it needs alone, equals its replay from the first run.
$ printf '%s\n' 'class-count|supported=[16]|' 'class-count|supported=[16] of=fisher|fisher, weight-error, activation-error' 'fisher||fisher, weight-error, activation-error' 'gradient-error||gradient-error' 'gradient-profile|quantities=[input,output]|' 'hessian||{name: hessian, vectors: 2}, weight-error' 'loss-change||loss-change' 'oracle||combinations' 'output-error|measure=kl metric=kl|{name: output-error, as: kl, metric: kl}' 'perturbation||{name: perturbation, draws: 2}, weight-error' 'random|draw=3|' 'reverse|of=weight-error|weight-error, activation-error' 'uniform|order=backward|' 'weight-displacement||' 'weight-error||weight-error, activation-error' > policies; cut -d '|' -f 1 policies | sort -u > these; bitgrad list policies | grep -oE '^[a-z-]+' | sort | cmp - these
$ words() { sed -E "s/(^| )([a-z])/\1$1.\2/g"; }; while IFS='|' read -r p options measures; do bash go --out live -q stages=[train,profile,select] "profile.measures=[$measures]" select.policy=$p $(words select.options <<< "$options") select.search=count select.count=2 > /dev/null; bitgrad select whole policy=$p $(words options <<< "$options") select.search=count select.count=2 --out $p.txt > replay; bitgrad select live > lived; cmp $p.txt live/plan.txt; cmp replay lived; grep '^policy' lived; rm -r live $p.txt; done < policies | sort -u | wc -l
out: 14

# A run that was cut off in its search answers too.
$ kill_at 'select: 0' bash go --out half "$(cat all)"; bitgrad select half policy=fisher select.search=count select.count=2 > h; bitgrad select whole policy=fisher select.search=count select.count=2 | cmp - h

# What a replay cannot know.
$ bitgrad select whole policy=weight-error select.second_bits=2 | grep 'no plan'
out~ no plan: search binary needs the accuracy with [0-9] of these layers at 2 bits, which the run has not evaluated; give select.search=count select.count=N

$ bitgrad select whole policy=weight-error select.second_bits=2 --out none.txt; ls none.txt
err~ bitgrad: --out none.txt: there is no plan: search binary needs .*
err~ ls: .*
exit: 2

$ bitgrad select whole policy=weight-error select.second_bits=3
err: bitgrad: weight-error: measure "weight-error" has no mean-square of layer conv1 at 3 bits; add 3 to profile.candidates and run the profile stage
exit: 65

$ bitgrad select whole policy=output-error
err: bitgrad: output-error: the run has no measure "output-error"; add it to profile.measures and run the profile stage
exit: 65

$ bitgrad select whole options.scale_by_step=true | grep -c 'times step'; bitgrad select whole options.scale_by_step=true select.second_bits=2
out: 1
err: bitgrad: gradient-profile: scale_by_step needs the weights' grid steps
exit: 64

$ bitgrad select whole policy=fishr
err~ bitgrad: .*select.policy: unknown method 'fishr', did you mean 'fisher'\?
exit: 65

$ bitgrad select whole train.lr=1
err~ bitgrad: select: 'train.lr=1': expected policy=NAME, options.KEY=VALUE, select.KEY=VALUE or seed=NUMBER
exit: 64

$ bitgrad select nothing
err~ bitgrad: nothing/run.h5: .*
exit: 65

# Missing data is found before anything is trained.
$ bash go --out x select.policy=fisher
err: bitgrad: fisher: the run has no measure "fisher"; add it to profile.measures and run the profile stage
exit: 65

$ bash go --out x 'profile.measures=[weight-error]' select.policy=weight-error select.second_bits=3
err~ bitgrad: weight-error: .*add 3 to profile.candidates.*
exit: 65

$ bash go --out x 'profile.measures=[weight-error]' 'stages=[train, select]' select.policy=weight-error
err~ bitgrad: weight-error: measure "weight-error" was not taken yet; run the profile stage
exit: 65

$ bash go --out x 'profile.measures=[{name: combinations, limit: 26}]'
err: bitgrad: combinations: 3 candidates over 3 layers make 27 combinations, the limit is 26
exit: 65

$ bash go --out x 'stages=[train, profile]' 'profile.measures=[{name: combinations, limit: 26}]'
err: bitgrad: combinations: 3 candidates over 3 layers make 27 combinations, the limit is 26
exit: 65

$ bash go --out x 'profile.measures=[weight-error]' 'profile.candidates=[1, 8]'
err~ bitgrad: profile.candidates: 1: layer conv1: a=u1 needs an input without negative values.*
exit: 65

$ bash go --out x 'select={policy: class-count, options: {scope: both, mode: table, table_classes: [2], table_bits: [1], base_bits: 1, supported: [1]}}'
err: bitgrad: class-count: gradients have 2 to 16 bits or 32, not 1
exit: 65

$ bash go --out x 'profile.measures=[weight-eror, {name: hessian, vectors: 0}]' 'profile.candidates=[0]'
err...
err~ bitgrad: .*profile.measures: unknown measure 'weight-eror', did you mean 'weight-error'\?
err...
exit: 65

$ ls x
err~ ls: .*
exit: 2

# A kill between two measures, and a stop in one: the same numbers.
$ kill_at 'profile: gradient-error' bash go --out cut "$(cat all)"; bash go --out cut -q "$(cat all)" > /dev/null; bitgrad diff whole cut
out...

$ stop_at 'profile: fisher' bash go --out stopped "$(cat all)" > /dev/null; bash go --out stopped -v "$(cat all)" 2>&1 | grep -c 'profile: weight-error'; bitgrad diff whole stopped
out: 0
out...

# A network trained in 8 bits: its masters are measured, and it goes on in its bits.
$ bash go --out eight -q "$(cat all)" quantize.weight_bits=8 quantize.activation_bits=8 | grep -c 'test accuracy'
out: 3
$ kill_at 'profile: gradient-error' bash go --out eightcut "$(cat all)" quantize.weight_bits=8 quantize.activation_bits=8; bash go --out eightcut -q "$(cat all)" quantize.weight_bits=8 quantize.activation_bits=8 > /dev/null; bitgrad diff eight eightcut
out...

# Everything measured as one table.
$ bitgrad profile export whole > p.tsv; head -n 1 p.tsv; cut -f 1 p.tsv | sort | uniq -c | awk '{print $2}'; awk -F '\t' '{print NF}' p.tsv | sort -u; grep -c 'measures	combinations' p.tsv
out: table	source	step	layer	role	channel	bits	quantity	value	spread	samples	passes	epoch	method
out: displacement
out: gradients
out: measures
out: memory
out: table
out: updates
out: 14
out: 27

$ bitgrad profile export whole --format json | grep -o '"table"' | wc -l > rows; sed 1d p.tsv | wc -l | cmp - rows

# Updates by layer, stage, epoch and method; sizes of steps add up to their sample.
$ bitgrad run ${RECIPES}/tiny.yaml --out moved -q 'stages=[train, finetune, evaluate]' quantize.weight_bits=8 train.update=residual finetune.update=sgd train.epochs=2 finetune.epochs=1 report.figures=false > /dev/null; bitgrad profile export moved > m.tsv; grep '^updates' m.tsv | cut -f 2,4,7,8,13,14 | grep -E 'fc.*(below-bits|written)'; awk -F '\t' '$8 ~ /^steps-/ { sum[$2 $4 $13] += $9; of[$2 $4 $13] = $11 } END { for (i in sum) { n++; wrong += sum[i] != of[i] || sum[i] == 0 }; print n, wrong + 0 }' m.tsv
out: train	fc	8	below-bits	1	residual
out: train	fc	8	written	1	residual
out: train	fc	8	below-bits	2	residual
out: train	fc	8	written	2	residual
out: finetune	fc	8	below-bits	1	sgd
out: 9 0

# What became of the updates of integer weights gives the result's shares.
$ awk -F '\t' '$1 == "updates" && $2 == "train" { sum[$8] += $9 } END { n = sum["updates"]; printf "lost:%.9f\nsaturated:%.9f\nwrites_per_weight_and_step:%.9f\n", sum["lost"] / n, sum["saturated"] / n, sum["written"] / n }' m.tsv > shares; tr -d ' \n"' < moved/result.json | grep -o 'updates:{.*' | grep -oE 'train:\{.*' | grep -oE 'integer:\{bytes_per_weight:\{[^}]*\}[^}]*' | tr ',' '\n' | awk -F: '/^(lost|saturated|writes_per_weight_and_step):/ { printf "%s:%.9f\n", $1, $2 }' | cmp - shares; awk -F: '$2 > 0' shares | wc -l
out: 3

# The memory of weights at the end of each stage.
$ for t in train finetune; do awk -F '\t' -v t=$t '$1 == "memory" && $2 == t && $4 == "fc" { printf "%s=%s ", $8, $9 }' m.tsv; echo; done
out: integer=1 weights=32 codes=32 below=36 momentum=128 f32=128 gradient=128 
out: integer=0 weights=32 codes=0 below=0 momentum=128 f32=256 gradient=128 

$ bitgrad profile export moved --format json | tr -d ' \n' | grep -o '{[^}]*"table"[^}]*}' > j; for t in updates memory; do grep -c "\"table\":\"$t\"" j; grep -c "^$t" m.tsv; done | uniq -c | awk '{ print $1 }'; grep -m 1 '"momentum"' j; grep -m 1 '"written"' j | sed 's/"value":[0-9.]*/"value":N/'
out: 2
out: 2
out: {"layer":"conv1","quantity":"momentum","role":"weight","source":"train","table":"memory","value":216.0}
out: {"bits":8,"epoch":1,"layer":"conv1","method":"residual","quantity":"written","role":"weight","source":"train","table":"updates","value":N}

$ bitgrad profile export whole --format xml
err: bitgrad: --format: expected tsv or json, got 'xml'
exit: 64

$ bitgrad profile exprt whole
err: bitgrad: profile: unknown word 'exprt'; there is `profile export RUN`
exit: 64
