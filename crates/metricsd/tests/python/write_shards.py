"""Fills the directory PROMETHEUS_MULTIPROC_DIR from several processes, as applications do.

Arguments: number of processes, seed. Each process prints nothing; this one prints "ready" when all have recorded, then waits for a
line on standard input while they live, kills them, and ends. Values are whole or dyadic, so that sums are exact in any order.
"""

import os
import random
import signal
import sys

from prometheus_client import Counter, Gauge, Histogram, Summary

MODES = ["all", "liveall", "min", "livemin", "max", "livemax", "sum", "livesum", "mostrecent", "livemostrecent"]
TEXTS = ["plain", "", "mit Umlaut äöü", "日本語", "emoji 🚀", 'quote " and \\ backslash', "new\nline", "tab\tand\x7fdel", "comma,={}"]


def value(rng):
    return rng.choice([rng.randrange(0, 1000), rng.randrange(0, 1 << 40), rng.randrange(0, 4096) / 64])


def record(seed, index):
    rng = random.Random(seed * 1000 + index)
    plain = Counter("demo_plain", "No labels at all")
    plain.inc(value(rng))
    orders = Counter("demo_orders", "Counter with \\ labels\nand two lines", ["side", "text"])
    for _ in range(20):
        orders.labels(rng.choice(["buy", "sell"]), rng.choice(TEXTS)).inc(value(rng))
    summary = Summary("demo_size_bytes", "A summary", ["text"])
    for _ in range(5):
        summary.labels(rng.choice(TEXTS)).observe(value(rng))
    layouts = {
        "default": {},
        "coarse": {"buckets": [1, 10, 100]},
        "fine": {"buckets": [0.25, 0.5, 0.75, 1, 1.5, 1e6, 2.5e9]},
        "negative": {"buckets": [-5, 0, 5]},
    }
    for name, layout in layouts.items():
        histogram = Histogram(f"demo_{name}_seconds", f"Histogram {name}", ["side"], **layout)
        for _ in range(30):
            histogram.labels(rng.choice(["buy", "sell"])).observe(rng.choice([-6, -1, 0, 0.25, 0.5, 1, 3, 99, 1e5, 1e7, 1e10]))
    mixed = Histogram("demo_mixed_seconds", "Bounds differ between processes", buckets=[[1, 2, 3], [1, 2.5], [0.5, 3]][index % 3])
    for _ in range(20):
        mixed.observe(rng.randrange(0, 16) / 4)
    for mode in MODES:
        gauge = Gauge(f"demo_gauge_{mode}", f"Gauge {mode}", ["text"], multiprocess_mode=mode)
        for _ in range(4):
            gauge.labels(rng.choice(TEXTS)).set(rng.choice([-1, 1]) * value(rng))
        gauge.labels("touched only")
        special = Gauge(f"demo_special_{mode}", "Infinities", multiprocess_mode=mode)
        if not mode.startswith("sum") and mode != "livesum":
            special.set(rng.choice([float("inf"), 1e300, -3.5, 12345678.0]))
    extra = Counter(f"demo_only_{index}", "Only one process has this")
    extra.inc(index + 1)


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    children = []
    for index in range(count):
        ready, done = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ready)
            record(seed, index)
            os.write(done, b"x")
            os.close(done)
            signal.pause()
        os.close(done)
        children.append((pid, ready))
    for pid, ready in children:
        assert os.read(ready, 1) == b"x", f"process {pid} failed"
    print("ready", flush=True)
    sys.stdin.readline()
    for pid, _ in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    print("dead", flush=True)


main()
