#!/usr/bin/env python3
"""Writes the golden data of tests/test_golden.c: what PyTorch makes of small cases.

    /usr/bin/python3 scripts/gen_golden.py tests/golden

ops.h5      one group per case: a small graph around one operation, with values and gradients
network.h5  a small network and ten steps of SGD: parameters before and after, losses
grids.h5    fake quantisation with its straight-through gradient

Everything is computed by PyTorch in float64 (fake quantisation in float32) on one thread and
rounded once to float32, so the test's tolerances are about our own rounding alone. Layouts are
ours: images N,H,W,C, convolution weights O,H,W,I, linear weights O,I over H,W,C. Running the script
again changes nothing: fixed seeds, no times in the files.
"""

import os
import sys

import h5py
import numpy as np
import torch
import torch.nn.functional as F

GENERATOR = "1"
SEED = 20240229
CLASSES = 5
HEIGHT, WIDTH, CHANNELS, BATCH = 6, 5, 4, 3


class Case:
    """Named float64 parameters, the values and gradients of a graph, and its attributes."""

    def __init__(self, name, seed):
        self.name = name
        self.random = np.random.RandomState(seed)
        self.attributes = {}
        self.parameters = {}
        self.buffers = {}
        self.layer_inputs = {}
        self.layer_outputs = {}
        self.in_our_layout = set()
        self.values = {}

    def draw(self, *shape, spread=1.0, shift=0.0):
        """Normal numbers that float32 holds exactly."""
        drawn = (self.random.standard_normal(shape) * spread + shift).astype(np.float32)
        return torch.from_numpy(drawn.astype(np.float64))

    def parameter(self, name, *shape, spread=1.0, shift=0.0):
        value = self.draw(*shape, spread=spread, shift=shift).requires_grad_(True)
        self.parameters[name] = value
        return value

    def layer(self, name, x, compute):
        """A weighted layer; its own copy of the input sees the gradient of this path alone."""
        own = x.clone()
        own.retain_grad()
        y = compute(own)
        y.retain_grad()
        self.layer_inputs[name], self.layer_outputs[name] = own, y
        return y

    def input_gradient(self, name):
        grad = self.layer_inputs[name].grad
        return grad.numpy().astype(np.float32) if name in self.in_our_layout else ours(grad)

    def conv(self, name, x, out, kernel, bias=True, **options):
        """options: stride, padding, dilation (pairs), groups."""
        groups = options.get("groups", 1)
        per_group = x.shape[1] // groups
        spread = 1.0 / np.sqrt(per_group * kernel[0] * kernel[1])
        w = self.parameter(name + ".weight", out, kernel[0], kernel[1], per_group, spread=spread)
        b = self.parameter(name + ".bias", out, spread=0.5) if bias else None
        return self.layer(name, x, lambda v: F.conv2d(v, w.permute(0, 3, 1, 2), b, **options))

    def linear(self, name, x, out, bias=True):
        """x is N,C,H,W or N,C; the vector is H,W,C as ours."""
        flat = x.permute(0, 2, 3, 1) if x.dim() == 4 else x
        self.in_our_layout.add(name)
        count = flat[0].numel()
        w = self.parameter(name + ".weight", out, count, spread=1.0 / np.sqrt(count))
        b = self.parameter(name + ".bias", out, spread=0.5) if bias else None
        return self.layer(name, flat, lambda v: F.linear(v.reshape(len(v), -1), w, b))

    def batch_norm(self, name, x, train=True, momentum=0.125, epsilon=0.01):
        channels = x.shape[1]
        gamma = self.parameter(name + ".gamma", channels, spread=0.3, shift=1.0)
        beta = self.parameter(name + ".beta", channels, spread=0.3)
        mean = self.draw(channels, spread=0.5)
        var = self.draw(channels).abs().add(0.5).float().double()
        self.attributes["momentum"], self.attributes["epsilon"] = momentum, epsilon
        self.values["before/" + name + ".running_mean"] = mean.clone()
        self.values["before/" + name + ".running_var"] = var.clone()
        y = F.batch_norm(x, mean, var, gamma, beta, train, momentum, epsilon)
        self.buffers[name + ".running_mean"], self.buffers[name + ".running_var"] = mean, var
        return y


