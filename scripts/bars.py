#!/usr/bin/env python3
"""Measures the figures that bitgrad holds itself to and prints each beside its bar and its goal.

    /usr/bin/python3 scripts/bars.py [--build build/release] [--no-torch] [--rounds 3] [--json]

Ratios of interleaved runs, of medians and of minima; a figure counts as reached when its median
does. A host that changes its speed moves single ratios: repeat before believing one. The figures
against PyTorch need it (scripts/setup.sh --dev).
"""

import argparse
import json
import subprocess
import sys

# figure, first bar, goal; a share of the step is better when it is smaller
RATIOS = [
    ("int8_vs_fakequant", "W8A8 step against PyTorch's fake-quant", 6, 12),
    ("int8_vs_fp32", "W8A8 step against PyTorch fp32 channels_last", 3.5, 7),
    ("f32_vs_fp32", "our f32 step against PyTorch fp32 channels_last", 1.3, 2),
]
OWN = [
    ("resnet20", "ResNet-20, W8A8 against our f32", 2.2, 4),
    ("mlp:hidden=[512, 512]", "MLP 784-512-512-10, W8A8 against our f32", 1, 2),
    ("lenet5", "LeNet-5, W8A8 against our f32", 1, 2),
]


def run(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def against_torch(options):
    found = run(sys.executable, "scripts/compare_torch.py", "--rounds", str(options.rounds),
                "--bitgrad", options.build + "/bitgrad", "--json")
    return [(text, bar, goal, found["ratios"][key], found["ratios_of_minima"][key], False)
            for key, text, bar, goal in RATIOS]


def against_own(options):
    rows = []
    for model, text, bar, goal in OWN:
        found = run(options.build + "/bitgrad", "bench", "step", "--model", model, "--steps", "60",
                    "--json")
        faster = found["variants"][1]["times_faster"]
        rows.append((text, bar, goal, faster["median"], faster["min"], False))
    return rows


def profile(options):
    found = run(options.build + "/bitgrad", "bench", "profile", "--model", "resnet20", "--json")
    cost = found["ratios"][0]
    return [("all gradients profiled every step, share of the step", 0.10, 0.03,
             cost["median"] - 1, cost["min"] - 1, True)]


def updates(options):
    found = run(options.build + "/bitgrad", "bench", "update", "--model", "mlp:hidden=[512, 512]",
                "--steps", "200", "--variants", "f32/exact,W8A8/fast,W8A8/fast/residual:bits=8",
                "--json")
    f32, sgd, residual = found["variants"]
    return [(text, 1.2, 1.0, residual["median"] / base["median"], residual["min"] / base["min"], True)
            for text, base in (("MLP, residual:8 update, share of SGD's in W8A8", sgd),
                               ("the same, share of SGD's of the f32 network", f32))]


def show(rows):
    print(f"{'figure':55}{'bar':>8}{'goal':>8}{'medians':>10}{'minima':>10}  reached")
    for text, bar, goal, median, least, smaller in rows:
        form = (lambda x: f"{100 * x:.1f} %") if smaller else (lambda x: f"{x:.2f}")
        better = (lambda limit: median <= limit) if smaller else (lambda limit: median >= limit)
        word = "goal" if better(goal) else "bar" if better(bar) else "no"
        print(f"{text:55}{form(bar):>8}{form(goal):>8}{form(median):>10}{form(least):>10}  {word}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-torch", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = against_own(options) + profile(options) + updates(options)
    if not options.no_torch:
        rows = against_torch(options) + rows
    show(rows)
    if options.json:
        keys = ("figure", "bar", "goal", "median", "min", "smaller_is_better")
        print(json.dumps([dict(zip(keys, row)) for row in rows]))


if __name__ == "__main__":
    main()
