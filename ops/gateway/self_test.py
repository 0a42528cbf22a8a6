"""Replays docs/gateway-protocol-vectors.json: the same file that the tests of the sentinel read.

It keeps: every vector is counted, and a file without vectors is a failure.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time

import book as broker
import peer
import wire
from journal import Journal

VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/gateway-protocol-vectors.json")


def _frame(vector):
    return bytes.fromhex(vector["wire_hex"]) if "wire_hex" in vector else vector["wire"].encode("utf-8")


def _check(name, found, wanted):
    if found != wanted:
        raise AssertionError(f"{name}: found {found!r}, wanted {wanted!r}")


def _verdict(vector, key):
    read = wire.read_request if vector["kind"] == "request" else wire.read_reply
    try:
        read(_frame(vector), key)
    except wire.Refused as refused:
        return refused.code
    return None


def _canonical(vector, _key):
    value = wire.parse(vector["text"].encode("utf-8"), wire.MAX_REPLY_BYTES)
    _check(vector["name"], wire.canonical(value).hex(), vector["canonical_hex"])


def _message(vector, key):
    name, body = vector["name"], vector["object"]
    _check(name, wire.canonical(body).hex(), vector["canonical_hex"])
    _check(name, wire.mac_of(body, key), vector["mac"])
    _check(name, wire.sign(body, key), _frame(vector))
    _check(name, _verdict(vector, key), None)


def _wire(vector, key):
    _check(vector["name"], _verdict(vector, key), vector["code"])


def _exchange(vector, key):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "journal")

        def start(now):
            return peer.Peer(key, Journal(path), broker.Book(**vector["book"]), now)

        server = start(vector["steps"][0]["now"])
        for number, step in enumerate(vector["steps"], 1):
            name = f"{vector['name']}, step {number}"
            if step["restart_before"]:
                server.journal._file.close()
                server = start(step["now"])
            frame = _frame(step)
            reply = wire.read_reply(server.handle(frame, step["now"]), key)
            _check(name, reply["request_sha256"], hashlib.sha256(frame).hexdigest())
            _check(name, reply["id"], json.loads(frame)["id"])
            _check(name, reply["type"], step["reply_type"])
            _check(name, {field: reply["payload"].get(field) for field in step["payload"]}, step["payload"])
        _check(f"{vector['name']}, fills", [fill["order_id"] for fill in server.book.fills], vector["fills"])
        server.journal._file.close()


class _Process:
    """peer.py itself over TCP, ended with SIGKILL."""

    def __init__(self, folder):
        here = os.path.dirname(os.path.abspath(__file__))
        files = ["--secret-file", os.path.join(folder, "secret"), "--journal", os.path.join(folder, "journal")]
        self.command = [sys.executable, "-B", os.path.join(here, "peer.py"), *files]
        self.child = subprocess.Popen([*self.command, "--bind", "tcp://127.0.0.1:*"], stdout=subprocess.PIPE, text=True)
        self.endpoint = self.child.stdout.readline().split()[-1]

    def ask(self, frame, key):
        import zmq

        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.setsockopt(zmq.LINGER, 0)
            dealer.connect(self.endpoint)
            dealer.send(frame)
            if not dealer.poll(20_000):
                raise AssertionError("no answer within 20 s")
            return wire.read_reply(dealer.recv(), key)

    def book(self):
        return json.loads(subprocess.run([*self.command, "--book", "-"], check=True, capture_output=True).stdout)

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()


def _process(key):
    """Killed after an answer, and between the broker and the answer, with half a line at the end of the journal."""
    payload = {"account": broker.ACCOUNT, "symbol": "EURUSD", "side": "BUY", "volume": "0.10", "worst_price": None, "magic": 1}

    def frame(kind, request_id, payload):
        now = time.time_ns() // 1_000_000
        times = {"sent_at": now, "valid_until": now + wire.MAX_LIFETIME_MS}
        body = {"version": 1, "type": kind, "id": request_id, "idempotency_key": request_id, **times, "payload": payload}
        return wire.sign(body, key)

    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "secret"), "wb") as file:
            file.write(key + b"\n")
        order = frame("ORDER", "o-1", payload)
        server = _Process(folder)
        try:
            _check("process, an order", server.ask(order, key)["type"], "FILLED")
        finally:
            server.kill()
        begun = {"record": "begin", "id": "o-2", "key": "o-2", "order": payload}
        with open(os.path.join(folder, "journal"), "ab") as file:
            file.write(json.dumps(begun).encode() + b'\n{"record":"result","id":"o-')
        server = _Process(folder)
        try:
            _check("process, the same bytes", server.ask(order, key)["payload"]["code"], "replayed")
            _check("process, status", server.ask(frame("STATUS", "s-1", {"order_id": "o-1"}), key)["type"], "FILLED")
            status = server.ask(frame("STATUS", "s-2", {"order_id": "o-2"}), key)["payload"]
            _check("process, status of the order without a result", (status["order_id"], status["code"]), ("o-2", "other"))
            _check("process, fills", [fill["order_id"] for fill in server.book()["fills"]], ["o-1"])
        finally:
            server.kill()


class _Crash(BaseException):
    pass


class _Elsewhere(broker.Book):
    """A broker that is not the journal, and a peer that ends while it executes."""

    is_the_journal = False
    journal = None

    def execute(self, order_id, key, order, now):
        with open(self.journal, encoding="utf-8") as file:
            _check("broker elsewhere, written before", [json.loads(line)["record"] for line in file], ["begin"])
        raise _Crash

    def find(self, order_id):
        _, payload = broker.Book().execute(order_id, "k-1", self.order, 0)
        return "FILLED", payload


def _elsewhere(key):
    """An order is on the disk before a broker elsewhere sees it, and after a crash that broker is asked what became of it."""
    _Elsewhere.order = order = {"account": broker.ACCOUNT, "symbol": "EURUSD", "side": "BUY", "volume": "0.10", "worst_price": None, "magic": 1}
    with tempfile.TemporaryDirectory() as folder:
        _Elsewhere.journal = os.path.join(folder, "journal")

        def frame(kind, request_id, payload):
            body = {"version": 1, "type": kind, "id": request_id, "idempotency_key": "k-1", "sent_at": 0, "valid_until": 9}
            return wire.sign({**body, "payload": payload}, key)

        server = peer.Peer(key, Journal(_Elsewhere.journal), _Elsewhere(), 0)
        try:
            server.handle(frame("ORDER", "o-1", order), 0)
            raise AssertionError("broker elsewhere: it was never asked")
        except _Crash:
            server.journal._file.close()
        server = peer.Peer(key, Journal(_Elsewhere.journal), _Elsewhere(), 0)
        for number, (kind, payload) in enumerate((("STATUS", {"order_id": "o-1"}), ("ORDER", order))):
            reply = wire.read_reply(server.handle(frame(kind, f"m-{number}", payload), 0), key)
            _check(f"broker elsewhere, {kind}", (reply["type"], reply["payload"]["order_id"]), ("FILLED", "o-1"))
        _check("broker elsewhere, fills", len(server.book.fills), 1)
        server.journal._file.close()


def run():
    with open(VECTORS, encoding="utf-8") as file:
        vectors = json.load(file)
    key = wire.check_secret(vectors["secret"].encode())
    counts = []
    for section, check in (("canonical", _canonical), ("messages", _message), ("wire", _wire), ("exchanges", _exchange)):
        for vector in vectors[section]:
            try:
                check(vector, key)
            except Exception as error:
                sys.stderr.write(f"FAIL {section}: {vector['name']}: {error!r}\n")
                return 1
        if not vectors[section]:
            sys.stderr.write(f"FAIL {section}: no vectors\n")
            return 1
        counts.append(f"{len(vectors[section])} {section}")
    try:
        _elsewhere(key)
        _process(key)
    except Exception as error:
        sys.stderr.write(f"FAIL {error!r}\n")
        return 1
    counts.append("1 broker elsewhere, 1 process")
    sys.stdout.write("PASS " + ", ".join(counts) + "\n")
    return 0
