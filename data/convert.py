#!/usr/bin/env python3
"""Convert the hourly EUR/USD candles of gym-anytrading to this project's candle format.

Usage: convert.py FOREX_EURUSD_1H_ASK.csv > eurusd-1h-2017.csv

Only the time column is respelled (D.M.Y, which the source means as UTC, to RFC 3339); prices and volumes stay the very
characters of the source, so the original file can be rebuilt from the result, byte for byte.
"""

import datetime
import hashlib
import sys


def main() -> None:
    original = open(sys.argv[1], "rb").read()
    lines = original.decode("ascii").split("\r\n")
    assert lines[0] == "Time,Open,High,Low,Close,Volume" and lines[-1] == ""
    out = [
        "# symbol: EUR/USD",
        "# timeframe: 1h",
        "# source: FOREX_EURUSD_1H_ASK.csv of PyPI gym-anytrading 2.0.0, ask side; the vendor below it is not stated",
        "# licence: MIT, see gym-anytrading-LICENSE.txt",
        "# original_sha256: " + hashlib.sha256(original).hexdigest(),
        "open_time,open,high,low,close,volume",
    ]
    for line in lines[1:-1]:
        time, rest = line.split(",", 1)
        stamp = datetime.datetime.strptime(time, "%d.%m.%Y %H:%M:%S.000")
        out.append(stamp.strftime("%Y-%m-%dT%H:%M:%SZ") + "," + rest)
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
