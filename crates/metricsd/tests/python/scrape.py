"""Prints what Python makes of a directory (argument: the directory) or of exposition text (no argument, text on standard input).

One line of JSON: a list of [family, type, help, [[sample, [[label, value], ...], number], ...]], families and samples sorted. Numbers
are hexadecimal, so that they compare bit for bit.
"""

import json
import sys

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families


def text():
    if len(sys.argv) == 1:
        return sys.stdin.buffer.read().decode()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=sys.argv[1])
    return generate_latest(registry).decode()


def number(value):
    value = float(value)
    return "nan" if value != value else value.hex()


families = []
for family in text_string_to_metric_families(text()):
    samples = sorted([sample.name, sorted(map(list, sample.labels.items())), number(sample.value)] for sample in family.samples)
    families.append([family.name, family.type, family.documentation, samples])
families.sort(key=lambda family: family[0])
print(json.dumps(families, indent=0, ensure_ascii=True))
