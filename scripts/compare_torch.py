#!/usr/bin/env python3
"""Times training steps of one network in PyTorch and in bitgrad, in turns.

    /usr/bin/python3 scripts/compare_torch.py [--model resnet20] [--rounds 5] [--steps 6] [--json]

PyTorch's sides: fp32, fp32 in channels_last, fake-quant by torch's own fused modules
(torch.ao.quantization: conv-bn-relu fused, FusedMovingAvgObsFakeQuantize) and plain fake-quant
(torch.fake_quantize_* written out), both W8A8 in channels_last. bitgrad's sides: f32 (exact) and
--plan (W8A8) in --compute (fast). The step is forward, loss, backward and SGD with momentum and
weight decay of all parameters, on random images with random labels.

The machine's speed may change within seconds, so all sides run in every round and only ratios of
one run are worth anything; above 1 the first named is faster. int8_vs_fakequant is against the
faster of the two fake-quant sides. Convolutions go through oneDNN on both sides. Where PyTorch was
built with the reference BLAS, as Debian's is, its linear layers are no measure of PyTorch: for
networks that spend more than a tenth of their layers' time in them no ratio against it is given.
Say which build was used when quoting a figure.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from statistics import median

# As bitgrad does: idle threads of OpenMP that spin for long starve what they wait for beside any
# other load. libgomp reads this when it is loaded, so it stands before torch.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import torch
import torch.nn.functional as F
from torch import nn
from torch.ao import quantization as ao
from torch.nn.quantized import FloatFunctional

CLASSES, SIDE, BITS = 10, 28, 8
WARM_UP, WINDOWS = 3, 61
LINEAR_MOST = 0.1
LEARNING_RATE, MOMENTUM, DECAY = 0.01, 0.9, 1e-4


class Grid(nn.Module):
    """Plain fake-quant of activations: per tensor, range by a moving average of the extremes."""

    def __init__(self):
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, x):
        with torch.no_grad():
            low, high = torch.aminmax(x)
            share = 0.1 if self.high > self.low else 1.0
            self.low.lerp_(torch.clamp(low, max=0), share)
            self.high.lerp_(torch.clamp(high, min=0), share)
            scale = torch.clamp(self.high - self.low, min=1e-8) / (2**BITS - 1)
            zero = torch.round(-self.low / scale).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 2**BITS - 1)


def on_grid(weight):
    """Plain fake-quant of weights: per output channel, symmetric, range of the present weights."""
    limit = 2 ** (BITS - 1) - 1
    with torch.no_grad():
        scale = torch.clamp(weight.abs().flatten(1).amax(1), min=1e-8) / limit
        zero = torch.zeros(len(weight), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -limit, limit)


class GridConv(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, on_grid(self.weight), self.bias)


class GridLinear(nn.Linear):
    def forward(self, x):
        return F.linear(x, on_grid(self.weight), self.bias)


class Kit:
    """What networks are made of: kind is "fp32", "plain" or "modules"."""

    def __init__(self, kind):
        self.kind = kind
        self.conv = GridConv if kind == "plain" else nn.Conv2d
        self.linear = GridLinear if kind == "plain" else nn.Linear

    def grid(self):
        return Grid() if self.kind == "plain" else nn.Identity()

    def stub(self):
        return ao.QuantStub() if self.kind == "modules" else self.grid()


class Unit(nn.Module):
    """A convolution or linear layer with batch norm and relu behind it where they are wanted."""

    def __init__(self, kit, layer, norm=None, relu=True):
        super().__init__()
        self.layer, self.norm = layer, norm or nn.Identity()
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()
        self.grid = kit.grid() if relu else nn.Identity()
        self.parts = ["layer"] + ["norm"] * (norm is not None) + ["relu"] * relu

    def forward(self, x):
        return self.grid(self.relu(self.norm(self.layer(x))))

    def fuse(self):
        if len(self.parts) > 1:
            ao.fuse_modules_qat(self, [self.parts], inplace=True)


def conv_unit(kit, inputs, outputs, kernel, stride, relu=True):
    conv = kit.conv(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return Unit(kit, conv, nn.BatchNorm2d(outputs), relu)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is 1x1 where the shape changes."""

    def __init__(self, kit, inputs, outputs, stride):
        super().__init__()
        self.first = conv_unit(kit, inputs, outputs, 3, stride)
        self.second = conv_unit(kit, outputs, outputs, 3, 1, relu=False)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = conv_unit(kit, inputs, outputs, 1, stride, relu=False)
        self.add = FloatFunctional() if kit.kind == "modules" else None
        self.grid = kit.grid()

    def forward(self, x):
        y = self.second(self.first(x))
        if self.add is not None:
            return self.add.add_relu(y, self.shortcut(x))
        y += self.shortcut(x)
        return self.grid(F.relu(y, inplace=True))


