# The integers of a run against the independent judge, and the modes of requantisation.
$ printf 'exec bitgrad run -q ${RECIPES}/tiny.yaml report.figures=false "$@"\n' > go; bash go --out whole | grep integers
out: integers   0 of 195072 outputs differ from the independent judge (128 images)
$ bitgrad verify whole
out~ tensor +outputs +differ +most frequent
out~ input +18432 +0 +.*
out~ relu1 +110592 +0 +.*
out~ max-pool1 +27648 +0 +.*
out~ relu2 +36864 +0 +.*
out~ global-pool1 +1024 +0 +.*
out~ fc +512 +0 +.*
out: integers   0 of 195072 outputs differ from the judge, 0 of 6 tensors MISTRUSTED (over 99 % of one code), 128 images
out~ accuracy +[0-9.]+ % .*
out~ hash +[0-9a-f]{64}
$ bitgrad verify whole --hash | tail -n 1 > a; bitgrad verify whole --hash --threads 2 | tail -n 1 | cmp - a
$ DNNL_MAX_CPU_ISA=AVX2 bitgrad verify whole --hash | tail -n 1 | cmp - a
$ DNNL_MAX_CPU_ISA=SSE41 bitgrad verify whole --hash | tail -n 1 | cmp - a
$ bitgrad verify whole --images 3 | grep -c '0 of 4572 outputs differ'
out: 1
$ sed -n '/^  "integer": {/,/}/p' whole/result.json | grep -c -e '"differ": 0' -e '"mistrusted": 0' -e '"images": 128' -e '"outputs": 195072'
out: 4
$ bitgrad verify whole --json | grep -c '"differ":0'
out: 1
$ bitgrad requant whole | grep -c accuracy
out: 4
$ bitgrad requant whole --images 5 --json | grep -c '"images":5'
out: 1

$ flock whole/lock sleep 5 & sleep 0.5; bitgrad verify whole > /dev/null
err: bitgrad: whole is in use by another bitgrad
exit: 65

# Another mode by the recipe, and by a plan: the same codes.
$ bash go --out single quantize.requant=fixed-single | grep integers
out: integers   0 of 195072 outputs differ from the independent judge (128 images)
$ sed '1s/f32-rne/fixed-single/' whole/plan.txt > p.txt; bash go --out given select.plan=p.txt > /dev/null; for r in single given; do bitgrad verify $r --hash | tail -n 1; done | uniq | wc -l
out: 1
$ head -n 1 single/plan.txt
out: requant fixed-single

# What cannot be verified.
$ bash go --out plain 'stages=[train]' > /dev/null; bitgrad verify plain
err: bitgrad: plain: there are no integers to verify: the network is f32
exit: 65
$ bash go --out wide select.activation_bits=12 | grep -c integers
out: 0
exit: 1
$ bitgrad verify wide
err: bitgrad: wide: there are no integers to verify: layer conv1: a has 12 bits, integers are evaluated up to 8
exit: 65
$ bash go --out mixed select.activation_bits=12 quantize.requant=pow2-rne
err: bitgrad: requant pow2-rne needs integers everywhere: layer conv1: a has 12 bits, integers are evaluated up to 8
exit: 65
$ ls mixed 2>&1 | grep -c 'No such file'
out: 1
$ cp -r whole foreign; cp single/run.h5 foreign/; bitgrad verify foreign
err: bitgrad: foreign/run.h5 is of another recipe than foreign/recipe.yaml
exit: 65
$ bitgrad verify none
err~ bitgrad: none.*
exit: 65
$ bitgrad verify whole --images 0
err~ bitgrad: --images: .*
exit: 64
$ cp -r whole flipped; printf '\377' | dd of=flipped/checkpoint-last.h5 bs=1 seek=5000 conv=notrunc 2> /dev/null; bitgrad verify flipped
err~ bitgrad: flipped/checkpoint-last.h5: .*
exit: 65
