#!/usr/bin/env python3
"""The shipped session computed a second time, from the rules alone, in decimal arithmetic: the judge of the golden statistics.

Usage: reference.py data/eurusd-1h-2017.csv [shipped | short | tight]            prints JSON
Written from the documentation of the trading rules and not from the Rust code: whole windows are summed anew at every bar, the books
are a list of trades that is added up at the end, gaps are found by walking the clock hour by hour.
"""

import csv
import datetime
import decimal
import hashlib
import json
import sys
from decimal import Decimal

decimal.getcontext().prec = 60
HOUR = datetime.timedelta(hours=1)

FAST, SLOW, WARMUP = 20, 50, 200
START, FRACTION = Decimal("10000"), Decimal("0.1")
FEE_RATE, SLIPPAGE = Decimal("0.0026"), Decimal("5") / Decimal("10000")
STEP, MINIMUM = Decimal("0.01"), Decimal("1")
LIMITS = {
    "max_order_notional": Decimal("1500"),
    "max_total_exposure": Decimal("5000"),
    "max_symbol_exposure": Decimal("2000"),
    "max_open_positions": Decimal("5"),
    "max_daily_loss_abs": Decimal("500"),
    "max_daily_loss_pct": Decimal("5"),
}
WARN = Decimal("0.8")
ALLOW_SHORT = False

# What else is judged, beside the shipped configuration: shorts, and limits that stop entries and exits.
VARIANTS = {
    "shipped": (False, {}),
    "short": (True, {}),
    "tight": (True, {"max_order_notional": Decimal("1000"), "max_daily_loss_abs": Decimal("6")}),
}


def money(value):
    """At most ten decimals, half to even."""
    return value.quantize(Decimal("1e-10"), decimal.ROUND_HALF_EVEN) if -value.as_tuple().exponent > 10 else value


def text(value):
    return format(value.normalize(), "f") if value else "0"


