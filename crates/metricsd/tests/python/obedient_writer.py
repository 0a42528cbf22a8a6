"""A writer of prometheus_client that obeys lines on standard input and answers each with the same line.

`add NUMBER` counts, `set NUMBER` sets gauges of three modes. Prints "ready" when its series are made.
"""

import sys

from prometheus_client import Counter, Gauge

events = Counter("child_events", "h")
gauges = [
    Gauge("child_level", "h", multiprocess_mode="livesum"),
    Gauge("child_each", "h", multiprocess_mode="liveall"),
    Gauge("child_peak", "h", multiprocess_mode="max"),
]
print("ready", flush=True)
for line in sys.stdin:
    command, number = line.split()
    if command == "add":
        events.inc(float(number))
    elif command == "set":
        for gauge in gauges:
            gauge.set(float(number))
    print(line.strip(), flush=True)
