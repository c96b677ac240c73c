# Selection within budgets, by latency tables, and again along fine-tuning.
$ printf 'exec bitgrad run ${RECIPES}/tiny.yaml stages="[train, profile, select, finetune, evaluate]" report.figures=false profile.measures="[fisher, weight-error]" profile.candidates="[2, 3, 4, 6, 8]" select.policy=fisher select.search=budget select.pin_first=false select.pin_last=false "$@"\n' > go; bash go --out one 'select.budget={mean-weight-bits: 3.5, bytes: 1000}' 2>&1 | grep 'select:'
out~ select: fisher by exact: mean-weight-bits .* of 3.5 \(.* left\), bytes .* of 1000 \(.* left\); objective .*, proven the least

# The decision again, from the file: the same plan.
$ bitgrad select one | sed -n '/^requant/,$p' | cmp - one/plan.txt
$ bitgrad select one --json | grep -o '"optimal":true'
out: "optimal":true

$ bitgrad select one 'select.budget={bytes: 100}'
err~ bitgrad: no plan holds bytes 100, the smallest feasible one is .*
exit: 65

$ bash go --out none
err~ bitgrad: .*select.budget: search: budget needs at least one, such as \{bytes: 100000\}
exit: 65

$ bash go --out none 'select.budget={byte: 4}'
err~ bitgrad: .*select.budget.byte: unknown key, did you mean .bytes.\?
exit: 65

$ bash go --out none 'select.budget={mean-weight-bits: 1}'
err: bitgrad: select: no plan holds mean-weight-bits 1, the smallest feasible one is 2
exit: 65

$ bash go --out none 'select.budget={mean-weight-bits: 4}' 'select.candidates=[4, 4]'
err~ bitgrad: .*select.candidates: 4 bits stand there twice
exit: 65

$ bash go --out none 'select.budget={mean-weight-bits: 4}' 'select.tied=[[conv1, conv3]]'
err~ bitgrad: .*select.tied: unknown layer "conv3", did you mean "conv[12]"\?
exit: 65

$ bash go --out none 'select.budget={mean-weight-bits: 4}' 'select.allocator=exakt'
err~ bitgrad: .*select.allocator: .*'exakt'.*
exit: 65

# Allocators that only check a budget name it in its own unit.
$ bitgrad select one select.allocator=count 'select.allocator_options={count: 1}' 'select.budget={mean-weight-bits: 3.5}'
err~ bitgrad: count: its plan takes mean-weight-bits=7\.[0-9]+, the budget is 3.5
exit: 65

# Latency: a table of one's own, with all that can be wrong in it.
$ bash go --out none 'select.budget={latency: 4}'
err~ bitgrad: .*select.latency: a budget of latency needs a table
exit: 65

$ printf 'layer candidate penalty latency\n' > head; for l in conv1 conv2 fc; do for b in 2 3 4 6 8; do echo $l $b 0 $b; done; done > rows; cat head rows > latency.tsv; bash go --out fast 'select.budget={latency: 11}' select.latency=latency.tsv 2>&1 | grep 'select:'
out~ select: fisher by exact: latency .* of 11 .*

# The table is the run's: another one under its name is refused, by a replay and by a resume.
$ bitgrad select fast | grep -c w=; cp latency.tsv was.tsv; echo '# more' >> latency.tsv; bitgrad select fast; kill_at 'finetune: epoch 1' bash go --out torn 'select.budget={latency: 11}' select.latency=latency.tsv finetune.epochs=2 checkpoint.every_steps=1; cp was.tsv latency.tsv; bash go --out torn 'select.budget={latency: 11}' select.latency=latency.tsv finetune.epochs=2 checkpoint.every_steps=1
out: 3
err~ bitgrad: latency.tsv is not the table that the run was begun with \(hash .*\)
err~ bitgrad: latency.tsv is not the table that the run was begun with \(hash .*\)
exit: 65

