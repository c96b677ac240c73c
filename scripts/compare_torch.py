#!/usr/bin/env python3
"""Times one f32 training step of ResNet-20 in PyTorch (channels_last) and in bitgrad, interleaved.

    /usr/bin/python3 scripts/compare_torch.py [--rounds 3] [--steps 10] [--threads 2] [--json]

The machine's speed may change within seconds, so both sides run in turns and only ratios of runs
in the same minutes are worth anything; a ratio above 1 means that bitgrad is faster. The network:
3x3 stem 1 -> 16 at 28x28, three stages of three basic blocks with 16, 32 and 64 channels, 1x1
shortcuts with batch norm, global pool, linear 64 -> 10; SGD with momentum. Its convolutions go
through oneDNN on both sides; say which build of PyTorch was used when quoting a figure.
"""

import argparse
import json
import subprocess
import sys
import time
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

CLASSES, SIDE = 10, 28
WARM_UP = 3


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is 1x1 where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                                          nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(y))
        y += self.shortcut(x)
        return F.relu(y, inplace=True)


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        blocks, channels = [], 16
        for stage, width in enumerate((16, 32, 64)):
            for block in range(3):
                blocks.append(Block(channels, width, 2 if stage > 0 and block == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = self.blocks(F.relu(self.norm(self.conv(x)), inplace=True))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Torch:
    """PyTorch's side: the network, a fixed batch, and steps timed one by one."""

    def __init__(self, batch):
        torch.manual_seed(1)
        self.net = ResNet20().to(memory_format=torch.channels_last).train()
        self.images = torch.randn(batch, 1, SIDE, SIDE).to(memory_format=torch.channels_last)
        self.labels = torch.arange(batch) % CLASSES
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.01, momentum=0.9,
                                         weight_decay=1e-4)
        self.run(WARM_UP)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.net(self.images), self.labels)
        loss.backward()
        self.optimizer.step()

    def run(self, steps):
        seconds = []
        for _ in range(steps):
            began = time.perf_counter()
            self.step()
            seconds.append(time.perf_counter() - began)
        return seconds


def run_bitgrad(options):
    command = [options.bitgrad, "bench", "step", "--model", "resnet20", "--batch",
               str(options.batch), "--threads", str(options.threads), "--steps",
               str(options.steps), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)["seconds"]


def build_of_torch():
    """Version, BLAS, vector instructions and oneDNN: what decides PyTorch's speed here."""
    wanted = ("CPU capability", "MKL-DNN", "oneDNN", "BLAS_INFO")
    lines = [line.strip(" -") for line in torch.__config__.show().splitlines()]
    parts = [line for line in lines if any(word in line for word in wanted[:3])]
    settings = [word.strip() for line in lines for word in line.split(",") if wanted[3] in word]
    blas = [word.split()[-1] for word in settings]
    return {"version": torch.__version__, "build": "; ".join(parts + blas)}


def summary(seconds):
    return {"min": min(seconds), "median": median(seconds)}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bitgrad", default="build/release/bitgrad", help="the command to time")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10, help="steps per side and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one object at the end")
    options = parser.parse_args()
    if min(options.batch, options.threads, options.steps, options.rounds) < 1:
        parser.error("batch, threads, steps and rounds must be at least 1")
    return options


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    peer = Torch(options.batch)
    build = build_of_torch()
    say = sys.stderr if options.json else sys.stdout
    print(f"PyTorch {build['version']} ({build['build']})", file=say)
    rounds = []
    for number in range(1, options.rounds + 1):
        theirs, ours = peer.run(options.steps), run_bitgrad(options)
        ratio = median(theirs) / median(ours)
        rounds.append({"torch": theirs, "bitgrad": ours, "ratio": ratio})
        print(f"round {number}: PyTorch min {min(theirs) * 1e3:.1f} median "
              f"{median(theirs) * 1e3:.1f} ms, bitgrad min {min(ours) * 1e3:.1f} median "
              f"{median(ours) * 1e3:.1f} ms, ratio of medians {ratio:.2f}", file=say)
    theirs = [value for one in rounds for value in one["torch"]]
    ours = [value for one in rounds for value in one["bitgrad"]]
    of_medians, of_mins = median(theirs) / median(ours), min(theirs) / min(ours)
    print(f"all: ratio of medians {of_medians:.2f}, of minima {of_mins:.2f}; above 1 bitgrad is "
          f"faster", file=say)
    if options.json:
        print(json.dumps({"ratios": {"f32_vs_fp32": of_medians, "f32_vs_fp32_min": of_mins,
                                     "rounds": [one["ratio"] for one in rounds]},
                          "seconds": {"torch": summary(theirs), "bitgrad": summary(ours)},
                          "batch": options.batch, "threads": options.threads,
                          "steps": options.steps, "torch": build}))


if __name__ == "__main__":
    main()
