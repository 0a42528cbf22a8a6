"""What the boards of Grafana are made of: panels, variables, places.

Invariant: what is absent looks absent. No query fills a gap with 0, every panel says what no data means, and a gauge that an ended process
left behind is not shown as a state. `boards.py` says what is shown.
"""

# `@` in a query; every selector has it, so that a board never mixes what it was not asked for.
SELECTOR = 'job=~"$job", instance=~"$instance"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"
# Value mappings.
UP = {"0": ("DOWN", RED), "1": ("UP", GREEN)}
YES = {"0": ("no", RED), "1": ("yes", GREEN)}
# A gauge of an ended session stays on the page of metricsd; these keep it off the board, as they keep it from the alerts.
WHILE_SESSION = " unless on (job, instance) instance:shadow_session_over:info{@}"
WHILE_TRADING = " unless on (job, instance) instance:trading_over:info{@}"
WHILE_SENTINEL = " unless on (job, instance) instance:sentinel_over:info{@}"


def steps(first, *rest):
    return [{"color": first, "value": None}, *({"color": color, "value": value} for value, color in rest)]


def panel(kind, title, description, unit, targets, *, empty, runbooks=(), at=None, names=None, width=8, height=7, instant=False, **config):
    """One panel. `targets`: (query, legend). `at`: thresholds. `names`: texts and colours of values. `empty`: what no data means."""
    defaults = {"unit": unit, "noValue": empty, "color": {"mode": "palette-classic"}, **config.pop("defaults", {})}
    if at:
        defaults["thresholds"] = {"mode": "absolute", "steps": at}
    if at or names:
        defaults["color"] = {"mode": "thresholds"} if kind != "timeseries" else defaults["color"]
    if names:
        result = {value: {"text": text, "color": color, "index": index} for index, (value, (text, color)) in enumerate(names.items())}
        defaults["mappings"] = [{"type": "value", "options": result}]
    made = []
    for index, (query, legend) in enumerate(targets):
        made.append({"refId": "ABCDEFGH"[index], "datasource": SOURCE, "editorMode": "code", "expr": query.replace("@", SELECTOR), "legendFormat": legend,
                     "instant": instant, "range": not instant, "format": {"table": "table", "heatmap": "heatmap"}.get(kind, "time_series")})
    links = [{"title": f"Runbook {name}", "type": "link", "url": f"${{runbooks}}/{name}", "targetBlank": True, "asDropdown": False, "icon": "doc",
              "includeVars": False, "keepTime": False, "tags": [], "tooltip": ""} for name in runbooks]
    return {"type": kind, "title": title, "description": description, "datasource": SOURCE, "gridPos": {"h": height, "w": width}, "targets": made,
            "links": links, "fieldConfig": {"defaults": defaults, "overrides": []}, **config}


