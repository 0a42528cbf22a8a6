"""Stores into a mapping of a file, as a writer does that opens an old shard again. Needs nothing but the standard library.

Arguments: file, offset of a double. Obeys lines on standard input and answers each with the same line: `look` reads the double
through the mapping, `store NUMBER` stores it, `flush` writes the pages back, `close` gives everything up.
"""

import mmap
import os
import struct
import sys

path, offset = sys.argv[1], int(sys.argv[2])
file = open(path, "r+b")
view = mmap.mmap(file.fileno(), 0)
print("open", flush=True)
for line in sys.stdin:
    command, *number = line.split()
    if command == "look":
        struct.unpack_from("d", view, offset)
    elif command == "store":
        view[offset : offset + 8] = struct.pack("d", float(number[0]))
    elif command == "flush":
        view.flush()
        os.fsync(file.fileno())
    elif command == "close":
        view.close()
        file.close()
    print(line.strip(), flush=True)
