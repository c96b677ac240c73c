# bitgrad allocate: anybody's table of penalties and costs.
$ printf 'layer candidate penalty bytes ms priority\na 8 0 8 1 2\na 4 1 4 2 2\na 2 5 2 3 2\nb 4 3 4 1 1\nb 8 0 8 1 1\n# a comment\n\nc 8 7 8 0 -\n' > t.tsv

$ bitgrad allocate --costs t.tsv --budget bytes=20
out~ layer +candidate +penalty +bytes +ms
out~ a +4 +1 +4 +2
out~ b +8 +0 +8 +1
out~ c +8 +7 +8 +0
out:
out~ allocator exact: objective 8, optimal \(proven; [0-9]+ nodes\)
out:
out~ cost +total +budget +slack
out~ bytes +20 +20 +0 \(0\.00 %\)
out~ ms +3

# The same table with tabs and Windows line ends, and as JSON with its own budgets, ties and pins.
$ tr ' ' '\t' < t.tsv | sed 's/$/\r/' > w.tsv; bitgrad allocate --costs w.tsv --budget bytes=20 | sed -n 2p
out~ a +4 +1 +4 +2

$ printf '[{"layer": "a", "candidate": 8, "penalty": 0, "bytes": 8},\n {"layer": "a", "candidate": "4", "bytes": 4, "penalty": 1.5}]' > t.json; bitgrad allocate --costs t.json --budget bytes=4 --json
out: {"allocator":"exact","bound":1.5,"costs":{"bytes":{"budget":4.0,"slack":0.0,"total":4.0}},"nodes":2,"objective":1.5,"optimal":true,"plan":[{"candidate":"4","costs":{"bytes":4.0},"layer":"a","penalty":1.5}],"schema":1}

$ printf '{"rows": [{"layer": "a", "candidate": 8, "penalty": 0, "bytes": 8}, {"layer": "a", "candidate": 4, "penalty": 1, "bytes": 4}, {"layer": "b", "candidate": 8, "penalty": 0, "bytes": 8}, {"layer": "b", "candidate": 4, "penalty": 9, "bytes": 4}, {"layer": "c", "candidate": 8, "penalty": 0, "bytes": 8}, {"layer": "c", "candidate": 4, "penalty": 2, "bytes": 4}], "budgets": {"bytes": 16}, "ties": [["a", "b"]], "pins": {"c": 8}}' > o.json; bitgrad allocate --costs o.json | sed -n 2,4p
out~ a +4 +1 +4
out~ b +4 +9 +4
out~ c +8 +0 +8

# The command line's budget replaces the file's.
$ bitgrad allocate --costs o.json --budget bytes=24 | grep -c ' 8 '
out: 3

# Every allocator; ties and pins; candidates.
$ for a in greedy prefix prefix:steps=rounds count:count=1 threshold:threshold=1; do bitgrad allocate --costs t.tsv --budget bytes=20 --allocator $a | awk 'NR > 1 && NR < 5 { printf "%s ", $2 } NR == 6 { print $2 }'; done
out: 4 8 8 greedy:
out: 8 4 8 prefix:
out: 8 4 8 prefix:
out: 8 4 8 count:
out: 8 4 8 threshold:

$ bitgrad allocate --costs t.tsv --allocator prefix --budget bytes=19 | grep '^allocator'
out~ allocator prefix: objective 15, not proven optimal \(bound [0-9.]+, gap [0-9.]+, [0-9.]+ %; 2 nodes\)

$ bitgrad allocate --costs t.tsv --budget bytes=20 --candidates 8,4 --tie a,b | awk 'NR > 1 && NR < 4 { print $2 }'
out: 4
out: 4

$ bitgrad allocate --costs t.tsv --budget bytes=20 --pin a=8 --plan p.txt > /dev/null; cat p.txt
out: requant f32-rne
out: a  w=s8/channel  a=f32  g=f32  dw=f32  u=sgd
out: b  w=s4/channel  a=f32  g=f32  dw=f32  u=sgd
out: c  w=s8/channel  a=f32  g=f32  dw=f32  u=sgd

$ printf 'layer candidate penalty bytes\na w4a8 1 1\n' > l.tsv; bitgrad allocate --costs l.tsv --plan q.txt > /dev/null; sed -n 2p q.txt
out: a  w=s4/channel  a=u8  g=f32  dw=f32  u=sgd

$ printf 'layer candidate penalty bytes\na high 1 1\n' > l.tsv; bitgrad allocate --costs l.tsv --plan r.txt
err: bitgrad: --plan: layer a, candidate high: not a width (8, w4, w4a8; 1 to 16 or 32)
exit: 65
$ ls r.txt* 2> /dev/null | wc -l
out: 0
$ printf 'layer\tcandidate\tpenalty\na b\t8\t1\n' > l.tsv; bitgrad allocate --costs l.tsv --plan r.txt
err: bitgrad: plan: "a b" cannot name a layer (no spaces, no '#', no '=', not 'requant')
exit: 65

