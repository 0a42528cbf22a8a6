#!/usr/bin/env python3
"""Draws the boards from their JSON and the data of a Prometheus: `preview.py --prometheus http://127.0.0.1:9090 --out DIR`.

Invariant: every picture says that it is a preview and no picture of Grafana. What a panel asks, how it counts and what it says for no data
comes from the JSON; only the drawing is this script's. Needs Python and, for PNG, a Chromium (`chromium-headless-shell` of Debian); with
`--html` it stops at the page.
"""

import argparse
import html
import json
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

BOARDS = pathlib.Path(__file__).parent / "boards"
CELL, UNIT, GAP = 58, 30, 6  # Pixels of a column and of a row of the grid, and between panels.
LINES = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#fade2a", "#96d98d", "#ffa6b0"]
COLORS = {"green": "#73bf69", "yellow": "#f2cc0c", "red": "#f2495c", "blue": "#5794f2"}
STYLE = """body{margin:0;background:#111217;color:#ccccdc;font:12px 'DejaVu Sans',sans-serif}#g{position:relative}
h1{font-size:17px;margin:10px 8px 2px}p{margin:0 8px 8px;color:#9a9aa8}.p{position:absolute;background:#181b1f;border:1px solid #2c2f36;box-sizing:border-box;overflow:hidden}
.t{padding:4px 7px;font-weight:bold;white-space:nowrap}.r{position:absolute;font-weight:bold;font-size:14px;padding:6px 2px}.n{color:#8e8e9c;padding:8px;text-align:center}
.s{display:flex;flex-wrap:wrap;justify-content:space-evenly;padding:4px}.s div{padding:2px 6px;text-align:center}.s b{font-size:19px;display:block;font-weight:normal}
.l{padding:0 7px;font-size:10px;line-height:14px}.l i{display:inline-block;width:10px;height:3px;margin:0 3px 3px 7px}table{border-collapse:collapse;margin:2px 7px}
td,th{padding:2px 9px;border-bottom:1px solid #2c2f36;text-align:left;font-weight:normal}th{color:#6e9fff}.b{padding:1px 7px}.b u{display:block;background:#22252b;height:13px}.b em{display:block;height:13px}"""


class Source:
    """A Prometheus, and the time that is shown."""

    def __init__(self, options):
        self.url, self.rate, self.span, self.end = options.prometheus, options.rate_interval, options.seconds, time.time()
        self.step = max(1, round(self.span / 240))

    def ask(self, target):
        """Rows of (labels, [(time, number)]); a query that fails ends the script."""
        query = target["expr"].replace("$__rate_interval", self.rate).replace("$__range", f"{self.span}s").replace("$job", ".+").replace("$instance", ".+")
        if target["instant"]:
            path, values = "query", {"time": self.end}
        else:
            path, values = "query_range", {"start": self.end - self.span, "end": self.end, "step": self.step}
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode({'query': query, **values})}", timeout=10) as answer:
            rows = json.load(answer)["data"]["result"]
        found = []
        for row in rows:
            pairs = [(at, float(number)) for at, number in row.get("values", [row.get("value")]) if math.isfinite(float(number))]
            if pairs:
                found.append((row["metric"], pairs))
        return found


def legend(target, labels):
    text = target["legendFormat"]
    for name, value in labels.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def shown(defaults, number):
    """A number as text, and its colour by mapping or threshold."""
    unit = defaults["unit"]
    color = "#ccccdc"
    for step in defaults.get("thresholds", {}).get("steps", []):
        if step["value"] is None or number >= step["value"]:
            color = COLORS[step["color"]]
    for mapping in defaults.get("mappings", []):
        if (result := mapping["options"].get(f"{number:g}")) is not None:
            return result["text"], COLORS[result["color"]]
    if unit == "percentunit":
        return f"{number * 100:.3g} %", color
    if unit == "s":
        size, sign = abs(number), "-" if number < 0 else ""
        for limit, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if size >= limit:
                return f"{sign}{size / limit:.3g} {name}", color
        return f"{number:.2g} s", color
    if unit == "bytes":
        return (f"{number / 2**20:.3g} MiB" if number >= 2**20 else f"{number / 1024:.3g} KiB"), color
    suffix = {"ops": " /s", "suffix: bp": " bp"}.get(unit, "")
    return (f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}") + suffix, color


