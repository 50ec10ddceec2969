"""What a run of the latency bench has measured, and whether what was published is right."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.durations import format_duration
from app.setting_groups import BarSettings
from tests.bench import latency_load, latency_readers, latency_worker
from tests.bench.latency_figures import (
    SECOND,
    Figures,
    Int64Array,
    Load,
    Sightings,
    closing,
    covered,
    figures,
    published,
    run_bounds,
    window_counts,
)

NAMES = {
    "late": "load: behind its schedule",
    "append": "the broker's append time",
    "floor": "floor: a bare consumer has it",
    "row": "row in memory",
    "forming": "forming bar published",
    "closed": "closed bar readable",
}
#: Issue 9: P95 in ms at 10,000 a second; at 200,000 at most twice that.
GOALS = {"row": 10.0, "forming": 220.0, "closed": 150.0}
GOAL_FACTORS = {10_000: 1.0, 200_000: 2.0}
#: A load that is later than that, P95 in ms, has not had the processor that it needs.
PUNCTUAL = 2.0
#: Wrong bars that are printed.
SHOWN = 5


@dataclass(frozen=True)
class Result:
    """One rate.

    Attributes:
        due: by name, latencies from the time at which the trade was due.
        appended: the same from the broker's append time, which is in whole ms, rounded down.
        cores: by process, how many cores it kept busy while the load was sent.
        faults: lines that tell what is missing or wrong.
    """

    rate: int
    trades: int
    due: Mapping[str, Figures]
    appended: Mapping[str, Figures]
    cores: Mapping[str, float]
    faults: Sequence[str]

    def goal(self, name: str) -> float | None:
        """P95 in ms that is asked for, from the append; None: nothing is."""
        factor = GOAL_FACTORS.get(self.rate)
        return None if factor is None or name not in GOALS else GOALS[name] * factor

    def as_json(self) -> dict[str, Any]:
        """All figures; one that there is not is None."""
        return {
            "rate": self.rate,
            "trades": self.trades,
            "milliseconds_from_due": {name: _plain(each) for name, each in self.due.items()},
            "milliseconds_from_append": {
                name: _plain(each) for name, each in self.appended.items()
            },
            "goals_p95_milliseconds": {name: self.goal(name) for name in GOALS},
            "cores_busy": {name: round(each, 3) for name, each in self.cores.items()},
            "faults": list(self.faults),
        }


def _plain(each: Figures) -> dict[str, float | None]:
    return {
        name: None if math.isnan(value) else round(value, 3)
        for name, value in each._asdict().items()
    }


def evaluate(
    folder: Path, load: Load, rate: int, warm_up: float, bars: BarSettings, cores: dict[str, float]
) -> Result:
    """Read what the processes of a run have noted, in their folders, and compute its figures."""
    sent = _read(folder / "load" / latency_load.FILE)
    begin = int(sent["begin"])
    due = begin + load.due
    measured = load.due >= warm_up * SECOND
    places = [
        np.flatnonzero(load.partition == each) for each in range(int(load.partition.max()) + 1)
    ]
    row, append = _applied(_read(folder / "worker" / latency_worker.FILE), places, len(load))
    longest = bars.intervals[-1]
    shown = _read(folder / "readers" / latency_readers.FORMING_FILE)
    forming = published(load.symbol, due // longest, _sightings(shown, load, longest))
    first = places[latency_readers.FLOOR_PARTITION]
    noted = _read(folder / "readers" / latency_readers.FLOOR_FILE)
    floor = covered(noted["begin"], noted["end"], noted["time"], len(first))
    closed = _read(folder / "readers" / latency_readers.CLOSED_FILE)
    readable, cause = _causes(closed, load, places, due, bars)
    causing = measured[cause]
    readable, cause = readable[causing], cause[causing]
    chosen = first[measured[first]]
    of_floor = floor[measured[first]]
    seen = {"append": append, "row": row, "forming": forming}
    from_due = {"late": figures((due + sent["late"])[measured], due[measured])}
    from_due |= {name: figures(each[measured], due[measured]) for name, each in seen.items()}
    from_append = {
        name: figures(each[measured], append[measured])
        for name, each in seen.items()
        if name != "append"
    }
    from_due |= {"floor": figures(of_floor, due[chosen]), "closed": figures(readable, due[cause])}
    from_append |= {
        "floor": figures(of_floor, append[chosen]),
        "closed": figures(readable, append[cause]),
    }
    faults = list(_faults(closed, load, due, bars))
    if int(sent["left"]):
        faults.append(f"{int(sent['left'])} trades were not acknowledged")
    if from_due["row"].missing:
        faults.append(f"{from_due['row'].missing} trades were never applied")
    return Result(rate, int(measured.sum()), from_due, from_append, cores, faults)


def _read(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def _applied(
    notes: Mapping[str, Int64Array], places: Sequence[Any], count: int
) -> tuple[Int64Array, Int64Array]:
    """When each trade was in memory, and when it was appended."""
    row, append = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    run_begin, run_end = run_bounds(notes["begin"], notes["end"], notes["runs"], notes["run_count"])
    run_partition = np.repeat(notes["partition"], notes["runs"])
    for partition, mine in enumerate(places):
        noted, runs = notes["partition"] == partition, run_partition == partition
        row[mine] = covered(
            notes["begin"][noted], notes["end"][noted], notes["time"][noted], len(mine)
        )
        append[mine] = covered(run_begin[runs], run_end[runs], notes["run_time"][runs], len(mine))
    return row, append


def _sightings(
    shown: Mapping[str, Any], load: Load, length: int
) -> dict[tuple[int, int], Sightings]:
    codes = {name: code for code, name in enumerate(load.ticks.symbols)}
    held: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    rows = (shown[name].tolist() for name in ("symbol", "start", "time", "trades"))
    for symbol, start, moment, trades in zip(*rows, strict=True):
        held[codes[symbol], start // length].append((moment, trades))
    return {
        key: Sightings(*(np.array(each, dtype=np.int64) for each in zip(*seen, strict=True)))
        for key, seen in held.items()
    }


def _lengths(bars: BarSettings) -> dict[str, int]:
    return {format_duration(length): length for length in bars.intervals}


def _causes(
    closed: Mapping[str, Any], load: Load, places: Sequence[Any], due: Int64Array, bars: BarSettings
) -> tuple[Int64Array, Int64Array]:
    """When each closed bar was readable, and the trade that moved the watermark past its end.

    Bars that a clock record closes, after the last trade, are left out.
    """
    lengths, codes = _lengths(bars), {name: n for n, name in enumerate(load.ticks.symbols)}
    length = np.array([lengths[each] for each in closed["interval"].tolist()], dtype=np.int64)
    symbol = [codes[each] for each in closed["symbol"].tolist()]
    home = np.zeros(len(codes), dtype=np.int64)
    home[load.symbol] = load.partition
    partition = home[np.array(symbol, dtype=np.int64)]
    readable, causes = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for number, mine in enumerate(places):
        chosen = (partition == number) & (closed["revision"] == 0)
        found = closing(closed["start"][chosen] + length[chosen], due[mine], bars.grace)
        caused = found < len(mine)
        readable.append(closed["time"][chosen][caused])
        causes.append(mine[found[caused]])
    return np.concatenate(readable), np.concatenate(causes)


def _faults(
    closed: Mapping[str, Any], load: Load, due: Int64Array, bars: BarSettings
) -> Iterator[str]:
    """Yield a line for each closed bar that is wrong, double, or missing though it was caused."""
    names = load.ticks.symbols
    last = np.zeros(int(load.partition.max()) + 1, dtype=np.int64)
    last[load.partition] = due
    home = np.zeros(len(names), dtype=np.int64)
    home[load.symbol] = load.partition
    for label, length in _lengths(bars).items():
        wanted = window_counts(load.symbol, due // length)
        of_interval = closed["interval"] == label
        rows = (closed[each][of_interval].tolist() for each in ("symbol", "start", "trades"))
        seen: dict[tuple[str, int], int] = {}
        for symbol, start, trades in zip(*rows, strict=True):
            if (symbol, start // length) in seen:
                yield f"{label} {symbol} {start}: published twice"
            seen[symbol, start // length] = trades
        for (code, window), count in wanted.items():
            found = seen.get((names[code], window))
            caused = (window + 1) * length + bars.grace <= last[home[code]]
            if found != count and (caused or found is not None):
                start = window * length
                yield f"{label} {names[code]} {start}: {found} trades, expected {count}"


def as_text(result: Result) -> Iterator[str]:
    """Yield the lines of one rate."""
    yield ""
    yield f"{result.rate:,} trades/s: {result.trades:,} measured; ms"
    yield (f"{'':<32}{'from when it was due':^38}  {'from its append':^38}")
    columns = "".join(f"{name:>9}" for name in ("P50", "P95", "P99", "max"))
    yield f"{'':<32}{columns}   {columns}  goal, P95 from append"
    for name, text in NAMES.items():
        since = result.appended.get(name)
        other = " " * 36 if since is None else _columns(since)
        line = f"{text:<32}{_columns(result.due[name])}   {other}{_verdict(result, name)}"
        yield line.rstrip()
    late = result.due["late"].p95
    if late > PUNCTUAL:
        yield (
            f"the load itself was late, P95 {late:.1f} ms: the machine was too busy for this rate, "
            "and the figures are its own"
        )
    busy = ", ".join(f"{name} {each:.2f}" for name, each in result.cores.items())
    yield f"cores busy: {busy}"
    if result.faults:
        yield f"{len(result.faults)} faults:"
        yield from result.faults[:SHOWN]
    else:
        yield "all trades applied once, and all closed bars with the right number of trades"


def _columns(each: Figures) -> str:
    return "".join(f"{value:>9.1f}" for value in each[:4])


def _verdict(result: Result, name: str) -> str:
    missing = result.due[name].missing
    text = f"  ({missing:,} never)" if missing else ""
    goal = result.goal(name)
    if goal is None:
        return text
    met = "met" if result.appended[name].p95 <= goal else "NOT met"
    return f"  {goal:g}: {met}{text}"
