"""A simulated broker: one net position per symbol, fills at a price from a file or at a fixed middle with a spread.

It keeps: the book is nothing but the sum of the fills that the journal has, so it is the same after a restart.
This is the file that an MT5 site replaces. Each method says which call of the `MetaTrader5` package stands in its place.
"""

import json
from decimal import ROUND_DOWN, Decimal

ACCOUNT = "1000001"
MIN_VOLUME = Decimal("0.01")
MAX_VOLUME = Decimal("100")
STEP = Decimal("0.01")
LEVERAGE = 100
CENT = Decimal("0.01")
PRICE_STEP = Decimal("0.00000001")


class Rejected(Exception):
    """The broker says no: one of the order codes, and a sentence."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


def _text(amount):
    return format(amount, "f")


class Book:
    """The account, the positions and the fills."""

    # An execution is nothing but the record of its result, one append: what has no result was not executed, and needs no record before.
    # MT5: False. The broker is elsewhere, and that an order was given to it has to be on the disk first.
    is_the_journal = True

    def __init__(
        self,
        mid="1.10000",
        spread="0.00020",
        prices=None,
        fill_ratio="1",
        reject=None,
        contract="100000",
        placed=None,
        account=ACCOUNT,
    ):
        self.mid, self.spread = Decimal(mid), Decimal(spread)
        self.prices = prices
        self.fill_ratio = Decimal(fill_ratio)
        self.reject = reject
        self.contract = Decimal(contract)
        self.placed = placed  # milliseconds from PLACED to the fill; None: orders are filled at once
        self.name = account
        self.balance = Decimal("10000.00")
        self.positions = {}
        self.fills = []
        self.tickets = set()  # every one that was given out

    def quote(self, symbol):
        """(bid, ask). MT5: `symbol_info_tick(symbol)`; first `symbol_select(symbol, True)`."""
        if self.prices is None:
            return self.mid - self.spread / 2, self.mid + self.spread / 2
        try:
            with open(self.prices, encoding="utf-8") as file:
                quotes = json.load(file)
            if symbol not in quotes:
                raise Rejected("market_closed", "no price for this symbol")
            return Decimal(quotes[symbol]["bid"]), Decimal(quotes[symbol]["ask"])
        except (OSError, ValueError, TypeError, KeyError, ArithmeticError) as error:
            raise Rejected("other", "the file with prices cannot be read") from error

    def execute(self, order_id, key, order, now):
        """(type, payload) of the fill, or `Rejected`. Changes nothing: `apply` does, once the result is on the disk.

        MT5: `order_send` with TRADE_ACTION_DEAL, ORDER_FILLING_IOC, `magic`, `deviation` and **`comment` = order_id**, which is what finds
        the deal again after a crash. `retcode` decides, never the mere presence of a result: 10009 FILLED, 10010 PARTIAL, 10008 PLACED;
        10004 requote; 10015, 10020, 10021 price; 10014 volume; 10019 margin; 10018 market_closed; 10017, 10026, 10027 disabled;
        everything else, None included, only after `history_deals_get` has shown that there is no deal: other.
        """
        if self.reject:
            raise Rejected(self.reject, "as the option says")
        if order["account"] != self.name:
            raise Rejected("disabled", "the order is for another account")
        ticket = str(len(self.tickets) + 1)
        kind, payload = self._fill(order_id, key, order, ticket, now)
        if self.placed is None:
            return kind, payload
        named = {name: payload[name] for name in ("order_id", "idempotency_key", "ticket", "symbol", "side", "requested_volume")}
        return "PLACED", {**named, "placed_at": now}

    def _fill(self, order_id, key, order, ticket, now):
        volume = Decimal(order["volume"])
        if not MIN_VOLUME <= volume <= MAX_VOLUME or volume % STEP:
            raise Rejected("volume", f"from {MIN_VOLUME} to {MAX_VOLUME} in steps of {STEP}")
        bid, ask = self.quote(order["symbol"])
        is_buy = order["side"] == "BUY"
        price = ask if is_buy else bid
        if order["worst_price"] is not None:
            worst = Decimal(order["worst_price"])
            if price > worst if is_buy else price < worst:
                raise Rejected("price", f"the price is {_text(price)}")
        filled = (volume * self.fill_ratio).quantize(STEP, rounding=ROUND_DOWN)
        if filled == 0:
            raise Rejected("requote", "nothing can be had at this price")
        if filled * self.contract * price / LEVERAGE > self.account(now)[1]:
            raise Rejected("margin", "not enough free margin")
        payload = {
            "order_id": order_id,
            "idempotency_key": key,
            "ticket": ticket,
            "symbol": order["symbol"],
            "side": order["side"],
            "requested_volume": order["volume"],
            "volume": _text(filled),
            "price": _text(price),
            "executed_at": now,
        }
        return ("FILLED" if filled == volume else "PARTIAL"), payload

    def find(self, order_id):
        """The fill of an order whose result was not written down, or None if the broker surely has none.

        Here the journal is the book, so there is none. MT5: `history_deals_get` and `positions_get`, compared by `comment`; as long as
        the terminal is not connected the answer is not known, and the peer must not serve.
        """
        return None

    def follow_up(self, record, now):
        """What became of an order that was answered PLACED, as `execute` says it, or None as long as the broker only has it.

        This one fills it at `fill_at`, or cancels it if that is later than the order may live. MT5: as `find`, with `orders_get` and
        `history_orders_get` besides: an order that is still there is None, one that was cancelled without a deal is `Rejected`.
        """
        if now < record["fill_at"] and now <= record["valid_until"]:
            return None
        if record["fill_at"] > record["valid_until"]:
            raise Rejected("late", "cancelled, it was not filled in its time")
        payload = record["payload"]
        return self._fill(payload["order_id"], payload["idempotency_key"], record["order"], payload["ticket"], record["fill_at"])

    def apply(self, kind, payload, magic):
        """Books a fill. MT5: nothing, the broker does it."""
        if "ticket" in payload:
            self.tickets.add(payload["ticket"])
        if kind not in ("FILLED", "PARTIAL"):
            return
        self.fills.append(payload)
        symbol, price = payload["symbol"], Decimal(payload["price"])
        change = Decimal(payload["volume"]) * (1 if payload["side"] == "BUY" else -1)
        held = self.positions.get(symbol)
        if held is None:
            held = self.positions[symbol] = {"net": Decimal(0), "price": price}
        before, after = held["net"], held["net"] + change
        closed = min(abs(before), abs(change)) if before * change < 0 else Decimal(0)
        self.balance += closed * (price - held["price"]) * (1 if before > 0 else -1) * self.contract
        if before * after <= 0:  # opened anew, closed or turned round
            held.update(price=price, ticket=payload["ticket"], opened_at=payload["executed_at"], magic=magic)
        elif before * change > 0:
            mean = (before * held["price"] + change * price) / after
            held["price"] = mean.quantize(PRICE_STEP)  # so that everything that is made of it is exact
        held["net"] = after
        if after == 0:
            del self.positions[symbol]

    def list_positions(self):
        """MT5: `positions_get()`, all of them, whatever their magic number."""
        return [self._position(symbol, held) for symbol, held in sorted(self.positions.items())]

    def _position(self, symbol, held):
        try:
            bid, ask = self.quote(symbol)
        except Rejected:  # no price now; the last that is known
            bid = ask = held["price"]
        current = bid if held["net"] > 0 else ask
        return {
            "ticket": held["ticket"],
            "symbol": symbol,
            "side": "BUY" if held["net"] > 0 else "SELL",
            "volume": _text(abs(held["net"])),
            "open_price": _text(held["price"].quantize(PRICE_STEP)),
            "current_price": _text(current),
            "profit": _text(_cents((current - held["price"]) * held["net"] * self.contract)),
            "opened_at": held["opened_at"],
            "magic": held["magic"],
        }

    def account(self, now):
        """(payload of ACCOUNT, free margin). MT5: `account_info()`; `mode` from `trade_mode`, where a contest counts as demo."""
        positions = self.list_positions()
        equity = self.balance + sum(Decimal(position["profit"]) for position in positions)
        margin = sum((abs(held["net"]) * self.contract * held["price"] / LEVERAGE for held in self.positions.values()), Decimal(0))
        payload = {
            "account": self.name,
            "mode": "demo",
            "currency": "USD",
            "balance": _text(_cents(self.balance)),
            "equity": _text(_cents(equity)),
            "margin_used": _text(_cents(margin)),
            "margin_free": _text(_cents(equity - margin)),
            "leverage": LEVERAGE,
            "as_of": now,
        }
        return payload, equity - margin


def _cents(amount):
    return amount.quantize(CENT) + 0  # the sum with 0 makes minus zero zero
