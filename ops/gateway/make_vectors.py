#!/usr/bin/env python3
"""Writes docs/gateway-protocol-vectors.json. What a vector must lead to is written here by hand; only bytes and macs are computed.

It keeps: running it again gives the same file. A changed vector is a changed protocol, and that is another version.
"""

import hashlib
import hmac
import json

import self_test
import wire

SECRET = "vectors-only.never-use-this-secret"
OTHER = b"another-secret.also-never-used-123"
KEY = SECRET.encode()
T = 1_763_802_000_000
ORDER = {"account": "1000001", "symbol": "EURUSD", "side": "BUY", "volume": "0.10", "worst_price": "1.10100", "magic": 7301}
SHA = hashlib.sha256(b"a request").hexdigest()


def request(kind, request_id, payload, key=None, sent_at=T, lifetime=5000):
    return {
        "version": 1,
        "type": kind,
        "id": request_id,
        "idempotency_key": key or request_id,
        "sent_at": sent_at,
        "valid_until": sent_at + lifetime,
        "payload": payload,
    }


def reply(kind, request_id, payload):
    return {"version": 1, "type": kind, "id": request_id, "request_sha256": SHA, "sent_at": T + 3, "payload": payload}


def wire_of(body, key=KEY):
    return wire.sign(body, key).decode()


def message(name, kind, body):
    return {
        "name": name,
        "kind": kind,
        "object": body,
        "canonical_hex": wire.canonical(body).hex(),
        "mac": wire.mac_of(body, KEY),
        "wire": wire_of(body),
    }


FILL = {
    "order_id": "o-1", "idempotency_key": "EURUSD:1763798400:BUY", "ticket": "5001", "symbol": "EURUSD", "side": "BUY",
    "requested_volume": "0.10", "volume": "0.10", "price": "1.10010", "executed_at": T + 2,
}  # fmt: skip
POSITION = {
    "ticket": "5001", "symbol": "EURUSD", "side": "BUY", "volume": "0.10", "open_price": "1.10010", "current_price": "1.09990",
    "profit": "-2.00", "opened_at": T + 2, "magic": 7301,
}  # fmt: skip
ACCOUNT = {
    "account": "1000001", "mode": "demo", "currency": "USD", "balance": "10000.00", "equity": "9998.00", "margin_used": "110.01",
    "margin_free": "9887.99", "leverage": 100, "as_of": T + 3,
}  # fmt: skip
PLACED = {name: FILL[name] for name in ("order_id", "idempotency_key", "ticket", "symbol", "side", "requested_volume")}


def messages():
    yield message("an order", "request", request("ORDER", "o-1", ORDER, "EURUSD:1763798400:BUY"))
    yield message("an order without a worst price", "request", request("ORDER", "o-2", {**ORDER, "side": "SELL", "worst_price": None}))
    yield message("a symbol with signs of its own", "request", request("ORDER", "o-3", {**ORDER, "symbol": 'Größe "€" \\ 𝄞'}))
    yield message("a status", "request", request("STATUS", "s-1", {"order_id": "o-1"}))
    yield message("positions", "request", request("POSITIONS", "p-1", {}))
    yield message("account", "request", request("ACCOUNT", "a-1", {}))
    yield message("a heartbeat", "request", request("HEARTBEAT", "h-1", {}))
    yield message("a kill", "request", request("KILL", "k-1", {"reason": "daily loss — 5 % / Ω"}))
    yield message("the longest lifetime", "request", request("HEARTBEAT", "h" * 31, {}, "k" * 64, lifetime=60_000))
    yield message("filled", "reply", reply("FILLED", "o-1", FILL))
    yield message("partial", "reply", reply("PARTIAL", "o-1", {**FILL, "volume": "0.04"}))
    yield message("placed", "reply", reply("PLACED", "o-1", {**PLACED, "placed_at": T + 2}))
    for code in (*wire.ORDER_CODES, "late"):
        payload = {"order_id": "o-1", "code": code, "message": "why"}
        yield message(f"an order rejected: {code}", "reply", reply("REJECTED", "o-1", payload))
    for code in wire.PROTOCOL_CODES:
        payload = {"order_id": None, "code": code, "message": "a message refused – it says nothing of an order"}
        yield message(f"a message refused: {code}", "reply", reply("REJECTED", None if code == "malformed" else "o-1", payload))
    yield message("unknown id", "reply", reply("UNKNOWN_ID", "s-1", {"order_id": "o-9"}))
    yield message("positions, two", "reply", reply("POSITIONS", "p-1", {"account": "1000001", "as_of": T, "positions": [POSITION, {**POSITION, "ticket": "5002", "side": "SELL", "profit": "0.00"}]}))
    yield message("positions, none", "reply", reply("POSITIONS", "p-1", {"account": "1000001", "as_of": T, "positions": []}))
    yield message("account", "reply", reply("ACCOUNT", "a-1", ACCOUNT))
    heartbeat = {"account": "1000001", "is_connected": True, "is_trading_allowed": False, "is_killed": True, "started_at": T - 9}
    yield message("heartbeat", "reply", reply("HEARTBEAT", "h-1", heartbeat))
    yield message("kill", "reply", reply("KILL", "k-1", {"is_killed": True, "killed_at": T + 1}))