class ResNet20(nn.Module):
    def __init__(self, kit):
        super().__init__()
        self.stub, self.pool_grid = kit.stub(), kit.grid()
        blocks, channels = [conv_unit(kit, 1, 16, 3, 1)], 16
        for stage, width in enumerate((16, 32, 64)):
            for block in range(3):
                blocks.append(Block(kit, channels, width, 2 if stage > 0 and block == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.linear = kit.linear(64, CLASSES)

    def forward(self, x):
        x = F.adaptive_avg_pool2d(self.blocks(self.stub(x)), 1).flatten(1)
        return self.linear(self.pool_grid(x))


class LeNet5(nn.Module):
    def __init__(self, kit):
        super().__init__()
        self.stub = kit.stub()
        self.conv1 = Unit(kit, kit.conv(1, 6, 5, 1, 2))
        self.conv2 = Unit(kit, kit.conv(6, 16, 5))
        self.fc1, self.fc2 = Unit(kit, kit.linear(400, 120)), Unit(kit, kit.linear(120, 84))
        self.fc3 = kit.linear(84, CLASSES)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(self.stub(x)), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        return self.fc3(self.fc2(self.fc1(x.flatten(1))))


class MLP(nn.Module):
    def __init__(self, kit):
        super().__init__()
        self.stub = kit.stub()
        self.fc1, self.fc2 = Unit(kit, kit.linear(784, 512)), Unit(kit, kit.linear(512, 512))
        self.fc3 = kit.linear(512, CLASSES)

    def forward(self, x):
        return self.fc3(self.fc2(self.fc1(self.stub(x).flatten(1))))


MODELS = {"resnet20": ResNet20, "lenet5": LeNet5, "mlp": MLP}


def prepare(net):
    """Torch's own way: fused modules, an observing fake-quantizer behind each, W8A8."""
    top = 2 ** (BITS - 1) - 1
    for unit in [one for one in net.modules() if isinstance(one, Unit)]:
        unit.fuse()
    net.qconfig = ao.QConfig(
        activation=ao.FusedMovingAvgObsFakeQuantize.with_args(
            observer=ao.MovingAverageMinMaxObserver, quant_min=0, quant_max=2**BITS - 1,
            dtype=torch.quint8),
        weight=ao.FusedMovingAvgObsFakeQuantize.with_args(
            observer=ao.MovingAveragePerChannelMinMaxObserver, quant_min=-top, quant_max=top,
            dtype=torch.qint8, qscheme=torch.per_channel_symmetric))
    return ao.prepare_qat(net, inplace=True)


class Side:
    """One of PyTorch's sides: the network, batches, and steps timed one by one."""

    def __init__(self, model, batch, kind, layout):
        torch.manual_seed(1)
        net = MODELS[model](Kit(kind)).train()
        net = prepare(net) if kind == "modules" else net
        self.net = net.to(memory_format=layout)
        self.batch, self.steps = batch, 0
        self.images = torch.randn(batch + WINDOWS, 1, SIDE, SIDE).to(memory_format=layout)
        self.labels = torch.randint(0, CLASSES, (batch + WINDOWS,))
        self.optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM,
                                         weight_decay=DECAY)
        self.run(WARM_UP)

    def step(self):
        window = slice(self.steps % WINDOWS, self.steps % WINDOWS + self.batch)
        self.steps += 1
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.net(self.images[window]), self.labels[window])
        loss.backward()
        self.optimizer.step()

    def run(self, steps):
        """The first step finds the caches full of another side's data and is not counted."""
        seconds = []
        for _ in range(steps + 1):
            began = time.perf_counter()
            self.step()
            seconds.append(time.perf_counter() - began)
        return seconds[1:]


