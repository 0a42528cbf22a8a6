#!/usr/bin/env python3
"""A gateway for the sentinel: docs/gateway-protocol.md over ZeroMQ, with a simulated broker behind it.

It keeps: an ORDER is on the disk before the broker sees it, its result is on the disk before it is answered, and neither a repeated message
nor a restart executes it again. Standard library and pyzmq. An MT5 site keeps this file, wire.py and journal.py, and replaces book.py.
"""

import argparse
import json
import sys
import time

import book as broker
import wire
from journal import Journal


class Peer:
    """The rules of the contract, without sockets; time is an argument."""

    def __init__(self, key, journal, book, now):
        self.key, self.journal, self.book = key, journal, book
        self.started_at = now
        self.read_ids = {}  # ids of messages without an effect -> until when they are remembered
        self.forget_at = now  # when those whose time is over are looked for next
        for order_id, kind, payload in journal.executions:
            self.book.apply(kind, payload, journal.magic.get(order_id, 0))
        # Orders that were given to the broker just before the end: what became of them has to be known before anything is answered.
        for order_id, order in list(journal.begun.items()):
            found = book.find(order_id)
            if found is None:
                found = ("REJECTED", _rejected(order_id, "other", "the gateway stopped before the order was executed"))
            self._settle(order_id, None, order, *found)

    def handle(self, frame, now):
        """The bytes of the answer to a frame; None while the outcome of the order in question is not known."""
        try:
            request = wire.read_request(frame, self.key)
            answer = self._answer(request, now)
            request_id = request["id"]
        except wire.Refused as refused:
            request_id = wire.id_of(frame)
            answer = ("REJECTED", _rejected(None, refused.code, refused.message))
        if answer is None:
            return None
        return wire.reply(frame, request_id, *answer, now, self.key)

    def _answer(self, request, now):
        kind, request_id, payload = request["type"], request["id"], request["payload"]
        if self.journal.knows(request_id) or request_id in self.journal.kills or self._was_read(request, now):
            raise wire.Refused("replayed", "this id was used before")
        if kind == "KILL":  # at any time: a kill that comes late is a kill
            self.journal.append({"record": "kill", "id": request_id, "reason": payload["reason"], "at": now})
            return "KILL", {"is_killed": True, "killed_at": self.journal.killed_at}
        is_timely = now <= request["valid_until"] and request["sent_at"] <= now + wire.CLOCK_TOLERANCE_MS
        if kind == "ORDER":
            return self._order(request, is_timely, now)
        if not is_timely:
            raise wire.Refused("late", "outside of its time by the clock of the gateway")
        if kind != "HEARTBEAT":
            self._follow_up(now)
        if kind == "STATUS":
            return self._status(payload["order_id"])
        if kind == "POSITIONS":
            positions = self.book.list_positions()
            if len(positions) > wire.MAX_POSITIONS:
                return None  # no answer is better than one that leaves some out
            return kind, {"account": self.book.name, "as_of": now, "positions": positions}
        if kind == "ACCOUNT":
            return kind, self.book.account(now)[0]
        is_killed = self.journal.killed_at is not None
        return "HEARTBEAT", {
            "account": self.book.name,
            "is_connected": True,  # MT5: terminal_info().connected
            "is_trading_allowed": not is_killed,  # MT5: and terminal_info().trade_allowed and account_info().trade_allowed
            "is_killed": is_killed,
            "started_at": self.started_at,
        }

    def _was_read(self, request, now):
        """Whether a message without effect came before. Memory is enough: after a restart it would only be answered once more."""
        if now >= self.forget_at:  # not for every message: there may be many
            self.read_ids = {known: until for known, until in self.read_ids.items() if until >= now}
            self.forget_at = now + wire.CLOCK_TOLERANCE_MS
        known_until = self.read_ids.get(request["id"])
        if request["type"] not in ("ORDER", "KILL"):
            until = request["valid_until"] + wire.CLOCK_TOLERANCE_MS
            self.read_ids[request["id"]] = max(until, known_until or 0)
        return known_until is not None and known_until >= now

    def _order(self, request, is_timely, now):
        order_id, key, order = request["id"], request["idempotency_key"], request["payload"]
        if order_id in self.journal.revoked:
            refusal = _rejected(order_id, "late", "its status was asked before it came")
            return self._settle(order_id, None, order, "REJECTED", refusal)
        if key in self.journal.by_key:
            first_id, first = self.journal.by_key[key]
            if first != order:
                refusal = _rejected(order_id, "replayed", "the idempotency key belongs to another order")
                return self._settle(order_id, None, order, "REJECTED", refusal)
            self.journal.append({"record": "alias", "id": order_id, "of": first_id})
            return self.journal.result(first_id)
        if not is_timely:
            refusal = _rejected(order_id, "late", "outside of its time by the clock of the gateway")
            return self._settle(order_id, key, order, "REJECTED", refusal)
        if self.journal.killed_at is not None:
            refusal = _rejected(order_id, "disabled", "the kill switch is on")
            return self._settle(order_id, key, order, "REJECTED", refusal)
        if not getattr(self.book, "is_the_journal", False):
            # Once it is given to a broker elsewhere, a crash must not hide that; the result then belongs to this record's key.
            self.journal.append({"record": "begin", "id": order_id, "key": key, "order": order})
            key = None
        try:
            kind, payload = self.book.execute(order_id, request["idempotency_key"], order, now)
        except broker.Rejected as rejected:
            kind, payload = "REJECTED", _rejected(order_id, rejected.code, rejected.message)
        return self._settle(order_id, key, order, kind, payload, request["valid_until"])

    def _settle(self, order_id, key, order, kind, payload, valid_until=None):
        """Writes the verdict down, books it, and gives it back as the answer."""
        record = {"record": "result", "id": order_id, "key": key, "order": order, "type": kind, "payload": payload}
        if kind == "PLACED":
            record.update(fill_at=payload["placed_at"] + self.book.placed, valid_until=valid_until)
        self.journal.append(record)
        self.book.apply(kind, payload, order["magic"])
        return kind, payload

    def _follow_up(self, now):
        """Asks what became of the orders that were answered PLACED, before anything is said that depends on it."""
        for order_id, record in list(self.journal.placed.items()):
            try:
                found = self.book.follow_up(record, now)
            except broker.Rejected as rejected:
                found = ("REJECTED", _rejected(order_id, rejected.code, rejected.message))
            if found is not None:
                self._settle(order_id, None, record["order"], *found)

    def _status(self, order_id):
        if self.journal.knows(order_id):
            return self.journal.result(order_id)
        if order_id not in self.journal.revoked:
            # "Unknown" is a promise: should the order still be on its way, it is refused when it comes.
            self.journal.append({"record": "revoked", "id": order_id})
        return "UNKNOWN_ID", {"order_id": order_id}

    def ledger(self, now):
        """Everything the book has, for people and tests."""
        orders = [
            {"id": order_id, "type": kind, "payload": payload} for order_id, (kind, payload) in self.journal.results.items()
        ]
        return {
            "account": self.book.account(now)[0],
            "positions": self.book.list_positions(),
            "fills": self.book.fills,
            "orders": orders,
            "repeated": self.journal.alias,
            "revoked": sorted(self.journal.revoked),
            "killed_at": self.journal.killed_at,
        }