def stat(panel, rows, width, height):
    cells = []
    for target, labels, pairs in rows:
        text, color = shown(panel["fieldConfig"]["defaults"], pairs[-1][1])
        cells.append(f'<div>{html.escape(legend(target, labels))}<b style="color:{color}">{html.escape(text)}</b></div>')
    return f'<div class="s">{"".join(cells)}</div>'


def bargauge(panel, rows, width, height):
    defaults, most = panel["fieldConfig"]["defaults"], max([pairs[-1][1] for _, _, pairs in rows] + [1e-9])
    made = []
    for target, labels, pairs in rows:
        text, color = shown(defaults, pairs[-1][1])
        share = max(0, min(1, pairs[-1][1] / defaults.get("max", most)))
        made.append(f'<div class="b">{html.escape(legend(target, labels))} <span style="color:{color}">{text}</span>'
                    f'<u><em style="width:{share * 100:.1f}%;background:{color}"></em></u></div>')
    return "".join(made)


def table(panel, rows, width, height):
    hidden = panel["transformations"][0]["options"]["excludeByName"]
    names = sorted({name for _, labels, _ in rows for name in labels if name not in hidden})
    body = "".join("<tr>" + "".join(f"<td>{html.escape(labels.get(name, ''))}</td>" for name in names) + "</tr>" for _, labels, _ in rows)
    return f"<table><tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>{body}</table>"


def scale(source, width, height, low, high):
    """How a time and a number become places in a picture."""
    return (lambda at: 52 + (at - source.end + source.span) / source.span * (width - 60)), (lambda number: height - 16 - (number - low) / (high - low) * (height - 22))


def axes(source, width, height, low, high, text):
    x, y = scale(source, width, height, low, high)
    marks = []
    for part in (0, 0.5, 1):
        number = low + (high - low) * part
        marks.append(f'<line x1="52" x2="{width - 8}" y1="{y(number):.0f}" y2="{y(number):.0f}" stroke="#2c2f36"/>'
                     f'<text x="48" y="{y(number) + 3:.0f}" text-anchor="end">{text(number)}</text>')
        at = source.end - source.span + source.span * part
        marks.append(f'<text x="{x(at):.0f}" y="{height - 3}" text-anchor="{("start", "middle", "end")[int(part * 2)]}">{time.strftime("%H:%M:%S", time.gmtime(at))}</text>')
    return "".join(marks)


def timeseries(panel, rows, width, height, source):
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    below, drawn = {}, []
    for target, labels, pairs in rows:
        if custom["stacking"]["mode"] == "normal":
            pairs = [(at, below.get(at, 0) + number) for at, number in pairs]
            below.update(pairs)
        drawn.append((target, labels, pairs))
    numbers = [number for _, _, pairs in drawn for _, number in pairs]
    low, high = defaults.get("min", min(numbers)), max(numbers)
    if high - low < 1e-12:
        low, high = (low, low + 1) if "min" in defaults else (low - 1, high + 1)
    low, high = min(low, min(numbers)), high + (high - low) * 0.05
    x, y = scale(source, width, height, low, high)
    body = [axes(source, width, height, low, high, lambda number: shown({"unit": defaults["unit"]}, number)[0])]
    names = []
    for index, (target, labels, pairs) in enumerate(drawn):
        color, path, before = LINES[index % len(LINES)], "", None
        for at, number in pairs:
            # A gap stays a gap.
            path += f"{'L' if before is not None and at - before <= source.step * 1.5 else 'M'}{x(at):.1f} {y(number):.1f}"
            before = at
        if len(pairs) == 1:
            body.append(f'<circle cx="{x(pairs[0][0]):.1f}" cy="{y(pairs[0][1]):.1f}" r="2" fill="{color}"/>')
        body.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.3"/>')
        names.append(f'<i style="background:{color}"></i>{html.escape(legend(target, labels))}')
    for step in defaults.get("thresholds", {}).get("steps", []) if custom["thresholdsStyle"]["mode"] == "line" else []:
        if step["value"] is not None and low <= step["value"] <= high:
            body.append(f'<line x1="52" x2="{width - 8}" y1="{y(step["value"]):.0f}" y2="{y(step["value"]):.0f}" stroke="{COLORS[step["color"]]}" stroke-dasharray="4 3"/>')
    return f'<svg width="{width}" height="{height}" font-size="9" fill="#9a9aa8">{"".join(body)}</svg><div class="l">{"".join(names)}</div>'