def canonical():
    for name, text, wanted in (
        ("order of keys", ' {"b" : 1,\n"a":[ true , null ,false ], "B":-0.0}'.replace("-0.0", "-7"), '{"B":-7,"a":[true,null,false],"b":1}'),
        ("keys by UTF-16, not by code point", '{"\ufb33":1,"\U0001f600":2,"€":3,"\\r":4}', '{"\\r":4,"€":3,"\U0001f600":2,"\ufb33":1}'),
        ("escapes as short as can be", r'["\u0041\/\"\\\u0008\u0009\u000A\u000c\u000d\u001F\u007f\ud834\udd1e\u20AC"]', '["A/\\"\\\\\\b\\t\\n\\f\\r\\u001f\x7f𝄞€"]'),
        ("the greatest integers", "[9007199254740991,-9007199254740991,0]", "[9007199254740991,-9007199254740991,0]"),
        ("nothing", "{ }", "{}"),
    ):
        yield {"name": name, "text": text, "canonical_hex": wanted.encode().hex()}


def wires():
    def vector(name, code, text, kind="request"):
        return {"name": name, "kind": kind, "code": code, "wire": text}

    def changed(name, code, body, **fields):
        return vector(name, code, wire_of({**body, **fields}))

    def loose(text, key=KEY, over=None):
        """Signs bytes that the program would not have made: the mac is over `over`, the text gets it as its last member."""
        mac = hmac.new(key, (over or text).encode(), hashlib.sha256).hexdigest()
        return text[:-1] + f',"mac":"{mac}"}}'

    order = request("ORDER", "o-1", ORDER, "EURUSD:1763798400:BUY")
    good = wire_of(order)
    body = json.loads(good)
    turned = json.dumps(dict(reversed(body.items())), indent=2)
    plain = wire.canonical(order).decode()
    filled = reply("FILLED", "o-1", FILL)
    yield vector("keys in another order, with white space", None, turned)
    yield vector("letters as escapes", None, good.replace("EURUSD", "\\u0045URUSD"))
    yield vector("the volume changed", "bad_mac", good.replace('"0.10"', '"1.10"'))
    yield vector("the time changed", "bad_mac", good.replace(str(T), str(T + 1)))
    yield vector("a field added", "bad_mac", json.dumps({**body, "note": "x"}))
    yield vector("a field taken away", "bad_mac", json.dumps({name: body[name] for name in body if name != "valid_until"}))
    yield vector("another secret", "bad_mac", wire_of(order, OTHER))
    yield vector("a mac in capitals", "bad_mac", good.replace(body["mac"], body["mac"].upper()))
    yield vector("a mac cut short", "bad_mac", good.replace(body["mac"], body["mac"][:32]))
    yield vector("a mac that is no text", "bad_mac", json.dumps({**order, "mac": 1}))
    yield vector("no mac", "unsigned", plain)
    yield changed("version 2", "version", order, version=2)
    yield vector("version 2 without a mac", "version", wire.canonical({**order, "version": 2}).decode())
    yield changed("a version in quotes", "malformed", order, version="1")
    yield changed("version true", "malformed", order, version=True)
    yield vector("no version", "malformed", wire_of({name: order[name] for name in order if name != "version"}))
    yield changed("an unknown field", "malformed", order, note="x")
    yield changed("an unknown field in the payload", "malformed", order, payload={**ORDER, "sl": "1.0"})
    yield changed("a missing field of the payload", "malformed", order, payload={name: ORDER[name] for name in ORDER if name != "magic"})
    yield changed("an unknown type", "malformed", order, type="OPEN")
    yield changed("an empty id", "malformed", order, id="")
    yield changed("an id of 32 characters", "malformed", order, id="x" * 32)
    yield changed("an id with a space", "malformed", order, id="o 1")
    yield changed("an id with a line feed", "malformed", order, id="o-1\n")
    yield changed("no idempotency key", "malformed", order, idempotency_key=None)
    yield changed("a time in seconds and quotes", "malformed", order, sent_at="1763802000")
    yield changed("a time before 1970", "malformed", order, sent_at=-1)
    yield changed("valid until before it was sent", "malformed", order, valid_until=T - 1)
    yield changed("a lifetime of more than a minute", "malformed", order, valid_until=T + 60_001)
    for volume in (0.1, 1, "0", "0.00", "-0.10", "+0.10", ".1", "1.", "01", "1e-1", "0,1", "", " 0.1", "0.123456789", "1" * 16, "NaN", "٣", None):
        if isinstance(volume, float):
            text = plain.replace('"0.10"', "0.10")
            yield vector("a volume as a float", "malformed", loose(text))
        else:
            yield changed(f"the volume {volume!r}", "malformed", order, payload={**ORDER, "volume": volume})
    yield changed("a worst price of zero", "malformed", order, payload={**ORDER, "worst_price": "0.0"})
    yield changed("a side in small letters", "malformed", order, payload={**ORDER, "side": "buy"})
    yield changed("a control character", "malformed", order, payload={**ORDER, "symbol": "EUR\u001fUSD"})
    yield changed("a symbol of 65 bytes", "malformed", order, payload={**ORDER, "symbol": "€" * 21 + "xy"})
    yield changed("a magic number below zero", "malformed", order, payload={**ORDER, "magic": -1})
    yield changed("a payload that is a list", "malformed", order, payload=[])
    yield vector("a reply where a request is due", "malformed", wire_of(filled))
    yield vector("a request where a reply is due", "malformed", good, "reply")
    yield vector("a key twice", "malformed", loose(plain[:-1] + ',"id":"o-1"}', over=plain))
    yield vector("a key twice, deep", "malformed", loose(plain.replace('"side":"BUY"', '"side":"SELL","side":"BUY"'), over=plain))
    yield vector("an exponent", "malformed", loose(plain.replace("7301", "7301e0"), over=plain))
    yield vector("a fraction", "malformed", loose(plain.replace("7301", "7301.0"), over=plain))
    yield vector("minus zero", "malformed", loose(plain.replace("7301", "-0"), over=plain.replace("7301", "0")))
    yield vector("an integer of 2^53", "malformed", loose(plain.replace("7301", "9007199254740992")))
    yield vector("an integer without end", "malformed", loose(plain.replace("7301", "9" * 400)))
    yield vector("half a surrogate pair", "malformed", loose(plain.replace("EURUSD", "\\ud834")))
    yield vector("not a number", "malformed", loose(plain.replace("7301", "NaN")))
    yield vector("something behind the end", "malformed", good + " x")
    yield vector("cut off", "malformed", good[:-1])
    yield vector("a mark of byte order", "malformed", "\ufeff" + good)
    yield vector("empty", "malformed", "")
    yield vector("a list", "malformed", "[]")
    yield vector("a number", "malformed", "1")
    yield vector("too large by a byte", "malformed", good + " " * (wire.MAX_REQUEST_BYTES + 1 - len(good)))
    yield vector("as large as may be", None, good + " " * (wire.MAX_REQUEST_BYTES - len(good)))
    yield vector("nested too deep", "malformed", wire_of({**order, "payload": [[[[[[[[]]]]]]]]}))
    yield vector("nine deep, before the mac is looked at", "malformed", wire.canonical({**order, "payload": [[[[[[[[]]]]]]]], "mac": SHA}).decode())
    yield vector("eight deep, when the mac is looked at", "bad_mac", wire.canonical({**order, "payload": [[[[[[[]]]]]]], "mac": SHA}).decode())
    yield vector("nested without end", "malformed", "[" * 4000)
    yield {"name": "not UTF-8", "kind": "request", "code": "malformed", "wire_hex": good.encode().replace(b"EURUSD", b"\xff").hex()}

    def answer(name, code, kind, payload, **fields):
        return vector(name, code, wire_of({**reply(kind, "o-1", payload), **fields}), "reply")

    yield vector("a changed price", "bad_mac", wire_of(filled).replace("1.10010", "1.10011"), "reply")
    yield answer("a reply of another secret's peer", "bad_mac", "FILLED", FILL)
    yield answer("FILLED with less than the whole", "malformed", "FILLED", {**FILL, "volume": "0.04"})
    yield answer("PARTIAL with the whole", "malformed", "PARTIAL", {**FILL, "volume": "0.100"})
    yield answer("more than was asked for", "malformed", "FILLED", {**FILL, "volume": "0.11"})
    yield answer("a code that nobody knows", "malformed", "REJECTED", {"order_id": "o-1", "code": "no", "message": ""})
    yield answer("a type that nobody knows", "malformed", "OK", {})
    yield answer("a hash in capitals", "malformed", "FILLED", FILL, request_sha256=SHA.upper())
    yield answer("a profit of minus zero", "malformed", "POSITIONS", {"account": "1", "as_of": T, "positions": [{**POSITION, "profit": "-0.00"}]})
    yield answer("201 positions", "malformed", "POSITIONS", {"account": "1", "as_of": T, "positions": [POSITION] * 201})
    yield answer("200 positions", None, "POSITIONS", {"account": "1", "as_of": T, "positions": [POSITION] * 200})
    yield answer("a position with a field too many", "malformed", "POSITIONS", {"account": "1", "as_of": T, "positions": [{**POSITION, "swap": "0"}]})
    yield answer("is_killed as a number", "malformed", "KILL", {"is_killed": 1, "killed_at": T})
    yield answer("an equity with an exponent", "malformed", "ACCOUNT", {**ACCOUNT, "equity": "1E4"})


