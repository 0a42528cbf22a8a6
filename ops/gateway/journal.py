"""What the peer must still know after a power cut: orders, their results, ids that are never to be executed, the kill switch.

It keeps: what `append` returned from is on the disk, and no answer leaves before it. One JSON object per line, only ever appended.
A last line without its end was never answered to anybody; it is cut off. A damaged line before that is a reason not to start.
"""

import json
import os

try:
    import fcntl  # not on Windows; there the bound port is what keeps a second peer out
except ImportError:
    fcntl = None


class Journal:
    """The orders by id, and the file behind them."""

    def __init__(self, path, is_read_only=False):
        self.results = {}  # order id -> (type, payload): the verdict, for ever; of an order that was PLACED the newest
        self.begun = {}  # order id -> payload of the ORDER: given to the broker, no verdict yet
        self.placed = {}  # order id -> the record of its PLACED: the broker has it, what becomes of it is asked
        self.executions = []  # (order id, type, payload) of every FILLED, PARTIAL and PLACED, in the order of the records
        self.by_key = {}  # idempotency key -> (order id, payload of the ORDER)
        self.alias = {}  # id of a repeated ORDER -> id of the first with its key
        self.revoked = set()  # ids that were asked for before they came; they are not executed any more
        self.magic = {}  # order id -> magic number
        self.kills = set()  # ids of KILL
        self.killed_at = None
        self._file = None
        if is_read_only:
            with open(path, "rb") as file:
                self._load(file.read())
            return
        self._file = open(path, "a+b")
        if fcntl:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise SystemExit(f"{path} is in use by another peer") from None
        self._file.seek(0)
        whole = self._load(self._file.read())
        self._file.truncate(whole)
        os.fsync(self._file.fileno())
        if os.name == "posix":  # the name of a new file has to be on the disk as well
            folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)

    def _load(self, content):
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                self._apply(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise SystemExit(f"line {number} of the journal is damaged: {error}") from None
        return whole

    def append(self, record):
        """Writes, waits for the disk, and only then believes it. An error here ends the peer: it must not answer."""
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._apply(record)

    def _apply(self, record):
        kind = record["record"]
        if "order" in record:
            self.magic[record["id"]] = record["order"]["magic"]
        if kind == "begin":
            self.begun[record["id"]] = record["order"]
            self.by_key[record["key"]] = (record["id"], record["order"])
        elif kind == "result":
            self.begun.pop(record["id"], None)
            self.results[record["id"]] = (record["type"], record["payload"])
            self.placed.pop(record["id"], None)
            if record["type"] == "PLACED":
                self.placed[record["id"]] = record
            if record["type"] in ("FILLED", "PARTIAL", "PLACED"):
                self.executions.append((record["id"], record["type"], record["payload"]))
            if record.get("key") is not None:
                self.by_key.setdefault(record["key"], (record["id"], record["order"]))
        elif kind == "alias":
            self.alias[record["id"]] = record["of"]
        elif kind == "revoked":
            self.revoked.add(record["id"])
        elif kind == "kill":
            self.kills.add(record["id"])
            self.killed_at = self.killed_at or record["at"]
        elif kind == "release":
            self.killed_at = None
        else:
            raise ValueError(f"unknown record {kind}")

    def knows(self, order_id):
        """Whether an ORDER with this id was taken in before."""
        return order_id in self.results or order_id in self.begun or order_id in self.alias

    def result(self, order_id):
        """The verdict of an order, of the first one if this one repeated its key; None while there is none."""
        return self.results.get(self.alias.get(order_id, order_id))