# A width of weights alone leaves activations as they are: more bits than any.
$ printf 'layer candidate penalty bytes priority\na w4 0 8 1\na w4a8 1 4 1\na w4a4 2 2 1\na w8a8 0.5 8 1\n' > l.tsv; bitgrad allocate --costs l.tsv --allocator count:count=1 | awk 'NR == 2 { print $2 }'; bitgrad allocate --costs l.tsv --allocator prefix:steps=rounds --budget bytes=4 | awk 'NR == 2 { print $2 }'
out: w4a4
out: w4a8

# One layer.
$ printf 'layer candidate penalty bytes\na 8 0 8\na 4 1 4\n' > one.tsv; bitgrad allocate --costs one.tsv --budget bytes=5 | sed -n 2p
out~ a +4 +1 +4

# Budgets that cannot hold name what can.
$ bitgrad allocate --costs t.tsv --budget bytes=13
err: bitgrad: allocate: no plan holds the budget bytes=13; the smallest feasible one is bytes=14
exit: 65
$ bitgrad allocate --costs t.tsv --budget bytes=14 --budget ms=3
err: bitgrad: allocate: no plan holds all 2 budgets at once; feasible beside the others: bytes=16 or ms=4
exit: 65
$ bitgrad allocate --costs t.tsv --budget bytes=14 --allocator prefix --pin a=8
err: bitgrad: allocate: no plan holds the budget bytes=14; the smallest feasible one is bytes=20
exit: 65
$ bitgrad allocate --costs t.tsv --budget bytes=15 --allocator count:count=1
err: bitgrad: count: its plan takes bytes=20, the budget is 15
exit: 65

# Words of the command line.
$ bitgrad allocate --budget bytes=1
err: bitgrad: allocate: no --costs; 'bitgrad help allocate' shows the format
exit: 64
$ bitgrad allocate --costs t.tsv --budget byte=20
err: bitgrad: --budget: t.tsv has no cost 'byte'; did you mean 'bytes'?
exit: 64
$ bitgrad allocate --costs t.tsv --budget bytes=nan
err: bitgrad: --budget: expected COST=NUMBER of at least 0, got 'bytes=nan'
exit: 64
$ bitgrad allocate --costs t.tsv --budget bytes=-1
err: bitgrad: --budget: expected COST=NUMBER of at least 0, got 'bytes=-1'
exit: 64
$ bitgrad allocate --costs t.tsv --budget bytes=14 --budget bytes=20
err: bitgrad: --budget: bytes has two budgets
exit: 64
$ sed 's/"c": 8/"a": 8, "b": 4/' o.json > p.json; bitgrad allocate --costs p.json
err: bitgrad: p.json: layers a and b are tied but pinned to 8 and 4
exit: 65
$ bitgrad allocate --costs t.tsv --tie a,conv
err: bitgrad: --tie: t.tsv has no layer 'conv'
exit: 64
$ bitgrad allocate --costs t.tsv --tie a,b
err: bitgrad: allocate: tied layers a and b differ: b has no candidate '2'
exit: 65
$ bitgrad allocate --costs t.tsv --pin a=3
err: bitgrad: --pin: layer a has no candidate '3'
exit: 64
$ bitgrad allocate --costs t.tsv --candidates 8,4 --tie a,b --pin a=8 --pin b=4
err: bitgrad: --pin: layers a and b are tied but pinned to 8 and 4
exit: 64
$ bitgrad allocate --costs t.tsv --candidates 8,5
err: bitgrad: --candidates: no layer of t.tsv has a candidate '5'
exit: 64
$ bitgrad allocate --costs t.tsv --candidates 4,2
err: bitgrad: --candidates: layer c has none of these candidates
exit: 64
$ bitgrad allocate --costs t.tsv --allocator exakt
err~ bitgrad: .*unknown allocator 'exakt', did you mean 'exact'\?
exit: 64
$ bitgrad allocate --costs t.tsv --allocator exact:width=0
err~ bitgrad: .*allocator.width: 0 is outside 1\.\.400000
exit: 64
$ bitgrad allocate --costs one.tsv --allocator count
err: bitgrad: one.tsv: no column 'priority', which the allocator count goes by
exit: 65

