"""The bench's table: ratios first, then rates, CPU and memory, with what it was measured on."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.broker import KAFKA_VERSION
from tests.bench.ways import Round

NAMES = {
    "ours": "Candlewick",
    "bare": "bare aiokafka getmany, values only",
    "faust": "idiomatic Faust",
}
#: What issue #3 asks of ours, as multiples of these.
REQUIRED = {"faust": 100.0, "bare": 0.6}
_MEGABYTE = 1024 * 1024


def best(rounds: Sequence[Round]) -> Round:
    """The fastest round."""
    return max(rounds, key=lambda each: each.rate)


def as_json(
    measured: Mapping[str, Sequence[Round]], input_text: str, command: str
) -> dict[str, Any]:
    """All figures and what they were measured on."""
    ways = {
        way: {
            "best": _figures(best(rounds)),
            "rounds": [_figures(each) for each in rounds],
        }
        for way, rounds in measured.items()
    }
    return {
        "ratios": {way: round(ratio, 3) for way, ratio in _ratios(measured).items()},
        "cpu_ratios": _cpu_ratios(measured),
        "required": REQUIRED,
        "ways": ways,
        "input": input_text,
        **surroundings(command),
    }


def _figures(each: Round) -> dict[str, float]:
    return {
        "records": each.records,
        "seconds": round(each.seconds, 3),
        "records_per_second": round(each.rate),
        "cpu_seconds_per_million": round(each.cpu / each.records * 1e6, 3),
        "peak_memory_megabytes": round(each.memory / _MEGABYTE),
    }


def _ratios(measured: Mapping[str, Sequence[Round]]) -> dict[str, float]:
    if "ours" not in measured:
        return {}
    rate = best(measured["ours"]).rate
    return {way: rate / best(measured[way]).rate for way in REQUIRED if way in measured}


def _cpu_ratios(measured: Mapping[str, Sequence[Round]]) -> dict[str, float]:
    """Records a CPU second, ours by theirs: what a busy machine disturbs less."""
    if "ours" not in measured:
        return {}
    cost = {
        way: min(each.cpu / each.records for each in rounds) for way, rounds in measured.items()
    }
    return {way: round(cost[way] / cost["ours"], 3) for way in REQUIRED if way in cost}


def surroundings(command: str) -> dict[str, str]:
    """Date, machine, versions, command."""
    versions = {"Python": platform.python_version(), "Kafka": KAFKA_VERSION}
    for name in ("faust-streaming", "aiokafka", "rocksdict", "numpy", "msgspec"):
        versions[name] = importlib.metadata.version(name)
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.platform()}",
        "load": f"{os.getloadavg()[0]:.1f} at the end, the bench and its broker in it",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "command": command,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def as_text(report: Mapping[str, Any]) -> str:
    """The report as it is printed."""
    lines = ["", "ratios"]
    for way, ratio in report["ratios"].items():
        wanted = report["required"][way]
        verdict = "met" if ratio >= wanted else "NOT met"
        lines.append(f"  ours / {NAMES[way]:<36}{ratio:>8.2f}x   {wanted:g}x asked for: {verdict}")
        lines.append(f"    the same by CPU second {report['cpu_ratios'][way]:>27.2f}x")
    lines += [
        "",
        f"{'way, best round':<38}{'records/s':>12}{'CPU s/million':>15}{'peak MiB':>10}"
        f"{'records':>11}   all rounds, records/s",
    ]
    for way, figures in report["ways"].items():
        shown = figures["best"]
        every = ", ".join(f"{each['records_per_second']:,}" for each in figures["rounds"])
        lines.append(
            f"{NAMES[way]:<38}{shown['records_per_second']:>12,}"
            f"{shown['cpu_seconds_per_million']:>15.2f}{shown['peak_memory_megabytes']:>10,.0f}"
            f"{shown['records']:>11,}   {every}"
        )
    lines.append("")
    for name in ("input", "date", "machine", "load", "versions", "command"):
        lines.append(f"{name}: {report[name]}")
    return "\n".join(lines)