def run_bitgrad(options):
    command = [options.bitgrad, "bench", "step", "--model", options.model,
               "--batch", str(options.batch), "--threads", str(options.threads),
               "--steps", str(options.steps), "--json",
               "--update", f"sgd:momentum={MOMENTUM}:weight_decay={DECAY}",
               "--variants", f"f32/exact,{options.plan}/{options.compute}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)["variants"]


def build_of_torch():
    """Version, BLAS, vector instructions and oneDNN: what decides PyTorch's speed here."""
    wanted = ("CPU capability", "MKL-DNN", "oneDNN")
    lines = [line.strip(" -") for line in torch.__config__.show().splitlines()]
    parts = [line for line in lines if any(word in line for word in wanted)]
    settings = [word.strip() for line in lines for word in line.split(",")]
    blas = [word.split()[-1] for word in settings if "BLAS_INFO=" in word]
    return {"version": torch.__version__, "build": "; ".join(parts + blas)}


def share_of_linear(model, batch):
    """Linear layers' share of the time that layers take in PyTorch's fp32 forward pass."""
    net, spent, began = MODELS[model](Kit("fp32")), {}, {}
    layers = [one for one in net.modules() if isinstance(one, (nn.Conv2d, nn.Linear))]

    def start(module, _):
        began[module] = time.perf_counter()

    def stop(module, *_):
        seconds = time.perf_counter() - began[module]
        spent[module] = min(spent.get(module, seconds), seconds)

    for layer in layers:
        layer.register_forward_pre_hook(start)
        layer.register_forward_hook(stop)
    for _ in range(1 + WARM_UP):
        net(torch.zeros(batch, 1, SIDE, SIDE))
    return sum(spent[one] for one in layers if isinstance(one, nn.Linear)) / sum(spent.values())


def refusal(options, build):
    """Why no ratio against PyTorch would be fair, or None."""
    share = share_of_linear(options.model, options.batch)
    if share > LINEAR_MOST and "BLAS_INFO=generic" in build["build"]:
        return (f"{100 * share:.0f} % of {options.model}'s time in PyTorch's layers goes into "
                f"linear ones, and this PyTorch has the reference BLAS: no ratio against it")
    return None


RATIOS = {"int8_vs_fakequant": ("fakequant", "int8"),
          "int8_vs_fp32": ("torch_fp32_channels_last", "int8"),
          "int8_vs_own_f32": ("f32", "int8"),
          "f32_vs_fp32": ("torch_fp32_channels_last", "f32")}


def ratios_of(figure, refused):
    """Times faster; None where PyTorch is no fair peer."""
    fakequant = min(("torch_fakequant_modules", "torch_fakequant_plain"), key=figure.get)
    figure = dict(figure, fakequant=figure[fakequant])
    return {name: None if refused and slow != "f32" else figure[slow] / figure[fast]
            for name, (slow, fast) in RATIOS.items()}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bitgrad", default="build/release/bitgrad", help="the command to time")
    parser.add_argument("--model", default="resnet20", choices=sorted(MODELS))
    parser.add_argument("--plan", default="W8A8", help="bits of bitgrad's quantized side")
    parser.add_argument("--compute", default="fast", choices=("fast", "exact", "reference"))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6, help="steps per side and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one object at the end")
    options = parser.parse_args()
    if min(options.batch, options.threads, options.steps, options.rounds) < 1:
        parser.error("batch, threads, steps and rounds must be at least 1")
    if options.batch < 2:
        parser.error("batch norm of PyTorch needs a batch of at least 2")
    return options


def run_rounds(options, say):
    """Seconds of every step by side, ratios of each round, and bitgrad's word on its fast side."""
    last = torch.channels_last
    sides = {"torch_fp32": Side(options.model, options.batch, "fp32", torch.contiguous_format),
             "torch_fp32_channels_last": Side(options.model, options.batch, "fp32", last),
             "torch_fakequant_modules": Side(options.model, options.batch, "modules", last),
             "torch_fakequant_plain": Side(options.model, options.batch, "plain", last)}
    seconds = {name: [] for name in [*sides, "f32", "int8"]}
    rounds, fast = [], {}
    for number in range(1, options.rounds + 1):
        here = {name: side.run(options.steps) for name, side in sides.items()}
        own, quantized = run_bitgrad(options)
        here["f32"], here["int8"] = own["seconds"], quantized["seconds"]
        fast = {"fast": quantized["fast"], "why_not_fast": quantized["why_not_fast"]}
        rounds.append({name: median(one) for name, one in here.items()})
        for name, one in here.items():
            seconds[name] += one
            print(f"round {number}: {name:25} min {1e3 * min(one):8.2f}  median "
                  f"{1e3 * median(one):8.2f} ms", file=say)
    return seconds, rounds, fast


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    say = sys.stderr if options.json else sys.stdout
    build = build_of_torch()
    refused = refusal(options, build)
    print(f"PyTorch {build['version']} ({build['build']})", file=say)
    seconds, rounds, fast = run_rounds(options, say)
    medians = {name: median(one) for name, one in seconds.items()}
    minima = {name: min(one) for name, one in seconds.items()}
    ratios, of_minima = ratios_of(medians, refused), ratios_of(minima, refused)
    if options.compute == "fast" and not fast["fast"]:
        print(f"bitgrad's {options.plan} side was not fast: {fast['why_not_fast']}", file=say)
    if refused:
        print(refused, file=say)
    for name, ratio in ratios.items():
        if ratio is not None:
            print(f"{name}: {ratio:.2f} times faster by medians, {of_minima[name]:.2f} by minima",
                  file=say)
    if options.json:
        print(json.dumps({"ratios": ratios, "ratios_of_minima": of_minima,
                          "ratios_of_rounds": [ratios_of(one, refused) for one in rounds],
                          "refused": refused,
                          "seconds": {name: {"min": minima[name], "median": medians[name]}
                                      for name in seconds},
                          "model": options.model, "plan": options.plan,
                          "compute": options.compute, **fast, "batch": options.batch,
                          "threads": options.threads, "steps": options.steps,
                          "rounds": options.rounds, "torch": build}))


if __name__ == "__main__":
    main()
