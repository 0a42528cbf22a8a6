"""Counts into PROMETHEUS_MULTIPROC_DIR and acknowledges each call with one byte on standard output, after the call has returned.

Arguments: lane, number of calls ("forever" = without end). After the last call it waits for the end of standard input. Prints the line
"ready" first. The calls are those of `tests/common/counting.rs`, one after the other in the same order.
"""

import os
import sys

from prometheus_client import Counter, Histogram

lane, limit = sys.argv[1], sys.argv[2]
limit = None if limit == "forever" else int(limit)
os.write(1, b"\nready\n")
events = Counter("storm_events", "h")
by_lane = Counter("storm_lane_events", "h", ["lane"]).labels(lane)
amount = Counter("storm_amount", "h")
seconds = Histogram("storm_seconds", "h", buckets=[0.5, 1.0])
call = 0
while limit is None or call < limit:
    if call % 3 == 0:
        events.inc()
        by_lane.inc()
    elif call % 3 == 1:
        amount.inc(0.1)
    else:
        seconds.observe((0.3, 0.7, 2.5)[call // 3 % 3])
    call += 1
    os.write(1, b"+")
sys.stdin.read()
