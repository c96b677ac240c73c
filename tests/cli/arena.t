# Criteria against each other, end to end.
$ printf 'exec bitgrad arena ${RECIPES}/arena-tiny.yaml "$@"\n' > go && bash go --out whole -q
out~ arena-tiny: 2 seeds, [0-9]+ trials, base .* % test accuracy
out...
out~ mean-weight-bits <= 2.5
out...
out~   weight-error .*
out...
out~   random .*
out...
out: report     whole/report.html

$ ls whole
out: arena.json
out: correlations.tsv
out: cost-seconds.tsv
out: cost.tsv
out: figures
out: hypervolume.tsv
out: lock
out: objectives.tsv
out: pairs.tsv
out: plans
out: proposals.tsv
out: recipe.yaml
out: report.html
out: seed-1
out: seed-2
out: summary.tsv
out: timing.tsv
out: trials.tsv

# Every proposal has its trial, each plan of a seed one.
$ tail -n +2 whole/proposals.tsv | cut -f1,5 | sort -u > proposed; tail -n +2 whole/trials.tsv | cut -f1,2 | sort > tried; cmp proposed tried
$ head -1 whole/cost.tsv; grep -c . whole/cost.tsv; grep '^fisher' whole/cost.tsv | cut -f3
out~ criterion.*reads.*passes
out: 5
out: 128
$ tr -d ' \n' < whole/arena.json | grep -oE '"kind":"arena"|"results":\[|"by":"[a-z-]+"' | sort | uniq -c | sed 's/^ *//' | grep -E 'kind|results|fisher|random"'
out: 3 "by":"fisher"
out: 3 "by":"random"
out: 3 "by":"reverse-fisher"
out: 1 "kind":"arena"
out: 2 "results":[

# A finished one prints its summary again, by recipe or by directory.
$ bash go --out whole -q > first; bitgrad arena whole -q > second; cmp first second
$ cp whole/trials.tsv before.tsv; bash go --out whole -q > /dev/null; cmp before.tsv whole/trials.tsv

# Two processes come to the same rows.
$ printf 'for f in arena.json trials.tsv proposals.tsv objectives.tsv summary.tsv pairs.tsv correlations.tsv hypervolume.tsv cost.tsv; do cmp $1/$f $2/$f; done\n' > same; bash go --out two -q --jobs 2 > /dev/null; bash same whole two

# Killed with -9 while bases train and while plans are tried, with half a row at the end.
$ kill_at 'train: epoch 1' bash go --out cut -v; kill_at 'plan [0-9a-f]*: test accuracy' bash go --out cut -v; printf '2\t0123' >> cut/trials.tsv; bash go --out cut -q > /dev/null; bash same whole cut
$ for i in 05 1 2 3 4 5 6 7; do kill_after 0.$i bash go --out many -q --jobs 2; done; bash go --out many -q > /dev/null; bash same whole many

# A signal drops the running trials and stops.
$ stop_at 'plan [0-9a-f]*: test accuracy' bash go --out stop -v arena.seeds=[1,2,3,4,5,6,7,8]
out~ bitgrad: stopped; the same command goes on from there
exit: 75
$ bash go --out stop -q arena.seeds=[1,2,3,4,5,6,7,8] | head -1
out~ arena-tiny: 8 seeds, .*

# With enough seeds differences have intervals, or are ties; activations can be chosen as well.
$ cut -f4,8 stop/pairs.tsv | grep -c 'few'
out: 0
exit: 1
# Verdicts are those of their intervals, in tables and in JSON; all three occur. A difference is that of its two means, in this order.
$ awk -F '\t' 'FNR == 1 { n = 0; for (i = 1; i <= NF; i++) if ($i == "verdict") at[++n] = i; next } { for (k = 1; k <= n; k++) { i = at[k]; low = $(i - 2); high = $(i - 1); wrong += $i != (low == "-" ? "-" : low > 0 ? "better" : high < 0 ? "worse" : "tie"); seen[$i]++ } } END { print wrong + 0, (seen["better"] > 0) + (seen["worse"] > 0) + (seen["tie"] > 0) }' stop/summary.tsv stop/pairs.tsv stop/hypervolume.tsv
out: 0 3
$ tr -d ' "' < stop/arena.json | awk -F '[:,]' '{ value[$1] = $2 } $1 == "verdict" { low = value["low"]; high = value["high"]; wrong += $2 != (low == "null" ? "-" : low > 0 ? "better" : high < 0 ? "worse" : "tie"); seen[$2]++ } END { print wrong + 0, (seen["better"] > 0) + (seen["worse"] > 0) + (seen["tie"] > 0) }'
out: 0 3
$ awk -F '\t' 'function far(a, b) { return a - b > 1e-9 || b - a > 1e-9 } FNR == 1 { next } FILENAME ~ /summary/ { mean[$1, $2, $3] = $6; if ($8 != "-") over[$1, $2, $3] = $8; next } { a = mean[$1, $2, $3]; b = mean[$1, $2, $4]; pairs += far(a - b, $5) } END { for (i in over) { split(i, k, SUBSEP); n++; single += far(mean[i] - mean[k[1], k[2], "random"], over[i]) } print pairs + 0, single + 0, (n > 10) }' stop/summary.tsv stop/pairs.tsv
out: 0 0 1

# The terminal's rows: a tie where the interval contains 0, else the difference in points.
$ bitgrad arena stop -q | sed -n '/^mean-weight-bits/,/^report/p' | awk -F '\t' 'function points(i) { return $(i + 3) == "-" ? "-" : $(i + 1) <= 0 && $(i + 2) >= 0 ? "tie" : sprintf("%+.2f [%+.2f, %+.2f]", 100 * $i, 100 * $(i + 1), 100 * $(i + 2)) } FILENAME == "-" { if (/<=/) split($0, b, "<= "); else { split($0, w, " +"); row[b[2], w[2]] = $0 }; next } $2 == "best" { for (i = 8; i <= 12; i += 4) if ($3 != (i == 8 ? "random" : "same-bits")) { n++; at = substr(row[$1, $3], i == 8 ? 63 : 86, 22); sub(/ +$/, "", at); wrong += at != points(i); tie += points(i) == "tie"; sign += points(i) ~ /^[-+]/ } } END { print n, wrong + 0, (tie > 0) + (sign > 0) }' - stop/summary.tsv
out: 24 0 2

$ bash go --out free -q arena.activation_bits=0 'arena.budget={kind: bops-hawq, values: [500000]}' 'arena.candidates=[3, 4, 6]' | tail -1; cat free/plans/*.txt | grep -o 'a=u[0-9]' | sort -u | head -3
out: report     free/report.html
out: a=u3
out: a=u4
out: a=u6
$ bash go --out pinned -q select.pin_first=true arena.budget.values=[4] 'arena.tied=[[conv2, fc]]' > /dev/null; cat pinned/plans/*.txt | grep conv1 | grep -o 'w=s[0-9]' | sort -u
out: w=s8

# Another recipe on the same directory; two arenas at once.
$ bash go --out whole train.lr=1
err: bitgrad: whole holds an arena of another recipe: train.lr: 0.05 against 1; use another --out
exit: 65
$ (flock 9; bash go --out whole) 9>>whole/lock
err: bitgrad: whole is in use by another bitgrad
exit: 65

# Bad input is refused before anything is made.
$ bash go --out bad 'arena.criteria=[fissher]'
err: bitgrad: command line:1:17: arena.criteria: unknown policy "fissher", did you mean "fisher"?
exit: 65
$ bash go --out bad 'arena.criteria=[random]'
err~ bitgrad: .*: arena.criteria: random plans are in every arena by themselves .*
exit: 65
$ bash go --out bad 'arena.criteria=[hessian]'
err: bitgrad: arena.criteria: hessian: hessian: the run has no measure "hessian"; add it to profile.measures and run the profile stage
exit: 65
$ bash go --out bad 'arena.candidates=[2, 5]'
err~ bitgrad: arena.criteria: weight-error: .* at 5 bits; add 5 to profile.candidates and run the profile stage
exit: 65
$ bash go --out bad 'arena.budget={kind: bytes, values: [100, 900]}'
err: bitgrad: arena.budget.values: no plan holds bytes 100, the smallest feasible one is 313.5
exit: 65
$ bash go --out bad arena.allocator=exat
err: bitgrad: arena.allocator: unknown allocator 'exat', did you mean 'exact'?
exit: 65
$ bash go --out bad 'arena.tied=[[conv1, conv3]]'
err~ bitgrad: .*: arena.tied: unknown layer "conv3", did you mean "conv1"\?
exit: 65
$ bash go --out bad data.validation=0
err: bitgrad: arena: epochs are chosen on a validation part; set data.validation
exit: 65
$ bash go --out bad arena.seeds=[1,1]
err~ bitgrad: .*: arena.seeds: 1 stands twice
exit: 65
$ bash go --out bad --jobs 0
err: bitgrad: --jobs: expected a whole number from 1 to 256, got '0'
exit: 64
$ bitgrad arena ${RECIPES}/tiny.yaml --out bad; ls bad
err~ bitgrad: .*tiny.yaml:2:1: arena: section is missing
err...
exit: 2
$ bitgrad arena plans; mkdir plain; bitgrad arena plain
err...
err: bitgrad: plain holds no recipe.yaml: it is no arena
exit: 65
