"""Replays docs/gateway-protocol-vectors.json: the same file that the tests of the sentinel read.

It keeps: every vector is counted, and a file without vectors is a failure.
"""

import hashlib
import json
import os
import sys
import tempfile

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
    sys.stdout.write("PASS " + ", ".join(counts) + "\n")
    return 0
