"""`python -m tests.anomalies.nab ../shared/data/nab`: our scorer on seven labelled real series.

Prints per series and in total what the benchmark's standard profile gives, the events found, their
delay from the begin of the label's window (which the benchmark centres on the anomaly), and false
alarms a day; beside it the same for the baselines, by the same threshold rule. Nothing is fitted to
the labels: all parameters are the defaults of `candlewick anomalies`.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial, reduce
from operator import add
from pathlib import Path

from models.anomalies.series import FALSE_ALARMS_PER_DAY
from tests.anomalies.baselines import (
    Item,
    alarms_of,
    chance,
    our_alarms,
    river_trees,
    windowed_gaussian,
)
from tests.anomalies.nab_scoring import NabResult, Window, nab_result

FOLDER = "realKnownCause"
OURS = "ours"
#: Runs with another seed each, of what has chance in it.
SEEDS = 3

Detector = Callable[[Sequence[Item], float], list[bool]]


def _nanoseconds(text: str) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000


def read_series(path: Path) -> list[Item]:
    """Read (time in ns, value) of one of the benchmark's files."""
    with path.open(newline="") as file:
        return [
            (_nanoseconds(row["timestamp"]), float(row["value"])) for row in csv.DictReader(file)
        ]


def read_corpus(folder: Path) -> dict[str, tuple[list[Item], list[Window]]]:
    """Read the series and their windows by name."""
    labels = json.loads((folder / "labels" / "combined_windows.json").read_text())
    return {
        path.stem: (
            read_series(path),
            [
                (_nanoseconds(first), _nanoseconds(last))
                for first, last in labels[f"{FOLDER}/{path.name}"]
            ],
        )
        for path in sorted((folder / FOLDER).glob("*.csv"))
    }


def detectors(seed: int) -> dict[str, Detector]:
    """Return the detectors by name; the first is ours."""

    def behind(surprises: object) -> Detector:
        return partial(alarms_of, surprises)  # type: ignore[arg-type]

    return {
        OURS: our_alarms,
        "random": behind(chance(seed)),
        "windowed Gaussian (1,000)": behind(windowed_gaussian(1_000)),
        "windowed Gaussian (6,400)": behind(windowed_gaussian(6_400)),
        "river trees (value)": behind(river_trees(seed, with_change=False)),
        "river trees (value, change)": behind(river_trees(seed, with_change=True)),
    }


def is_random(name: str) -> bool:
    """Whether another seed may give another result."""
    return name.startswith(("random", "river"))


def evaluate(
    corpus: Mapping[str, tuple[list[Item], list[Window]]], detector: Detector, per_day: float
) -> dict[str, NabResult]:
    """Return the results of one detector by series."""
    return {
        name: nab_result([time for time, _ in items], detector(items, per_day), windows)
        for name, (items, windows) in corpus.items()
    }


def total(results: Mapping[str, NabResult]) -> NabResult:
    """Return all series as one, as the benchmark sums them before it normalises."""
    return reduce(add, results.values())


def line(name: str, result: NabResult) -> str:
    """Return one line of the table."""
    precision = "    -" if result.precision is None else f"{result.precision:5.2f}"
    hours = sum(result.delays) / len(result.delays) / 3_600e9 if result.delays else None
    delay = "     -" if hours is None else f"{hours:6.1f}"
    return (
        f"  {name:<40} {result.score:7.1f} {precision} {result.detected:>3}/{result.windows:<3} "
        f"{delay} {result.false_alarms_per_day:9.4f} {result.false_alarms:5}"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--per-day", type=float, default=FALSE_ALARMS_PER_DAY)
    parser.add_argument("--only", default="", help="Detectors whose name begins so.")
    parser.add_argument("--brief", action="store_true", help="The totals alone.")
    arguments = parser.parse_args()
    corpus = read_corpus(arguments.folder)
    print(f"target: {arguments.per_day:.4f} false alarms a day and series")
    header = ("NAB", "prec.", "found", "delay h", "false/day", "false")
    print(f"  {'':<40} {header[0]:>7} {header[1]} {header[2]:>7} {' '.join(header[3:])}")
    for name in detectors(1):
        if not name.startswith(arguments.only):
            continue
        for seed in range(1, 1 + (SEEDS if is_random(name) else 1)):
            results = evaluate(corpus, detectors(seed)[name], arguments.per_day)
            title = f"{name}, seed {seed}" if is_random(name) else name
            if not arguments.brief:
                print(title)
                for series, result in results.items():
                    print(line(series, result))
            print(line(f"total of {title}", total(results)))


if __name__ == "__main__":
    main()