def lines(title, description, unit, *targets, stack=False, **more):
    custom = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if stack else 5, "showPoints": "never", "spanNulls": False,
              "stacking": {"mode": "normal" if stack else "none", "group": "A"},
              "thresholdsStyle": {"mode": "line" if "at" in more else "off"}}
    defaults = {"custom": custom, **more.pop("defaults", {})}
    if more.pop("from_zero", True):
        defaults["min"] = 0
    options = {"legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel("timeseries", title, description, unit, targets, defaults=defaults, options=options, **more)


REDUCE = {"calcs": ["lastNotNull"], "values": False, "fields": ""}


def stat(title, description, unit, *targets, width=6, height=4, **more):
    options = {"reduceOptions": REDUCE, "orientation": "auto", "colorMode": "value", "graphMode": "none", "justifyMode": "auto", "textMode": "auto",
               "wideLayout": True, "showPercentChange": False, "percentChangeColorMode": "standard"}
    return panel("stat", title, description, unit, targets, instant=True, options=options, width=width, height=height, **more)


def bars(title, description, unit, *targets, **more):
    options = {"reduceOptions": REDUCE, "orientation": "horizontal", "displayMode": "basic", "showUnfilled": True, "valueMode": "color",
               "namePlacement": "auto", "sizing": "auto", "minVizWidth": 8, "minVizHeight": 16, "maxVizHeight": 300,
               "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []}}
    return panel("bargauge", title, description, unit, targets, instant=True, options=options, **more)


def table(title, description, unit, target, hide, **more):
    tidy = [{"id": "organize", "options": {"excludeByName": dict.fromkeys(["Time", "__name__", *hide], True), "indexByName": {}, "renameByName": {}}}]
    options = {"frameIndex": 0, "showHeader": True, "cellHeight": "sm"}
    return panel("table", title, description, unit, [(target, "")], instant=True, options=options, transformations=tidy, **more)


def heatmap(title, description, unit, target, **more):
    options = {"calculate": False, "cellGap": 1, "color": {"mode": "scheme", "scheme": "Blues", "exponent": 0.5, "fill": "blue", "reverse": False, "steps": 32},
               "exemplars": {"color": "orange"}, "legend": {"show": False}, "showValue": "never", "tooltip": {"mode": "single"},
               "yAxis": {"unit": unit, "axisPlacement": "left"}}
    return panel("heatmap", title, description, unit, [(target, "{{le}}")], options=options, **more)


def quantiles(family, by="job, instance"):
    rate = f"sum by ({by}, le) (rate({family}_bucket{{@}}[$__rate_interval]))"
    return [(f"histogram_quantile({q}, {rate})", f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)]


def rate(metric, by, more=""):
    return f"sum by ({by}) (rate({metric}{{@{more}}}[$__rate_interval]))"


def variable(name, label, query):
    return {"name": name, "label": label, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": f"Variable-{name}"}, "refresh": 2, "sort": 1,
            "multi": True, "includeAll": True, "allValue": ".+", "current": {"text": ["All"], "value": ["$__all"]}, "hide": 0}


def board(uid, title, description, jobs, rows):
    """`jobs`: the series whose jobs can be chosen. Panels flow from left to right, a row begins a new line."""
    panels, x, y, line = [], 0, 0, 0
    for name, members in rows:
        y, x = y + line, 0
        panels.append({"type": "row", "title": name, "collapsed": False, "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}, "panels": []})
        y, line = y + 1, 0
        for member in members:
            place = member["gridPos"]
            if x + place["w"] > 24:
                y, x, line = y + line, 0, 0
            member["gridPos"] = {**place, "x": x, "y": y}
            x, line = x + place["w"], max(line, place["h"])
            panels.append(member)
    for number, member in enumerate(panels, 1):
        member["id"] = number
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0, "refresh": 1, "regex": ""}
    runbooks = {"name": "runbooks", "label": "Runbooks", "type": "textbox", "query": "http://127.0.0.1:8060/runbooks", "hide": 2,
                "current": {"text": "http://127.0.0.1:8060/runbooks", "value": "http://127.0.0.1:8060/runbooks"}}
    instances = jobs.replace("__name__", 'job=~"$job", __name__') if "__name__" in jobs else jobs + '{job=~"$job"}'
    variables = [source, variable("job", "Job", f"label_values({jobs}, job)"), variable("instance", "Instance", f"label_values({instances}, instance)"), runbooks]
    others = {"title": "Boards", "type": "dashboards", "tags": ["metricsd"], "asDropdown": True, "keepTime": True, "includeVars": False,
              "icon": "external link", "targetBlank": False, "tooltip": "", "url": ""}
    return {"uid": uid, "title": title, "description": description, "tags": ["metricsd"], "editable": False, "graphTooltip": 1, "schemaVersion": 42, "version": 1,
            "refresh": "15s", "time": {"from": "now-1h", "to": "now"}, "timezone": "utc", "links": [others],
            "annotations": {"list": []}, "templating": {"list": variables}, "panels": panels}