def exchanges():
    def step(body, reply_type, payload=None, now=T + 10, restart=False):
        text = body if isinstance(body, str) else wire_of(body)
        return {"now": now, "restart_before": restart, "wire": text, "reply_type": reply_type, "payload": payload or {}}

    def exchange(name, fills, *steps, **book):
        return {"name": name, "book": book, "steps": list(steps), "fills": fills}

    def refused(code, order_id=None):
        return {"code": code, "order_id": order_id}

    def status(number, order_id, sent_at=T):
        return request("STATUS", f"s-{number}", {"order_id": order_id}, sent_at=sent_at)

    order = request("ORDER", "o-1", ORDER, "bar-1")
    again = request("ORDER", "o-2", ORDER, "bar-1")
    other = request("ORDER", "o-3", {**ORDER, "side": "SELL", "worst_price": None}, "bar-1")
    filled = {"order_id": "o-1", "volume": "0.10", "requested_volume": "0.10", "ticket": "1", "side": "BUY"}
    yield exchange("an order, and its status", ["o-1"], step(order, "FILLED", filled), step(status(1, "o-1"), "FILLED", filled))
    yield exchange("the same bytes twice", ["o-1"], step(order, "FILLED"), step(order, "REJECTED", refused("replayed")))
    yield exchange("the same bytes after a restart", ["o-1"], step(order, "FILLED"), step(order, "REJECTED", refused("replayed"), restart=True), step(status(1, "o-1"), "FILLED", filled, restart=True))  # fmt: skip
    yield exchange("the same key, the same order", ["o-1"], step(order, "FILLED"), step(again, "FILLED", filled), step(status(1, "o-2"), "FILLED", filled), step(again, "REJECTED", refused("replayed"), restart=True))  # fmt: skip
    yield exchange("the same key, another order", ["o-1"], step(order, "FILLED"), step(other, "REJECTED", refused("replayed", "o-3"), restart=True), step(status(1, "o-3"), "REJECTED", refused("replayed", "o-3")))  # fmt: skip
    longer = request("ORDER", "o-4", {**ORDER, "volume": "0.100"}, "bar-1")
    yield exchange("the same key, and a zero more", ["o-1"], step(order, "FILLED"), step(longer, "REJECTED", refused("replayed", "o-4")))
    yield exchange("in its last millisecond", ["o-1"], step(order, "FILLED", now=T + 5000))
    yield exchange("a millisecond late, and never again", [], step(order, "REJECTED", refused("late", "o-1"), now=T + 5001), step(order, "REJECTED", refused("replayed"), now=T + 10), step(again, "REJECTED", refused("late", "o-1")))  # fmt: skip
    yield exchange("from a clock two seconds ahead", ["o-1"], step(order, "FILLED", now=T - 2000))
    yield exchange("from a clock further ahead", [], step(order, "REJECTED", refused("late", "o-1"), now=T - 2001))
    yield exchange("a late question", [], step(request("ACCOUNT", "a-1", {}), "REJECTED", refused("late"), now=T + 5001))
    yield exchange("unknown is a promise", [], step(status(1, "o-1"), "UNKNOWN_ID", {"order_id": "o-1"}), step(order, "REJECTED", refused("late", "o-1"), restart=True), step(status(2, "o-1"), "REJECTED", refused("late", "o-1")))  # fmt: skip
    yield exchange("a question twice", [], step(request("ACCOUNT", "a-1", {}), "ACCOUNT", {"balance": "10000.00"}), step(request("ACCOUNT", "a-1", {}), "REJECTED", refused("replayed")))  # fmt: skip
    yield exchange("unsigned", [], step(wire.canonical(order).decode(), "REJECTED", refused("unsigned")), step(status(1, "o-1"), "UNKNOWN_ID"))
    yield exchange("changed on its way, then as it was", ["o-1"], step(wire_of(order).replace('"BUY"', '"SELL"'), "REJECTED", refused("bad_mac")), step(order, "FILLED", filled))  # fmt: skip
    yield exchange("killed, over a restart", ["o-1"], step(order, "FILLED"), step(request("KILL", "k-1", {"reason": "test"}), "KILL", {"is_killed": True, "killed_at": T + 10}), step(request("ORDER", "o-4", ORDER, "bar-2"), "REJECTED", refused("disabled", "o-4"), restart=True), step(request("HEARTBEAT", "h-1", {}), "HEARTBEAT", {"is_killed": True, "is_trading_allowed": False}))  # fmt: skip
    yield exchange("a kill that comes late is a kill", [], step(request("KILL", "k-1", {"reason": ""}), "KILL", {"is_killed": True}, now=T + 999_999))
    yield exchange("a part", ["o-1"], step(order, "PARTIAL", {**filled, "volume": "0.05"}), step(status(1, "o-1"), "PARTIAL", {"volume": "0.05"}, restart=True), fill_ratio="0.5")  # fmt: skip
    yield exchange("a price that is too bad", [], step(request("ORDER", "o-1", {**ORDER, "worst_price": "1.10009"}), "REJECTED", refused("price", "o-1")))
    yield exchange("a volume between the steps", [], step(request("ORDER", "o-1", {**ORDER, "volume": "0.015"}), "REJECTED", refused("volume", "o-1")))
    yield exchange("more than the account bears", [], step(request("ORDER", "o-1", {**ORDER, "volume": "50"}), "REJECTED", refused("margin", "o-1")))
    yield exchange("another account", [], step(request("ORDER", "o-1", {**ORDER, "account": "2"}), "REJECTED", refused("disabled", "o-1")))
    placed = {"order_id": "o-1", "ticket": "1", "requested_volume": "0.10", "placed_at": T + 10}
    later = {**filled, "executed_at": T + 1010}
    yield exchange("placed, and filled a second later", ["o-1"], step(order, "PLACED", placed), step(status(1, "o-1"), "PLACED", placed, now=T + 1009, restart=True), step(again, "PLACED", placed), step(status(2, "o-1"), "FILLED", later, now=T + 3000, restart=True), step(order, "REJECTED", refused("replayed")), step(status(3, "o-2"), "FILLED", later, restart=True), placed=1000)  # fmt: skip
    yield exchange("placed, and filled when it is asked for", ["o-1"], step(order, "PLACED", placed), step(request("ACCOUNT", "a-1", {}), "ACCOUNT", {"margin_used": "110.01"}), step(status(1, "o-1"), "FILLED", {**filled, "executed_at": T + 10}), placed=0)  # fmt: skip
    yield exchange("placed, and cancelled at the end of its time", [], step(order, "PLACED", placed), step(status(1, "o-1", T + 5000), "PLACED", placed, now=T + 5000), step(status(2, "o-1", T + 5000), "REJECTED", refused("late", "o-1"), now=T + 5001), step(status(3, "o-1", T + 5000), "REJECTED", refused("late", "o-1"), now=T + 5002, restart=True), placed=5000)  # fmt: skip
    for code in wire.ORDER_CODES:
        yield exchange(f"rejected: {code}", [], step(order, "REJECTED", refused(code, "o-1")), step(status(1, "o-1"), "REJECTED", refused(code, "o-1"), restart=True), reject=code)  # fmt: skip


def main():
    vectors = {
        "about": "Test vectors of docs/gateway-protocol.md, version 1. Written by ops/gateway/make_vectors.py.",
        "secret": SECRET,
        "canonical": list(canonical()),
        "messages": list(messages()),
        "wire": list(wires()),
        "exchanges": list(exchanges()),
    }
    for vector in vectors["wire"]:
        if vector["name"] == "a reply of another secret's peer":
            vector["wire"] = wire_of(reply("FILLED", "o-1", FILL), OTHER)
    with open(self_test.VECTORS, "w", encoding="utf-8") as file:
        json.dump(vectors, file, ensure_ascii=False, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