def read(path):
    with open(path, newline="") as file:
        lines = [line for line in file if not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    for row in rows:
        row["time"] = datetime.datetime.strptime(row["open_time"], "%Y-%m-%dT%H:%M:%SZ")
    return rows


def original_sha256(rows):
    """Rebuild the file that the shipped one was converted from."""
    out = ["Time,Open,High,Low,Close,Volume"]
    for row in rows:
        out.append(",".join([row["time"].strftime("%d.%m.%Y %H:%M:%S.000")] + [row[c] for c in ("open", "high", "low", "close", "volume")]))
    return hashlib.sha256(("\r\n".join(out) + "\r\n").encode()).hexdigest()


def weekend(time):
    """Friday 21:00 to Sunday 22:00 UTC."""
    day, hour = time.weekday(), time.hour
    return (day == 4 and hour >= 21) or day == 5 or (day == 6 and hour < 22)


def gaps(rows):
    found = []
    for before, after in zip(rows, rows[1:]):
        time, missing = before["time"] + HOUR, 0
        while time < after["time"]:
            missing += not weekend(time)
            time += HOUR
        if missing:
            found.append([after["open_time"], missing])
    return found


def crosses(closes):
    """Bar -> +1 or -1."""
    result, before = {}, None
    for bar in range(SLOW - 1, len(closes)):
        fast = sum(closes[bar - FAST + 1 : bar + 1]) / FAST
        slow = sum(closes[bar - SLOW + 1 : bar + 1]) / SLOW
        now = (fast > slow) - (fast < slow)
        if before is not None and now > 0 >= before:
            result[bar] = 1
        if before is not None and now < 0 <= before:
            result[bar] = -1
        before = now
    return result


class Books:
    """A list of (signed quantity, price, fee); everything else is added up from it."""

    def __init__(self, trades=()):
        self.trades = list(trades)

    def trade(self, quantity, price):
        price = money(price * (1 + SLIPPAGE if quantity > 0 else 1 - SLIPPAGE))
        fee = money(money(abs(quantity) * price) * FEE_RATE)
        return (quantity, price, fee)

    def position(self):
        return sum((quantity for quantity, _, _ in self.trades), Decimal(0))

    def fees(self):
        return sum((fee for _, _, fee in self.trades), Decimal(0))

    def equity(self, price):
        cash = START - sum((money(quantity * p) + fee for quantity, p, fee in self.trades), Decimal(0))
        return cash + money(self.position() * price)

    def realised(self):
        """Positions are opened and closed whole, one side at a time."""
        realised, cost = -self.fees(), Decimal(0)
        held = Decimal(0)
        for quantity, price, _ in self.trades:
            cost += money(quantity * price)
            held += quantity
            if held == 0:
                realised -= cost
                cost = Decimal(0)
        return realised


def evaluate(quantity, close, books, day_open):
    """The strictest result and the breached limits, on the state after the trade at the last close, costs included."""
    after = Books(books.trades + [books.trade(quantity, close)])
    position = after.position()
    loss = day_open - after.equity(close)
    values = {
        "max_order_notional": abs(quantity) * close,
        "max_total_exposure": abs(position) * close,
        "max_symbol_exposure": abs(position) * close,
        "max_open_positions": Decimal(position != 0),
        "max_daily_loss_abs": loss,
        "max_daily_loss_pct": loss * 100 / day_open,
    }
    reducing = abs(position) < abs(books.position())
    blocking = ["max_order_notional"] if reducing else list(LIMITS)
    breached = [limit for limit in blocking if values[limit] > LIMITS[limit]]
    warned = any(values[limit] >= WARN * LIMITS[limit] for limit in LIMITS)
    return ("block" if breached else "warn" if warned else "allow"), breached


def crossed(cross, position):
    """The orders of a cross, in their order: whatever is held the wrong way is left, then the wanted side entered."""
    if cross > 0:
        return (["close_short"] if position < 0 else []) + (["entry_long"] if position <= 0 else [])
    if ALLOW_SHORT:
        return (["close_long"] if position > 0 else []) + (["entry_short"] if position >= 0 else [])
    return ["exit_long"] if position > 0 else []


def main():
    global ALLOW_SHORT
    ALLOW_SHORT, limits = VARIANTS[sys.argv[2] if len(sys.argv) > 2 else "shipped"]
    LIMITS.update(limits)
    rows = read(sys.argv[1])
    closes = [Decimal(row["close"]) for row in rows]
    crossings = crosses(closes)
    books, signal, day, equity = Books(), "flat", None, START
    pending, fills, exit_wanted = [], [], False
    counts = {"signals": {}, "decisions": {}, "risk_checks": {}, "risk_blocks": {}}
    blocked = rejected = 0
    peak, drawdown = START, Decimal(0)

    def count(kind, name):
        counts[kind][name] = counts[kind].get(name, 0) + 1

    for bar in range(WARMUP, len(rows)):
        row, close = rows[bar], closes[bar]
        if row["time"].date() != day:
            day, day_open = row["time"].date(), equity
        for quantity in pending:
            trade = books.trade(quantity, Decimal(row["open"]))
            books.trades.append(trade)
            fills.append(f'{row["open_time"]} {"buy" if trade[0] > 0 else "sell"} {text(abs(trade[0]))} at {text(trade[1])} fee {text(trade[2])}')
        pending = []
        equity = books.equity(close)
        peak = max(peak, equity)
        drawdown = max(drawdown, 1 - equity / peak)
        cross = crossings.get(bar, 0)
        position = books.position()
        if cross:
            wanted = "long" if cross > 0 else "short" if ALLOW_SHORT else "flat"
            if wanted != signal:
                signal = wanted
                count("signals", signal)
            decisions = crossed(cross, position)
        elif exit_wanted:
            decisions = ["exit_long" if position > 0 else "exit_short"]
        else:
            continue
        exit_wanted, projected = False, Books(books.trades)
        for decision in decisions:
            entry = decision.startswith("entry")
            if entry:
                quantity = (equity * FRACTION / close // STEP) * STEP * (1 if decision == "entry_long" else -1)
            else:
                quantity = -position
            if cross:
                count("decisions", decision)
            if abs(quantity) < MINIMUM:
                rejected += 1
                exit_wanted = not entry
                break
            result, breached = evaluate(quantity, close, projected, day_open)
            count("risk_checks", result)
            for limit in breached:
                count("risk_blocks", limit)
            if breached:
                # An exit that was stopped is tried at every bar until the next cross; an entry behind it is not tried.
                blocked += 1
                exit_wanted = not entry
                break
            projected.trades.append(projected.trade(quantity, close))
            pending.append(quantity)

    realised = books.realised()
    json.dump(
        {
            "original_sha256": original_sha256(rows),
            "candles": len(rows),
            "gaps": gaps(rows),
            "crosses_up": sum(1 for cross in crossings.values() if cross > 0),
            "crosses_down": sum(1 for cross in crossings.values() if cross < 0),
            "steps": len(rows) - WARMUP,
            **counts,
            "blocked": blocked,
            "rejected": rejected,
            "pending": len(pending),
            "position": text(books.position()),
            "equity": text(equity),
            "realised_pnl": text(realised),
            "unrealised_pnl": text(equity - START - realised),
            "fees": text(books.fees()),
            "max_drawdown_ratio": text(drawdown.quantize(Decimal("1e-10"), decimal.ROUND_HALF_EVEN)),
            "fills": fills,
        },
        sys.stdout,
        indent=1,
    )
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
