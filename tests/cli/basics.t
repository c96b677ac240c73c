# Words, options, help.
$ bitgrad
out...
err: bitgrad: no command given
exit: 64

$ bitgrad help | head -n 1
out: usage: bitgrad COMMAND ...

$ bitgrad rnu x.yaml
err: bitgrad: unknown command 'rnu'; did you mean 'run'?
exit: 64

$ bitgrad zzzzzz
err: bitgrad: unknown command 'zzzzzz'; 'bitgrad help' lists them
exit: 64

$ bitgrad help run | head -n 3
out: usage: bitgrad run RECIPE [key.path=value ...] [--out DIR] [--json]
out:
out: do an experiment: train, profile, select, finetune, evaluate, verify, report

$ bitgrad diff --help | grep -c -- --
out: 4

$ bitgrad run --uot x recipe.yaml
err: bitgrad: run: unknown option --uot; did you mean --out?
exit: 64

$ bitgrad run --out
err: bitgrad: run: option --out needs a value
exit: 64

$ bitgrad run
err: bitgrad: run: too few words; usage: bitgrad run RECIPE [key.path=value ...] [--out DIR] [--json]
exit: 64

$ bitgrad diff a b c
err: bitgrad: diff: unexpected 'c'; usage: bitgrad diff RUN RUN
exit: 64

$ bitgrad run --color=sometimes x.yaml
err: bitgrad: --color: expected auto, always or never, got 'sometimes'
exit: 64

$ bitgrad bench step --batch 0
err: bitgrad: --batch: expected a whole number from 1 to 65536, got '0'
exit: 64

$ bitgrad bench step --model lenet
err: bitgrad: bench: unknown model 'lenet'; 'bitgrad list networks' names them
exit: 64

$ bitgrad version
out~ bitgrad [0-9.]+
out~ oneDNN [0-9.]+ \(.*\)
out~ compiler .*

$ bitgrad version --json
out~ \{"schema": 1, "bitgrad": "[0-9.]+", "onednn": .*\}

$ bitgrad --version | head -n 1
out~ bitgrad [0-9.]+

# Every family is printed from its registry.
$ bitgrad list | cut -d' ' -f1 | tr '\n' ' '
out: commands recipe layers networks datasets policies allocators measures ranges updates 

$ bitgrad list policies | grep -o '^[a-z][a-z-]*:' | tr '\n' ' '
out: class-count: fisher: gradient-error: gradient-profile: hessian: loss-change: oracle: output-error: perturbation: random: reverse: uniform: weight-displacement: weight-error: 

$ bitgrad list ranges | grep -o '^[a-z][a-z-]*:' | tr '\n' ' '
out: lsq: min-max: moving-average: mse: percentile: 

$ bitgrad list polices
err: bitgrad: list: unknown family 'polices'; did you mean 'policies'?
exit: 64

$ bitgrad version > /dev/full
err: bitgrad: standard output cannot be written
exit: 74