# Damaged tables.
$ bitgrad allocate --costs none.tsv
err~ bitgrad: none.tsv: cannot read: No such file or directory
exit: 65
$ printf '' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv: no rows
exit: 65
$ printf 'layer penalty\n' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:1: the first line has no column 'candidate'
exit: 65
$ printf 'layer candidate penalty bytes bytes\n' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:1: two columns are named 'bytes'
exit: 65
$ printf 'layer\tcandidate\tpenalty\tbytes\na\t8\t1\t\n' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:2: layer a, candidate 8: no value for bytes
exit: 65
$ printf 'layer candidate penalty bytes\na 8 1\n' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:2: layer a, candidate 8: no value for bytes
exit: 65
$ printf 'layer candidate penalty bytes\na 8 1 2 3\n' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:2: layer a, candidate 8: 5 cells, the first line has 4
exit: 65
$ printf 'layer candidate penalty bytes\na 8 nan 2\n' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:2: layer a, candidate 8: penalty is 'nan', expected a finite number
exit: 65
$ printf 'layer candidate penalty bytes\na 8 1 inf\n' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:2: layer a, candidate 8: bytes is 'inf', expected a finite number
exit: 65
$ printf 'layer candidate penalty bytes\na 8 1 -2\n' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:2: layer a, candidate 8: bytes is -2, expected a number of at least 0
exit: 65
$ printf 'layer candidate penalty bytes\na 8 1 2\nb 8 1 2\na 8 1 2\n' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:4: layer a, candidate 8: a second row for it
exit: 65
$ printf 'layer candidate penalty priority\na 8 1 2\na 4 1 3\n' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:3: layer a, candidate 4: priority 3, but 2 for candidate 8; a layer has one
exit: 65
$ printf 'layer candidate penalty\n%0100d 8 1\n' 7 > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:2: the layer has 100 bytes, limit is 63
exit: 65
$ printf 'layer candidate penalty\n\033[31m 8 1\n' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:2: the layer holds a control character or a byte that is not UTF-8
exit: 65
$ printf 'layer candidate penalty\na\0 8 1\n' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv: a zero byte at offset 25; expected TSV or JSON
exit: 65
$ printf 'layer candidate penalty a b c d e f g h i j k l m n o p q\n' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:1: more than 16 columns of costs
exit: 65
$ seq 0 64 | awk 'BEGIN { print "layer candidate penalty" } { print "a", "c" $1, 1 }' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:66: layer a has more than 64 candidates
exit: 65
$ seq 0 4096 | awk 'BEGIN { print "layer candidate penalty" } { print $1, 8, 1 }' > e.tsv; bitgrad allocate --costs e.tsv
err: bitgrad: e.tsv:4098: more than 4096 layers
exit: 65
$ head -c 17000000 /dev/zero | tr '\0' ' ' > e.tsv; bitgrad allocate --costs e.tsv
err~ bitgrad: e.tsv: .*16777216.*
exit: 65
$ printf 'layer candidate penalty bytes\na 8 1 1e200\n' > e.tsv; bitgrad allocate --costs e.tsv --budget bytes=1
err: bitgrad: e.tsv:2: layer a, candidate 8: bytes is 1e+200, limit is 1e+100
exit: 65

$ printf '[{"layer": "a", "candidate": 8, "penalty": 1, "bytes": 2}, {"layer": "a", "candidate": 4, "penalty": 1}]' > e.json; bitgrad allocate --costs e.json
err: bitgrad: e.json: row 2: layer a, candidate 4: no value for bytes
exit: 65
$ printf '[{"layer": "a", "candidate": 8, "penalty": 1}, {"layer": "a", "candidate": 4, "penalty": 1, "bytes": 1}]' > e.json; bitgrad allocate --costs e.json
err: bitgrad: e.json: row 2: layer a, candidate 4: 'bytes' is not in the first row
exit: 65
$ printf '[{"layer": "a", "candidate": 8, "penalty": "x"}]' > e.json; bitgrad allocate --costs e.json
err: bitgrad: e.json: row 1: layer a, candidate 8: penalty is not a number
exit: 65
$ printf '[{"layer": "a", "layer": "b"}]' > e.json; bitgrad allocate --costs e.json
err~ bitgrad: e.json:1: duplicate object key.*
exit: 65
$ printf '[{"layer": "a",\n "candidate": NaN}]' > e.json; bitgrad allocate --costs e.json
err~ bitgrad: e.json:2: invalid token.*
exit: 65
$ printf '{"row": []}' > e.json; bitgrad allocate --costs e.json
err: bitgrad: e.json: unknown key 'row'; did you mean 'rows'?
exit: 65
$ printf '{"rows": [{"layer": "a", "candidate": 8, "penalty": 1}], "budgets": {"bytes": 3}}' > e.json; bitgrad allocate --costs e.json
err: bitgrad: budgets: e.json has no cost 'bytes'
exit: 65
$ printf '{"rows": [{"layer": "a", "candidate": 8, "penalty": 1}], "ties": [["a", "aa"]]}' > e.json; bitgrad allocate --costs e.json
err: bitgrad: ties: e.json has no layer 'aa'; did you mean 'a'?
exit: 65
$ head -c 100000 /dev/zero | tr '\0' '[' > e.json; bitgrad allocate --costs e.json
err: bitgrad: e.json: nested deeper than 64
exit: 65

$ bitgrad list allocators | grep -o '^[a-z][a-z-]*:' | tr '\n' ' '
out: count: exact: greedy: prefix: threshold: 

# HAWQ-V3's published allocations: 17 of 18 layer for layer, and the one of ResNet-50 at size 0.25 beaten.
$ ${RECIPES}/../../scripts/check_hawq.sh "$(dirname "$(command -v bitgrad)")" | awk '/better:|^[0-9]+ as/'
out: resnet50  size        0.25     -0.83139    14.59814    14.65344  better: -0.82323 published; here stage3.unit6.conv1=8
out: 17 as published, 1 better, 0 worse
