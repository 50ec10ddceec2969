"""Every query of every dashboard, run: `python -m tests.checks.dashboards_live`.

Takes the files in `deploy/grafana/dashboards`, fills in what Grafana would (variables by their own
queries, times, macros), asks a real Prometheus and a real InfluxDB that a worker has filled
(`dashboards_filled.py`), and prints how much each query returns. A panel without data fails, unless
`EMPTY` says why it has none there. Needs `make promtool influxd`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import secrets
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from app.broker import BrokerConfig, EmbeddedBroker
from tests.checks.dashboards_filled import INTERVAL, MODEL, Filled, filled, go_on
from tests.influx_server import BUILD, find_influxd
from tests.unit.test_dashboards import FILES
from tests.unit.test_prometheus_rules import tool

#: Panels that have no data there, by dashboard and title, and why.
EMPTY: Final[Mapping[tuple[str, str], str]] = {
    ("sinks", "Hit rate"): "the sink redis is not on",
    ("sinks", "Latest values asked for"): "the sink redis is not on",
    ("sinks", "Notifications"): "no channel is configured",
    ("sinks", "Attempts to deliver"): "no channel is configured",
    ("sinks", "Channels that rest"): "no channel is configured",
}
#: What is chosen of a variable that has several values.
CHOSEN: Final = {"interval": INTERVAL, "model": MODEL}
#: As Grafana has it for a scrape every second: four of them, and some room.
RATE: Final = "10s"
RANGE: Final = "5m"
#: How often the market goes on where a panel is empty yet.
ROUNDS: Final = 4
WINDOW: Final = "10s"


@dataclass(frozen=True)
class Asked:
    """One query, and how much came: series with a number, or rows; or what was wrong."""

    dashboard: str
    panel: str
    name: str
    source: str
    found: int
    fault: str = ""


def missing() -> str | None:
    """What to do where a server is not there; None where both are."""
    if tool("prometheus") is None:
        return "no prometheus: make promtool"
    if find_influxd() is None:
        return f"no influxd: {BUILD}"
    return None


def run_queries(data: Filled) -> list[Asked]:
    """Run every query of every file."""
    return [each for path in FILES for each in _of_dashboard(path, data)]


def faults(asked: Sequence[Asked]) -> list[str]:
    """Return what is wrong: queries that fail, panels without data or without need of a reason."""
    wrong = [f"{a.dashboard}: {a.panel} {a.name}: {a.fault}" for a in asked if a.fault]
    panels = {(each.dashboard, each.panel) for each in asked}
    full = {(each.dashboard, each.panel) for each in asked if each.found}
    for place in sorted(panels - full - set(EMPTY)):
        wrong.append(f"{place[0]}: {place[1]}: no data")
    for place in sorted(set(EMPTY) - panels):
        wrong.append(f"{place[0]}: {place[1]}: there is no such panel")
    for place in sorted(set(EMPTY) & full):
        wrong.append(f"{place[0]}: {place[1]}: has data, though EMPTY says {EMPTY[place]!r}")
    return wrong


def report(asked: Sequence[Asked]) -> str:
    """Return a line a query, and the sum."""
    lines = []
    for each in asked:
        found = f"{each.found:,} {'rows' if each.source == 'influxdb' else 'series'}"
        if each.fault:
            found = f"FAILED: {each.fault}"
        elif not each.found:
            found += (
                f" ({EMPTY.get((each.dashboard, each.panel), 'other queries of it have some')})"
            )
        lines.append(f"{each.dashboard:<7} {each.panel:<36} {each.name} {each.source:<10} {found}")
    full = sum(1 for each in asked if each.found)
    panels = {(each.dashboard, each.panel) for each in asked}
    drawn = {(each.dashboard, each.panel) for each in asked if each.found}
    lines.append(
        f"{len(asked)} queries of {len(panels)} panels: {full} queries and {len(drawn)} panels "
        "have data"
    )
    return "\n".join(lines)


def _of_dashboard(path: Path, data: Filled) -> list[Asked]:
    board = json.loads(path.read_text(encoding="utf-8"))
    values = _variables(board, data)
    found = []
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            source = target["datasource"]["type"]
            ask = _ask_flux if source == "influxdb" else _ask_promql
            try:
                count, fault = ask(target, values, data), ""
            except ValueError as error:
                count, fault = 0, " ".join(str(error).split())[:300]
            found.append(Asked(path.stem, panel["title"], target["refId"], source, count, fault))
    return found


def _variables(board: Mapping[str, Any], data: Filled) -> dict[str, str]:
    """Return a value for each variable, by its own query.

    Raises:
        ValueError: one has none, or not the one that is to be chosen.
    """
    values: dict[str, str] = {}
    for variable in board["templating"]["list"]:
        name = variable["name"]
        if variable["type"] == "custom":
            values[name] = WINDOW
            continue
        if variable["datasource"]["type"] == "influxdb":
            rows = data.flux(_filled_in(variable["query"]["query"], values))
            found = [row.get("_value", row.get("name", "")) for row in rows]
        else:
            metric, label = re.findall(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])[
                0
            ]
            found = data.label_values(metric, label)
        if variable.get("includeAll"):
            values[name] = variable["allValue"]
            continue
        chosen = CHOSEN.get(name, found[0] if found else "")
        if chosen not in found:
            raise ValueError(f"the variable {name} of {board['title']} has {found}")
        values[name] = chosen
    return values


def _ask_promql(target: Mapping[str, Any], values: Mapping[str, str], data: Filled) -> int:
    text = _filled_in(target["expr"], values)
    series = data.rates(text.replace("$__rate_interval", RATE).replace("$__range", RANGE))
    return sum(any(math.isfinite(float(value)) for _, value in each["values"]) for each in series)


def _ask_flux(target: Mapping[str, Any], values: Mapping[str, str], data: Filled) -> int:
    return len(data.flux(_filled_in(target["query"], values)))


def _filled_in(text: str, values: Mapping[str, str]) -> str:
    """Put in what Grafana does: variables, the times of the last hour, the width of a point."""
    now = datetime.now(UTC)
    text = text.replace("v.timeRangeStart", f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}")
    text = text.replace("v.timeRangeStop", f"{now + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}")
    text = text.replace("v.windowPeriod", WINDOW)
    for name, value in values.items():
        text = re.sub(rf"\$\{{{name}\}}|\${name}\b", lambda _, value=value: value, text)
    return text


async def check(folder: Path, kafka: EmbeddedBroker) -> list[Asked]:
    """Fill the servers, and run every query."""
    influxd, prometheus = find_influxd(), tool("prometheus")
    assert influxd is not None
    assert prometheus is not None
    name = f"dashboards-{secrets.token_hex(4)}"
    async with filled(kafka, influxd, Path(prometheus), folder, name) as data:
        for _ in range(ROUNDS):
            asked = await asyncio.to_thread(run_queries, data)
            if not faults(asked):
                break
            # What happened between two scrapes alone has no rate; on a busy machine that is much.
            await go_on(data.settings)
    return asked


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, print the report; return the exit code."""
    argparse.ArgumentParser(
        prog="python -m tests.checks.dashboards_live", description=__doc__
    ).parse_args(arguments)
    lacks = missing()
    if lacks is not None:
        print(lacks)
        return 1
    with tempfile.TemporaryDirectory(prefix="candlewick-dashboards-") as folder:
        broker = EmbeddedBroker(BrokerConfig(Path(folder) / "kafka"))
        broker.start()
        try:
            broker.wait_ready()
            asked = asyncio.run(check(Path(folder), broker))
        finally:
            broker.stop()
    wrong = faults(asked)
    print(report(asked))
    print("\n".join(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