$ grep -v 'fc 4' latency.tsv > hole.tsv; bash go --out none 'select.budget={latency: 11}' select.latency=hole.tsv
err: bitgrad: select: latency: the table has no row of layer fc at w4a8
exit: 65

$ (cat latency.tsv; echo conv3 4 0 1) > more.tsv; bash go --out none 'select.budget={latency: 11}' select.latency=more.tsv
err~ bitgrad: select: more.tsv: the network has no layer 'conv3', did you mean .*
exit: 65

$ (cat latency.tsv; echo conv2 w4 0 1) > twice.tsv; bash go --out none 'select.budget={latency: 11}' select.latency=twice.tsv
err: bitgrad: select: twice.tsv: layer conv2: candidate 'w4' has a row already, by another name
exit: 65

$ sed 's/latency/seconds/' latency.tsv > other.tsv; bash go --out none 'select.budget={latency: 11}' select.latency=other.tsv
err: bitgrad: select: other.tsv: there is no column 'latency'
exit: 65

$ bitgrad bench layers --model lenet5 --batch 1 --steps 1 --table t.tsv > /dev/null; sed -n 2p t.tsv; grep -c . t.tsv; bitgrad allocate --costs t.tsv --budget latency=1 --json | grep -o '"candidate"' | grep -c .
out~ layer.candidate.penalty.latency
out: 47
out: 5

$ bitgrad bench step --table t2.tsv
err: bitgrad: bench step writes no latency table; bench layers does
exit: 64

# Three selections: after training, after each epoch of fine-tuning, with less each time.
$ bash go --out rounds 'select.budget={mean-weight-bits: 3}' select.every=1 finetune.epochs=3 'select.progress=[2, 1.4]' checkpoint.every_steps=1 2>&1 | grep -E 'selection|by exact'
out: select: selection 1 of 3
out~ select: fisher by exact: mean-weight-bits 6 of 6 .*
out: select: selection 2 of 3
out~ select: fisher by exact: mean-weight-bits .* of 4.2 .*
out: select: selection 3 of 3
out~ select: fisher by exact: mean-weight-bits 3 of 3 .*

# Each of them again from the file; the last is the run's plan.
$ for i in 1 2 3; do bitgrad select rounds --round $i | sed -n '/^requant/,$p' > plan-$i; grep -c . plan-$i; done; cksum plan-? | cut -d' ' -f1 | sort -u | grep -c .; cmp plan-3 rounds/plan.txt
out: 4
out: 4
out: 4
out: 3

$ bitgrad select rounds --round 4
err: bitgrad: rounds has 3 rounds of selection, there is no round 4
exit: 64

# Killed anywhere it makes the same bits.
$ kill_at 'selection 2' bash go --out cut 'select.budget={mean-weight-bits: 3}' select.every=1 finetune.epochs=3 'select.progress=[2, 1.4]' checkpoint.every_steps=1
$ kill_at 'selection 3' bash go --out cut 'select.budget={mean-weight-bits: 3}' select.every=1 finetune.epochs=3 'select.progress=[2, 1.4]' checkpoint.every_steps=1
$ bash go --out cut 'select.budget={mean-weight-bits: 3}' select.every=1 finetune.epochs=3 'select.progress=[2, 1.4]' checkpoint.every_steps=1 -q > /dev/null; bitgrad diff rounds cut
out: equal

# By prefix, bits only down: what is once at 3 bits stays there.
$ bash go --out prefix select.search=count select.count=2 select.second_bits=3 select.every=1 finetune.epochs=2 -q > /dev/null; bitgrad select prefix --round 1 | grep -c w=s3; grep -c w=s3 prefix/plan.txt
out: 2
out: 2