def ours(tensor):
    """float32 in our layout: N,C,H,W becomes N,H,W,C."""
    value = tensor.detach()
    if value.dim() == 4:
        value = value.permute(0, 2, 3, 1)
    return np.ascontiguousarray(value.numpy().astype(np.float32))


def open_file(folder, name):
    file = h5py.File(os.path.join(folder, name), "w", libver="earliest")
    file.attrs["generator"] = np.string_("gen_golden.py " + GENERATOR)
    file.attrs["torch"] = np.string_(torch.__version__)
    file.attrs["seed"] = np.int64(SEED)
    return file


def put(group, name, value):
    group.create_dataset(name, data=value, track_times=False)


def set_attributes(group, attributes):
    for key, value in attributes.items():
        if isinstance(value, str):
            group.attrs[key] = np.string_(value)
        elif isinstance(value, float):
            group.attrs[key] = np.float64(value)
        elif isinstance(value, tuple):
            group.attrs[key + "0"], group.attrs[key + "1"] = map(np.int64, value)
        else:
            group.attrs[key] = np.int64(value)


def conv_case(**options):
    def build(case, x):
        given = {"out": 6, "kernel": (3, 3), "stride": (1, 1), "padding": (0, 0),
                 "dilation": (1, 1), "groups": 1, "bias": True, **options}
        case.attributes.update(given)
        return case.conv("op", x, given["out"], given["kernel"], given["bias"],
                         stride=given["stride"], padding=given["padding"],
                         dilation=given["dilation"], groups=given["groups"])
    return "conv2d", build


def pool_case(kind, kernel, stride, padding):
    def build(case, x):
        case.attributes.update(kernel=kernel, stride=stride, padding=padding)
        if kind == "max_pool":
            return F.max_pool2d(x, kernel, stride, padding)
        return F.avg_pool2d(x, kernel, stride, padding, count_include_pad=False)
    return kind, build


def linear_case(bias):
    def build(case, x):
        case.attributes.update(out=7, bias=bias)
        return case.linear("op", x, 7, bias)
    return "linear", build


def norm_case(train):
    def build(case, x):
        case.attributes.update(train=train)
        return case.batch_norm("op", x, train)
    return "batch_norm", build


def loss_case(loss, smoothing=0.0):
    def build(case, x):
        case.attributes.update(loss=loss, smoothing=smoothing)
        return F.relu(x)
    return "relu", build


def add_case(case, x):
    """A residual block: the front's output goes into a convolution and around it."""
    return case.conv("branch", x, CHANNELS, (3, 3), False, padding=(1, 1)) + x


def norm_relu_case(case, x):
    case.attributes.update(train=True)
    return F.relu(case.batch_norm("norm", x))


def concat_case(case, x):
    """A convolution's output, its input twice, and what a relu leaves of it."""
    branch = case.conv("branch", x, 2, (3, 3), False, padding=(1, 1))
    return torch.cat([branch, x, F.relu(x), x], dim=1)


