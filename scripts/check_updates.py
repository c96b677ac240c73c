#!/usr/bin/env python3
"""What a residual's bits buy: update methods against each other, same network, data order and seeds.

    scripts/check_updates.py BUILD OUT lenet5|resnet20 [--jobs N] [--row BITS METHOD LR SEED]
    scripts/check_updates.py --table OUT

One row a run into OUT/NETWORK.tsv, its epochs into OUT/NETWORK-epochs.tsv; rows that are there are
not run again, a killed run begins anew. --row runs a single one elsewhere and says whether it equals the row.
"""
import argparse, concurrent.futures, json, pathlib, re, shutil, statistics, subprocess, threading

METHODS = ["sgd", "nearest", "stochastic", "kahan-bf16"] + [
    f"{m}:{b}" for m in ("threshold", "residual") for b in (4, 8, 12, 16)]
FEWER = ["sgd", "nearest", "stochastic", "kahan-bf16", "threshold:16", "residual:4", "residual:8"]
LOW = ["sgd", "nearest", "stochastic", "kahan-bf16", "threshold:16", "residual:8", "residual:16"]
CAMPAIGNS = {
    "lenet5": {"bits": (8, 6, 4, 2), "seeds": (1, 2, 3, 4, 5), "lr": "0.05", "low": ("0.005", "0.0005"),
               "options": "momentum: 0.9", "methods": METHODS},
    "resnet20": {"bits": (8, 4), "seeds": (1, 2, 3), "lr": "0.1", "low": (),
                 "options": "momentum: 0.9, nesterov: true, weight_decay: 0.0005", "methods": FEWER},
}
COLUMNS = ["bits", "method", "lr", "seed", "test", "codes", "below", "momentum", "f32", "writes", "lost",
           "saturated"]
EPOCH = re.compile(r"train: epoch (\d+) of \d+: loss (\S+), accuracy (\S+) %")
lock = threading.Lock()


def tasks(campaign):
    for seed in campaign["seeds"]:
        for bits in campaign["bits"]:
            for method in campaign["methods"]:
                yield bits, method, campaign["lr"], seed
        for lr in campaign["low"]:
            for method in LOW:
                yield 8, method, lr, seed


def run(args, network, task, folder):
    bits, method, lr, seed = task
    name, _, below = method.partition(":")
    options = CAMPAIGNS[network]["options"] + (f", bits: {below}" if below else "")
    command = [f"{args.build}/bitgrad", "run", f"experiments/recipes/updates-{network}.yaml",
               f"seed={seed}", f"quantize.weight_bits={bits}", f"train.lr={lr}", f"train.update={name}",
               f"train.options={{{options}}}", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    result = json.loads((folder / "result.json").read_text())
    parts = [p for p in result["updates"]["train"].values() if isinstance(p, dict)]
    weights = sum(p["weights"] for p in parts)
    mean = lambda get: sum(p["weights"] * (get(p) or 0) for p in parts) / weights
    row = [str(bits), method, lr, str(seed), f"{result['accuracy']['quantized']:.4f}"]
    row += [f"{mean(lambda p: p['bytes_per_weight'][k]):.3f}" for k in ("codes", "below", "momentum", "f32")]
    row += [f"{mean(lambda p: p.get(k)):.6g}" for k in ("writes_per_weight", "lost", "saturated")]
    return row, [[str(bits), method, lr, str(seed), *m.groups()] for m in EPOCH.finditer(done.stdout + done.stderr)]


def read(path):
    return [line.split("\t") for line in path.read_text().splitlines()[1:]] if path.exists() else []


def write(path, rows):
    path.with_suffix(".new").write_text("".join("\t".join(r) + "\n" for r in rows))
    path.with_suffix(".new").replace(path)


def append(path, columns, rows):
    fresh = not path.exists()
    with open(path, "a") as file:
        file.write("".join("\t".join(r) + "\n" for r in ([columns] if fresh else []) + rows))


def campaign(args):
    path = args.out / f"{args.network}.tsv"
    known = {tuple(row[:4]) for row in read(path)}
    todo = [t for t in tasks(CAMPAIGNS[args.network]) if tuple(map(str, t)) not in known]

    def one(task):
        folder = args.out / "-".join([args.network, *map(str, task)]).replace(":", "_")
        shutil.rmtree(folder, ignore_errors=True)  # of a killed one: its first epochs are not in the log again
        row, epochs = run(args, args.network, task, folder)
        with lock:
            curves = args.out / f"{args.network}-epochs.tsv"
            others = [r for r in read(curves) if r[:4] != row[:4]]
            write(curves, [["bits", "method", "lr", "seed", "epoch", "loss", "accuracy"]] + others + epochs)
            append(path, COLUMNS, [row])
        shutil.rmtree(folder)

    args.out.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for done in concurrent.futures.as_completed([pool.submit(one, t) for t in todo]):
            done.result()


def table(out):
    for network in CAMPAIGNS:
        rows = read(out / f"{network}.tsv")
        test = {tuple(r[:4]): 100 * float(r[4]) for r in rows}
        keys = sorted({(r[2], r[0]) for r in rows}, key=lambda k: (-float(k[0]), -int(k[1])))
        for lr, bits in keys:
            print(f"\n{network}, {bits}-bit weights, lr {lr}")
            print(f"{'method':14} {'n':>2} {'test %':>7} {'sd':>5} {'against f32 masters':>22} {'bytes/weight':>13} "
                  f"{'writes':>9} {'lost %':>7}")
            for method in METHODS:
                own = [r for r in rows if (r[2], r[0], r[1]) == (lr, bits, method)]
                if not own:
                    continue
                values = [100 * float(r[4]) for r in own]
                paired = [test[bits, method, lr, r[3]] - test[bits, "sgd", lr, r[3]] for r in own
                          if (bits, "sgd", lr, r[3]) in test]
                sd = statistics.stdev(values) if len(values) > 1 else 0
                error = statistics.stdev(paired) / len(paired) ** .5 if len(paired) > 1 else 0
                gap = "" if method == "sgd" or not paired else f"{statistics.mean(paired):+.2f} (s.e. {error:.2f})"
                bytes_ = statistics.mean(sum(map(float, r[5:9])) for r in own)
                print(f"{method:14} {len(own):>2} {statistics.mean(values):7.2f} {sd:5.2f} {gap:>22} {bytes_:13.2f} "
                      f"{statistics.mean(float(r[9]) for r in own):9.4g} {100 * statistics.mean(float(r[10]) for r in own):7.2f}")


def one_row(args):
    bits, method, lr, seed = args.row
    folder = args.out / "again"
    row, _ = run(args, args.network, (int(bits), method, lr, int(seed)), folder)
    shutil.rmtree(folder)
    committed = pathlib.Path(f"experiments/results/updates/{args.network}.tsv")
    known = [r for r in read(committed) if r[:4] == row[:4]]
    print("\t".join(row))
    if known != [row]:
        raise SystemExit(f"{committed} has {known}")
    print("equal")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("out", type=pathlib.Path, nargs="?")
    parser.add_argument("network", choices=CAMPAIGNS, nargs="?")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--row", nargs=4, metavar=("BITS", "METHOD", "LR", "SEED"))
    parser.add_argument("--table", action="store_true", help="prints the tables of the folder BUILD")
    args = parser.parse_args()
    if args.table:
        table(pathlib.Path(args.build))
    elif args.network is None:
        parser.error("expected BUILD OUT NETWORK")
    elif args.row:
        one_row(args)
    else:
        campaign(args)


main()