def heatmap(panel, rows, width, height, source):
    rows = sorted(rows, key=lambda row: float(row[1]["le"]))
    most, before, cells = 1e-12, {}, []
    for index, (_, labels, pairs) in enumerate(rows):
        # Buckets are cumulative, and Grafana takes the difference as well.
        own = [(at, number - before.get(at, 0)) for at, number in pairs]
        before = dict(pairs)
        most = max([most] + [number for _, number in own])
        cells.append((index, labels["le"], own))
    x, _ = scale(source, width, height, 0, 1)
    each = (height - 22) / len(rows)
    body = []
    for index, name, own in cells:
        top = height - 16 - (index + 1) * each
        if index % 3 == 0:
            body.append(f'<text x="48" y="{top + each:.0f}" text-anchor="end">{name}</text>')
        for at, number in own:
            if number > 1e-12:
                body.append(f'<rect x="{x(at):.1f}" y="{top:.1f}" width="{max(1, x(source.step) - x(0)):.1f}" height="{each - 1:.1f}" fill="#5794f2" opacity="{(number / most) ** 0.5:.2f}"/>')
    return f'<svg width="{width}" height="{height}" font-size="9" fill="#9a9aa8">{"".join(body)}</svg>'


def page(board, source):
    """One board as HTML, and its height."""
    body, bottom = [], 0
    for panel in board["panels"]:
        place = panel["gridPos"]
        left, top, width, height = place["x"] * CELL, place["y"] * UNIT, place["w"] * CELL - GAP, place["h"] * UNIT - GAP
        bottom = max(bottom, top + height)
        if panel["type"] == "row":
            body.append(f'<div class="r" style="left:{left + GAP}px;top:{top}px">{html.escape(panel["title"])}</div>')
            continue
        rows = [(target, labels, pairs) for target in panel["targets"] for labels, pairs in source.ask(target)]
        if not rows:
            inside = f'<div class="n">{html.escape(panel["fieldConfig"]["defaults"]["noValue"])}</div>'
        elif panel["type"] in ("timeseries", "heatmap"):
            inside = globals()[panel["type"]](panel, rows, width, height - 58, source)
        else:
            inside = {"stat": stat, "bargauge": bargauge, "table": table}[panel["type"]](panel, rows, width, height)
        body.append(f'<div class="p" style="left:{left + GAP}px;top:{top}px;width:{width}px;height:{height}px"><div class="t">{html.escape(panel["title"])}</div>{inside}</div>')
    date = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(source.end))
    head = (f"<h1>{html.escape(board['title'])} — preview</h1><p>Drawn by ops/grafana/preview.py from {board['uid'].removeprefix('metricsd-')}.json and the data of a real "
            f"Prometheus, {date}, {source.span} s. Not a picture of Grafana.</p>")
    return f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>{head}<div id="g" style="height:{bottom}px">{"".join(body)}</div>', bottom + 70


def photograph(browser, text, height, path):
    """The page as a PNG, by a Chromium that reaches nothing."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "page.html")
        file.write_text(text, encoding="utf-8")
        words = [browser, "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--disable-quic", "--hide-scrollbars", f"--user-data-dir={folder}/profile", f"--window-size={24 * CELL + GAP},{height}", f"--screenshot={path}", file.as_uri()]
        # The page is ours and has no script; as root Chromium starts in no other way.
        words.insert(1, "--no-sandbox")
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
    # A picture of few colours: a third of the size.
    if shutil.which("pngquant"):
        subprocess.run(["pngquant", "--force", "--speed", "1", "--output", path, "48", path], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prometheus", required=True, help="its address")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder of the pictures")
    parser.add_argument("--seconds", type=int, default=3600, help="how much time is shown [3600]")
    parser.add_argument("--rate-interval", default="1m", help="what $__rate_interval is [1m]")
    parser.add_argument("--html", action="store_true", help="write pages and no pictures")
    options = parser.parse_args()
    browser = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None)
    if browser is None and not options.html:
        sys.exit("no chromium-headless-shell and no chromium on the path; --html needs none")
    options.out.mkdir(parents=True, exist_ok=True)
    source = Source(options)
    for file in sorted(BOARDS.glob("*.json")):
        text, height = page(json.loads(file.read_text(encoding="utf-8")), source)
        if options.html:
            (options.out / f"{file.stem}.html").write_text(text, encoding="utf-8")
        else:
            photograph(browser, text, height, (options.out / f"{file.stem}.png").absolute())


if __name__ == "__main__":
    main()
