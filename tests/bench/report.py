"""The bench's table: ratios first, then rates, processor time and memory, and what it ran on."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.broker import KAFKA_VERSION
from tests.bench.ways import Round

NAMES = {
    "ours": "Candlewick, 1 worker",
    "ours2": "Candlewick, 2 workers",
    "slim": "batch unpacking alone, no state",
    "bare": "bare aiokafka getmany, values only",
    "confluent": "bare confluent-kafka, values only",
    "faust": "idiomatic Faust, 1 s bars",
    "quix": "Quix Streams, 1 s bars",
    "bytewax": "Bytewax, 1 s bars",
    "streams": "Kafka Streams (Java), 1 s bars",
}
#: What issue #9 asks of one worker of ours, as multiples of these.
REQUIRED = {"bare": 1.35, "quix": 20.0, "faust": 250.0, "streams": 3.0}
#: Those of which it asks the same by processor time.
REQUIRED_BY_CPU = {"streams": 3.0}


@dataclass(frozen=True)
class Recorded:
    """A figure that was measured before; the ends of its range that are hardest for us."""

    name: str
    text: str
    of_bare: float
    cpu_seconds_per_million: float
    required: float


KAFKA_STREAMS = Recorded(
    "Kafka Streams 4.1, recorded",
    "Java, RocksDB, 1 s windows, 4 fields, two cores: 0.40-0.45x of bare aiokafka, 5.2-5.8 CPU s "
    "a million ticks; issue #9, not measured in this run",
    0.45,
    5.2,
    3.0,
)
_MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Measured:
    """All rounds of one input.

    Attributes:
        record: `full` or `four`.
        input_text: what the input is, for readers.
        stages: processor us a tick of our worker, by stage, of a round of its own.
    """

    symbols: int
    record: str
    input_text: str
    rounds: Mapping[str, Sequence[Round]]
    stages: Mapping[str, float] = field(default_factory=dict)


def best(rounds: Sequence[Round]) -> Round:
    """The fastest round."""
    return max(rounds, key=lambda each: each.rate)


def cheapest(rounds: Sequence[Round]) -> float:
    """The least processor seconds a million records of any round."""
    return min(each.cpu / each.records for each in rounds) * 1e6


def as_json(
    inputs: Sequence[Measured],
    command: str,
    missing: Mapping[str, str],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """All figures and what they were measured on.

    Args:
        missing: ways that were asked for and could not be measured, with the reason.
        versions: of others that were measured, by way.
    """
    names = {
        way: f"{name}, {versions[way]}" if way in versions else name for way, name in NAMES.items()
    }
    return {
        "names": names,
        "inputs": [_of_input(each) for each in inputs],
        "by_symbols": _by_symbols(inputs),
        "missing": dict(missing),
        **surroundings(command),
    }


def _of_input(each: Measured) -> dict[str, Any]:
    return {
        "symbols": each.symbols,
        "record": each.record,
        "input": each.input_text,
        "ratios": ratios(each.rounds),
        "recorded": recorded(each.rounds, KAFKA_STREAMS),
        "ways": {
            way: {
                "best": _figures(best(rounds)),
                "rounds": [_figures(one) for one in rounds],
            }
            for way, rounds in each.rounds.items()
        },
        "stages": {stage: round(cost, 4) for stage, cost in each.stages.items()},
    }


def _figures(each: Round) -> dict[str, float]:
    return {
        "records": each.records,
        "seconds": round(each.seconds, 3),
        "records_per_second": round(each.rate),
        "cpu_seconds_per_million": round(each.cpu / each.records * 1e6, 3),
        "peak_memory_megabytes": round(each.memory / _MEGABYTE),
    }


def ratios(rounds: Mapping[str, Sequence[Round]]) -> dict[str, dict[str, Any]]:
    """One worker of ours by each other way: by rate, by processor time, and what is asked for."""
    if "ours" not in rounds:
        return {}
    rate, cost = best(rounds["ours"]).rate, cheapest(rounds["ours"])
    found: dict[str, dict[str, Any]] = {}
    for way in NAMES:
        if way != "ours" and way in rounds:
            found[way] = {
                "rate": round(rate / best(rounds[way]).rate, 3),
                # What a busy machine disturbs less.
                "cpu": round(cheapest(rounds[way]) / cost, 3),
                "required": REQUIRED.get(way),
                "required_by_cpu": REQUIRED_BY_CPU.get(way),
            }
    return found


def recorded(rounds: Mapping[str, Sequence[Round]], other: Recorded) -> dict[str, Any]:
    """One worker of ours by a recorded figure: both by bare aiokafka, each of its own run."""
    if not {"ours", "bare"} <= rounds.keys():
        return {}
    of_bare = best(rounds["ours"]).rate / best(rounds["bare"]).rate
    return {
        "name": other.name,
        "text": other.text,
        "rate": round(of_bare / other.of_bare, 3),
        "cpu": round(other.cpu_seconds_per_million / cheapest(rounds["ours"]), 3),
        "required": other.required,
        "required_by_cpu": other.required,
    }


def _by_symbols(inputs: Sequence[Measured]) -> dict[str, float]:
    """Processor time a tick of each number of symbols, by that of the fewest."""
    costs = {
        each.symbols: cheapest(each.rounds["ours"]) for each in inputs if "ours" in each.rounds
    }
    if len(costs) < 2:
        return {}
    fewest = min(costs)
    return {str(symbols): round(cost / costs[fewest], 3) for symbols, cost in sorted(costs.items())}


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
    names = report["names"]
    lines: list[str] = []
    for each in report["inputs"]:
        lines += _input_lines(each, names)
    if report["by_symbols"]:
        costs = ", ".join(f"{way} {ratio:.2f}x" for way, ratio in report["by_symbols"].items())
        lines += ["", f"CPU a tick by symbols, as a multiple of that of the fewest: {costs}"]
    if any(each["stages"] for each in report["inputs"]):
        lines += ["", *_stage_lines(report["inputs"])]
    lines.append("")
    for way, reason in report["missing"].items():
        lines.append(f"not measured: {names[way]}: {reason}")
    for name in ("date", "machine", "load", "versions", "command"):
        lines.append(f"{name}: {report[name]}")
    return "\n".join(lines)


def _input_lines(each: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    yield ""
    yield f"{each['symbols']:,} symbols, {each['record']} record: {each['input']}"
    yield f"{'ratios, Candlewick with 1 worker by':<46}{'by rate':>10}{'by CPU':>10}"
    for way, ratio in each["ratios"].items():
        yield _ratio_line(names[way], ratio)
    if each["recorded"]:
        yield _ratio_line(each["recorded"]["name"], each["recorded"])
        yield f"    ({each['recorded']['text']})"
    yield (
        f"{'way, best round':<46}{'records/s':>12}{'CPU us/tick':>13}{'peak MiB':>10}"
        f"{'records':>11}   all rounds, records/s"
    )
    for way in NAMES:
        if way not in each["ways"]:
            continue
        figures = each["ways"][way]
        shown = figures["best"]
        every = ", ".join(f"{one['records_per_second']:,}" for one in figures["rounds"])
        yield (
            f"{names[way]:<46}{shown['records_per_second']:>12,}"
            # Seconds a million are microseconds each.
            f"{shown['cpu_seconds_per_million']:>13.2f}{shown['peak_memory_megabytes']:>10,.0f}"
            f"{shown['records']:>11,}   {every}"
        )


def _ratio_line(name: str, ratio: Mapping[str, Any]) -> str:
    line = f"  {name:<44}{ratio['rate']:>9.2f}x{ratio['cpu']:>9.2f}x"
    asked = []
    if ratio["required"] is not None:
        asked.append(_verdict(ratio["rate"], ratio["required"], "by rate"))
    if ratio["required_by_cpu"] is not None:
        asked.append(_verdict(ratio["cpu"], ratio["required_by_cpu"], "by CPU"))
    return f"{line}   {', '.join(asked)}".rstrip()


def _verdict(found: float, wanted: float, what: str) -> str:
    return f"{wanted:g}x asked for {what}: {'met' if found >= wanted else 'NOT met'}"


def _stage_lines(inputs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A row a stage, a column an input."""
    shown = [each for each in inputs if each["stages"]]
    title = "stages of 1 worker, CPU us a tick, symbols:"
    yield f"{title:<60}" + "".join(f"{each['symbols']:>12,}" for each in shown)
    for stage in dict.fromkeys(stage for each in shown for stage in each["stages"]):
        yield f"  {stage:<58}" + "".join(
            f"{each['stages'].get(stage, 0.0):>12.3f}" for each in shown
        )
    yield f"  {'all (a round of its own, with clocks in it)':<58}" + "".join(
        f"{sum(each['stages'].values()):>12.3f}" for each in shown
    )
