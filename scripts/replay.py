#!/usr/bin/env python3
"""Computes a file of `bitgrad export` again, from the file alone, and compares every code and logit: exit 1 when one
differs. Usage: replay.py FILE.npz|FILE.h5. What the numbers mean: core/NUMERICS.md, "Integer evaluation"."""
import json, sys
import numpy as np

path = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
file = __import__("h5py").File(path, "r") if path.endswith(".h5") else np.load(path)
get = lambda name: file[name][()]

def taps(x, s, outside):
    """What lies under each element of a window, and which: N,out_height,out_width,C; row; column."""
    (py, px), (sy, sx), (dy, dx) = s["padding"], s["stride"], s.get("dilation", (1, 1))
    x = np.pad(x, ((0, 0), (py, py), (px, px), (0, 0)), constant_values=outside)
    for i, j in np.ndindex(*s["kernel"]):
        yield x[:, i * dy:, j * dx:][:, ::sy, ::sx][:, :s["out_height"], :s["out_width"]], i, j

def accumulate(term, x, z):
    if term["source"] == "codes":
        return x - z
    if term["source"] == "pool":
        return sum(tap - z for tap, _, _ in taps(x, term["pool"], z))
    s, w = term["conv"], get(term["weights"]).astype(np.int64)
    x, w = x.reshape(-1, s["in_height"], s["in_width"], s["in_channels"]), w.reshape(s["groups"], -1, *w.shape[1:])
    return sum(np.einsum("nhwgi,goi->nhwgo", (tap - z).reshape(*tap.shape[:3], s["groups"], -1), w[:, :, i, j])
               for tap, i, j in taps(x, s, z))

def requantise(mode, step, real, accs):
    if real or mode == "f32-rne":
        parts = [a.astype(np.float32) * get(t["m"]) + get(t["c"]) for a, t in zip(accs, step["terms"])]
        v, z = sum(parts[1:], parts[0]), step.get("zero_point")
        return v if real else z + np.rint(np.clip(v, np.float32(step["lo"] - z), np.float32(step["hi"] - z)))
    shift = get(step["shift"]).astype(np.int64)
    unit = np.int64(1) << shift
    x = [(a + get(t["bias"])) << get(t["shift"]) for a, t in zip(accs, step["terms"])]
    if mode != "pow2-rne":
        x = [a * get(t["multiplier"]) for a, t in zip(x, step["terms"])]
    if mode == "pow2-rne":  # ties to even
        q, rest = sum(x) >> shift, 2 * (sum(x) & (unit - 1))
        q += (rest > unit) | ((rest == unit) & (q % 2 == 1))
    elif mode == "fixed-single":  # ties up
        q = (sum(x) + unit // 2) >> shift
    else:  # fixed-double: high products, their sum with ties away from zero
        x = [p + np.where(p >= 0, 1 << 30, 1 - (1 << 30)) for p in x]
        q = sum(np.sign(p) * (abs(p) >> 31) for p in x)
        q = np.sign(q) * ((abs(q) + unit // 2) >> shift)
    return np.clip(q + step["zero_point"], step["lo"], step["hi"])

model = json.loads(get("model").tobytes())
assert (model["format"], model["version"]) == ("bitgrad-integers", 1), "not a format that this script knows"
tensors, x, count, differ = model["tensors"], get(model["golden"]["input"]), 0, 0
made = [np.full((len(x), *t["shape"]), 999, np.float32 if t["real"] else np.int64) for t in tensors]
for step in model["steps"]:
    out, first = tensors[step["output"]], step.get("channel", 0)
    if "table" in step:
        y = get(step["table"])[x]
    elif step["kind"] == "input":
        y = np.rint(x / np.float32(out["scale"])) + np.float32(out["zero_point"])
        y = np.clip(np.where(np.isnan(y), out["zero_point"], y), out["qmin"], out["qmax"])
    elif step["kind"] == "max-pool":
        y = np.max([tap for tap, _, _ in taps(made[step["input"]], step["pool"], -1)], axis=0)
    else:
        accs = [accumulate(t, made[t["input"]], tensors[t["input"]]["zero_point"]) for t in step["terms"]]
        accs = [a.reshape(len(x), *out["shape"][:2], -1) for a in accs]
        y = requantise(model["requant"], step, out["real"], accs)
    made[step["output"]][..., first:first + y.shape[-1]] = y
for tensor, y in zip(tensors, made):
    wrong = np.count_nonzero(y != get(tensor["golden"]))
    print(f"{tensor['name']} {y.size} outputs, {wrong} differ")
    count, differ = count + y.size, differ + wrong
print(f"{path}: {model['network']}, {model['requant']}, {len(x)} inputs: {count} outputs, {differ} differ")
sys.exit(differ > 0 or count == 0)
