"""Drives the peer in ops/gateway by lines of JSON on standard input, one answer to a line on standard output. Needs no pyzmq.

It keeps: nothing here judges a message; the frames go to `Peer.handle` as they are. Arguments: the folder of the peer, the secret.
"""

import json
import sys

sys.path.insert(0, sys.argv[1])

import book as broker  # noqa: E402
import peer  # noqa: E402
import wire  # noqa: E402
from journal import Journal  # noqa: E402

KEY = wire.check_secret(sys.argv[2].encode())
running = None


def start(command):
    global running
    options = dict(command["book"])
    is_the_journal = options.pop("is_the_journal", True)
    book = broker.Book(**options)
    book.is_the_journal = is_the_journal
    running = peer.Peer(KEY, Journal(command["journal"]), book, command["now"])


def stop(_command):
    global running
    running.journal._file.close()
    running = None


def release(command):
    journal = Journal(command["journal"])
    journal.append({"record": "release", "at": command["now"]})
    journal._file.close()


def frames(command):
    answers = [running.handle(bytes.fromhex(frame), now) for now, frame in command["frames"]]
    return [None if answer is None else answer.decode() for answer in answers]


def report(command):
    return running.ledger(command["now"])


COMMANDS = {"start": start, "stop": stop, "release": release, "frames": frames, "report": report}

for line in sys.stdin:
    command = json.loads(line)
    try:
        answer = {"answer": COMMANDS[command["do"]](command)}
    except SystemExit as refusal:
        answer = {"refused": str(refusal)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