# A larger budget in the second of three selections, more bits for its prefix: with direction: both layers rise, with down none.
$ for d in both down; do bash go --out budget-$d 'select.budget={mean-weight-bits: 3.5}' select.every=1 finetune.epochs=3 'select.progress=[1, 1.3]' select.direction=$d -q > /dev/null; bash go --out prefix-$d select.search=count select.count=2 select.second_bits=3 select.every=1 finetune.epochs=3 'select.progress=[1, 2]' select.direction=$d -q > /dev/null; done; for r in budget-both prefix-both budget-down prefix-down; do for i in 1 2 3; do bitgrad select $r --round $i | sed -n '/^requant/,$p' > $r-$i; grep -oE 'w=s[0-9]+' $r-$i | cut -c 4- > bits-$i; done; paste bits-1 bits-2 bits-3 | awk -v r=$r '{ n++; up += $2 > $1; again += $3 > $2 } END { print r, n, (up ? "rise" : "none rises"), again + 0 }'; done; cmp budget-both-1 budget-down-1; cmp prefix-both-1 prefix-down-1
out: budget-both 3 rise 0
out: prefix-both 3 rise 0
out: budget-down 3 none rises 0
out: prefix-down 3 none rises 0

# Each round from the file is the round that the run made; the last one is its plan.
$ for r in budget-both prefix-both budget-down prefix-down; do bitgrad report $r --no-figures > /dev/null; for i in 1 2 3; do sed -n "/<summary>selection $i,/,/<\/pre>/p" $r/report.html | sed '1d; s/^<pre>//; s/<.*//; /^$/d' | cmp - $r-$i; done; cmp $r-3 $r/plan.txt; done

# Factors are for the selections before the last; keys of budgets are not passed over.
$ bash go --out none 'select.budget={bytes: 1000}' 'select.progress=[2]'
err~ bitgrad: .*select.progress: the last of 1 selection would take 2 times what is asked for; factors are for those before it \(select.every\)
exit: 65

$ bash go --out none select.search=count 'select.budget={bytes: 1000}'
err~ bitgrad: .*select.budget: needs search: budget
exit: 65

$ bash go --out none select.search=count select.choose_activations=true
err~ bitgrad: .*select.choose_activations: needs search: budget
exit: 65

$ bash go --out none select.search=count 'select.residual={least: 9, most: 8}'
err~ bitgrad: .*select.residual: least is 9, most is 8
exit: 65

$ bash go --out none select.search=count 'select.residual={}' finetune.update=threshold
err~ bitgrad: .*select.residual: chooses bits of residual, finetune.update is threshold
exit: 65

# Factors are for budgets here: no criterion is asked at bits that nobody gets.
$ bash go --out odd select.policy=weight-error 'select.budget={mean-weight-bits: 4}' select.every=1 finetune.epochs=3 'select.progress=[2, 1.2]' -q > /dev/null; bitgrad select odd --round 2 | grep -c 'of 4.8'
out: 1

# Inputs too get fewer bits, though Fisher's criterion of weights says nothing of them.
$ bash go --out both select.policy=weight-error 'select.budget={bops-hawq: 300000}' select.choose_activations=true select.every=1 finetune.epochs=2 'select.progress=[2]' -q > /dev/null; for i in 1 2; do bitgrad select both --round $i | grep -o 'a=u[0-9]*' | sort -u | tr '\n' ' '; done; echo
out~ a=u[0-9]+ a=u[0-9]+ 

$ bash go --out none select.search=count select.every=1 'stages=[train, profile, select, evaluate]'
err~ bitgrad: .*select.every: there is no finetune stage to divide
exit: 65

# Without a selection there is nothing to divide for.
$ bitgrad run ${RECIPES}/tiny.yaml --out plain 'stages=[train, finetune, evaluate]' quantize.weight_bits=8 select.every=1 finetune.epochs=3 2>&1 | grep -c 'finetune: epoch'
out: 3

$ bash go --out none select.search=count select.every=1 finetune.epochs=65
err~ bitgrad: .*select.every: 65 epochs in parts of 1, limit is 64 parts
exit: 65