# New cases go to the end: a case's seed is its place, so the data of those before stay as they are.
CASES = {
    "conv_plain": conv_case(padding=(1, 1)),
    "conv_no_bias": conv_case(bias=False),
    "conv_stride": conv_case(stride=(2, 2), padding=(1, 1)),
    "conv_5x5": conv_case(kernel=(5, 5), padding=(2, 2)),
    "conv_dilation": conv_case(dilation=(2, 2), padding=(2, 2)),
    "conv_uneven": conv_case(kernel=(3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    "conv_groups": conv_case(groups=2, padding=(1, 1)),
    "conv_depthwise": conv_case(out=4, groups=4, padding=(1, 1)),
    "conv_1x1_stride": conv_case(kernel=(1, 1), stride=(2, 2), bias=False),
    "linear": linear_case(True),
    "linear_no_bias": linear_case(False),
    "norm_train": norm_case(True),
    "norm_eval": norm_case(False),
    "norm_relu": ("batch_norm_relu", norm_relu_case),
    "relu": ("relu", lambda case, x: F.relu(x)),
    "max_pool": pool_case("max_pool", (2, 2), (2, 2), (0, 0)),
    "max_pool_padding": pool_case("max_pool", (3, 3), (2, 2), (1, 1)),
    "avg_pool": pool_case("avg_pool", (2, 2), (2, 2), (0, 0)),
    "avg_pool_padding": pool_case("avg_pool", (3, 3), (2, 1), (1, 1)),
    "global_pool": ("global_pool", lambda case, x: x.mean(dim=(2, 3), keepdim=True)),
    "add": ("add", add_case),
    "smoothing": loss_case("softmax_cross_entropy", 0.1),
    "mse": loss_case("mse"),
    # times 8, which is exact: values on both sides of 6
    "relu6": ("relu6", lambda case, x: F.relu6(8 * x)),
    "concat": ("concat", concat_case),
    "conv_depthwise_stride": conv_case(out=4, groups=4, stride=(2, 2), padding=(1, 1), bias=False),
    "conv_depthwise_double": conv_case(out=8, groups=4, padding=(1, 1)),
}


def loss_of(case, logits, labels):
    if case.attributes["loss"] == "mse":
        return F.mse_loss(logits, F.one_hot(labels, CLASSES).to(logits.dtype))
    return F.cross_entropy(logits, labels, label_smoothing=case.attributes["smoothing"])


def write_case(file, name, seed):
    """input -> front (1x1 convolution) -> the operation -> back (linear) -> loss."""
    operation, build = CASES[name]
    case = Case(name, seed)
    case.attributes.update(op=operation, loss="softmax_cross_entropy", smoothing=0.0)
    x = case.draw(BATCH, CHANNELS, HEIGHT, WIDTH).requires_grad_(True)
    labels = torch.from_numpy(case.random.randint(0, CLASSES, BATCH))
    front = case.conv("front", x, CHANNELS, (1, 1))
    result = build(case, front)
    logits = case.linear("back", result, CLASSES)
    loss = loss_of(case, logits, labels)
    loss.backward()

    group = file.create_group(name)
    set_attributes(group, case.attributes)
    put(group, "input", ours(x))
    put(group, "labels", labels.numpy().astype(np.int32))
    put(group, "output", ours(result))
    put(group, "logits", ours(logits))
    put(group, "loss", np.float64(loss.item()))
    for key, value in case.values.items():
        put(group, key, ours(value))
    for key, value in case.parameters.items():
        put(group, "before/" + key, value.detach().numpy().astype(np.float32))
        put(group, "grad/" + key, value.grad.numpy().astype(np.float32))
    for key, value in case.buffers.items():
        put(group, "after/" + key, ours(value))
    for key, value in case.layer_outputs.items():
        put(group, "out_grad/" + key, ours(value.grad))
    for key, value in case.layer_inputs.items():
        put(group, "in_grad/" + key, case.input_gradient(key))


def write_network(folder):
    """conv 3x3 -> batch norm -> relu -> max pool -> linear, ten steps of SGD."""
    steps, batch, classes = 10, 8, 10
    # powers of two and their sums: float32 holds them exactly
    options = {"lr": 0.0625, "momentum": 0.875, "weight_decay": 0.0078125, "nesterov": True}
    case = Case("network", SEED)
    images = [case.draw(batch, 1, 8, 8) for _ in range(steps)]
    labels = [torch.from_numpy(case.random.randint(0, classes, batch)) for _ in range(steps)]
    kernel = case.parameter("conv.weight", 4, 3, 3, 1, spread=0.4)
    gamma = case.parameter("norm.gamma", 4, spread=0.2, shift=1.0)
    beta = case.parameter("norm.beta", 4, spread=0.2)
    weight = case.parameter("fc.weight", classes, 4 * 4 * 4, spread=0.15)
    bias = case.parameter("fc.bias", classes, spread=0.1)
    mean, var = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    before = {key: value.detach().clone() for key, value in case.parameters.items()}
    optimizer = torch.optim.SGD(case.parameters.values(), **options)
    losses = []
    for image, label in zip(images, labels):
        y = F.conv2d(image, kernel.permute(0, 3, 1, 2), padding=1)
        y = F.max_pool2d(F.relu(F.batch_norm(y, mean, var, gamma, beta, True, 0.1, 1e-5)), 2)
        loss = F.cross_entropy(F.linear(y.permute(0, 2, 3, 1).reshape(batch, -1), weight, bias),
                               label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    with open_file(folder, "network.h5") as file:
        set_attributes(file, {**options, "bn_momentum": 0.1, "epsilon": 1e-5})
        put(file, "images", np.stack([ours(image) for image in images]))
        put(file, "labels", np.stack([label.numpy() for label in labels]).astype(np.int32))
        put(file, "losses", np.array(losses, dtype=np.float64))
        for key, value in before.items():
            put(file, "before/" + key, value.numpy().astype(np.float32))
            put(file, "after/" + key,
                case.parameters[key].detach().numpy().astype(np.float32))
        put(file, "after/norm.running_mean", ours(mean))
        put(file, "after/norm.running_var", ours(var))


def away_from_halves(values, scale, distance=1e-3):
    """Moves values whose quotient with the scale lies next to a rounding boundary: PyTorch
    multiplies with 1/scale, we divide, and both are right about a tie that is not one."""
    quotient = values / scale
    close = np.abs(quotient - np.floor(quotient) - 0.5) < distance
    return np.where(close, values + 0.25 * scale, values).astype(np.float32)


def write_grids(folder):
    """Per tensor and per channel; rows of x are channels."""
    random = np.random.RandomState(SEED)
    grids = {  # lowest and highest code, zero point, scales
        "u8": (0, 255, 0, [0.013]),
        "u8_affine": (0, 255, 117, [0.0217]),
        "u4": (0, 15, 0, [0.171]),
        "u2_affine": (0, 3, 1, [0.9]),
        "s8": (-127, 127, 0, [0.021]),
        "s4_power_of_two": (-7, 7, 0, [0.25]),
        "s8_channels": (-127, 127, 0, [0.011, 0.03, 0.0077, 0.125]),
        "s4_channels": (-7, 7, 0, [0.3, 0.21, 0.5, 0.07]),
        "s2_channels": (-1, 1, 0, [0.7, 1.1, 0.25, 2.0]),
    }
    with open_file(folder, "grids.h5") as file:
        for name, (low, high, zero, scales) in grids.items():
            scale = np.array(scales, dtype=np.float32)
            x = random.standard_normal((len(scales), 120)).astype(np.float32) * np.float32(1.3)
            x = away_from_halves(x, scale[:, None])
            if name == "s4_power_of_two":  # exact quotients, so ties are ties for both
                x[0, :29] = np.arange(-14, 15, dtype=np.float32) * np.float32(0.125)
                x[0, 29] = -0.0
            tensor = torch.from_numpy(x).requires_grad_(True)
            dy = torch.from_numpy(random.standard_normal(x.shape).astype(np.float32))
            if len(scales) == 1:
                y = torch.fake_quantize_per_tensor_affine(tensor, float(scale[0]), zero, low, high)
            else:
                y = torch.fake_quantize_per_channel_affine(
                    tensor, torch.from_numpy(scale), torch.zeros(len(scales), dtype=torch.int32),
                    0, low, high)
            y.backward(dy)
            group = file.create_group(name)
            signed = low < 0
            set_attributes(group, {"qmin": low, "qmax": high, "zero_point": zero,
                                   "signed": signed, "bits": high.bit_length() + signed})
            put(group, "scale", scale)
            put(group, "x", x)
            put(group, "y", y.detach().numpy())
            put(group, "dy", dy.numpy())
            put(group, "dx", tensor.grad.numpy())


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: gen_golden.py FOLDER")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    with open_file(folder, "ops.h5") as file:
        for index, name in enumerate(CASES):
            write_case(file, name, SEED + 1 + index)
    write_network(folder)
    write_grids(folder)


if __name__ == "__main__":
    main()