def _rejected(order_id, code, message):
    return {"order_id": order_id, "code": code, "message": message[:100]}


def _now():
    return time.time_ns() // 1_000_000


def _clock_of(path):
    """A clock for tests, in which several processes share a time that is not the machine's.

    The file has three integers: at the monotonic time of B nanoseconds it was A, in unix milliseconds, and since then time passes C times as fast.
    """

    def now():
        with open(path, encoding="ascii") as file:
            unix_ms, monotonic_ns, speed = map(int, file.read().split())
        return unix_ms + (time.monotonic_ns() - monotonic_ns) * speed // 1_000_000

    return now


def serve(bind, journal_path, key, book, now=_now):
    import zmq

    router = zmq.Context.instance().socket(zmq.ROUTER)
    router.setsockopt(zmq.LINGER, 0)
    router.setsockopt(zmq.MAXMSGSIZE, wire.MAX_REQUEST_BYTES)
    router.setsockopt(zmq.ROUTER_HANDOVER, 1)
    router.setsockopt(zmq.IPV6, "[" in bind)
    router.bind(bind)
    peer = Peer(key, Journal(journal_path), book, now())
    print(f"listening on {router.getsockopt_string(zmq.LAST_ENDPOINT)}", flush=True)
    while True:
        routing_id, *frames = router.recv_multipart()
        if len(frames) != 1:
            continue  # not this protocol; whoever sent it gets no answer
        answer = peer.handle(frames[0], now())
        if answer is not None:
            router.send_multipart([routing_id, answer])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--bind", default="tcp://127.0.0.1:5555", help="where to listen [%(default)s]")
    parser.add_argument("--secret-file", help="the shared secret, 32 to 512 printable ASCII characters")
    parser.add_argument("--journal", help="what was executed; append-only, never to be deleted")
    parser.add_argument("--mid", default="1.10000", help="the middle price of every symbol [%(default)s]")
    parser.add_argument("--spread", default="0.00020", help="ask less bid [%(default)s]")
    parser.add_argument("--prices", help='a JSON file with {"SYMBOL": {"bid": "1.1", "ask": "1.2"}} instead, read anew for every order')
    parser.add_argument("--contract", default="100000", help="units of the base in one lot [%(default)s]")
    parser.add_argument("--fill-ratio", default="1", help="the part of each order that is filled [%(default)s]")
    parser.add_argument("--reject", choices=wire.ORDER_CODES, help="reject every order with this code")
    parser.add_argument("--placed", type=int, metavar="MS", help="answer every order PLACED; it is filled MS milliseconds later")
    parser.add_argument("--account", default=broker.ACCOUNT, help="the account that is traded [%(default)s]")
    parser.add_argument("--clock-file", metavar="FILE", help="for tests only: take the time from FILE, not from the machine")
    parser.add_argument("--release-kill", action="store_true", help="switch the kill switch off in the journal, and exit")
    parser.add_argument("--book", metavar="FILE", help="write the journal's book as JSON to FILE, - for standard output, and exit")
    parser.add_argument("--self-test", action="store_true", help="replay docs/gateway-protocol-vectors.json, and exit")
    options = parser.parse_args()
    if options.self_test:
        import self_test

        return self_test.run()
    if not options.journal:
        parser.error("--journal is needed")
    book = broker.Book(
        options.mid,
        options.spread,
        options.prices,
        options.fill_ratio,
        options.reject,
        options.contract,
        options.placed,
        options.account,
    )
    if options.book:
        return write_book(options.journal, book, options.book)
    if options.release_kill:
        Journal(options.journal).append({"record": "release", "at": _now()})
        return 0
    if not options.secret_file:
        parser.error("--secret-file is needed")
    now = _clock_of(options.clock_file) if options.clock_file else _now
    serve(options.bind, options.journal, wire.read_secret(options.secret_file), book, now)
    return 0


def write_book(journal_path, book, target):
    """Reads only; works beside a running peer."""
    journal = Journal(journal_path, is_read_only=True)
    journal.begun.clear()  # not settled by us
    text = json.dumps(Peer(b"", journal, book, 0).ledger(_now()), indent=2) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        with open(target, "w", encoding="utf-8") as file:
            file.write(text)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(0)
