"""`python -m tests.bench.serving`: what a closed bar costs in predictions, without Kafka.

A partition of the predictions agent is fed fetches of one bar of each symbol, as when a second
ends: indicators decoded, features, predictions of all versions with their intervals, what became of
earlier ones, records encoded (`apply`); then the rows that a checkpoint stores (`take`). First a
champion alone, then a challenger beside it. Processor time, of the median and of the quickest
fetch, since another process on the machine must not count.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

from app.contracts.wire import IndicatorsRecord, encoder
from models.predicting.features_returns import Returns
from models.predicting.planted import planted_bars
from tables.indicators.base import Context
from tables.indicators.registry import DEFAULT_INDICATORS, parse_indicators
from tables.indicators.sets import IndicatorSet
from tests.bench.forecasters import MODEL, TOLD, promote, publish
from tests.unit.serving_feeding import Served, wants

#: The default ones, and what features read beside them.
INDICATORS = f"{DEFAULT_INDICATORS},CLOSE,VOLUME"
#: Paths of prices; symbols share them.
PATHS = 20
#: Fetches after the warm-up before anything is timed: predictions have their outcomes by then.
SETTLE = 12
#: Fetches of a champion alone, and with a challenger.
PHASES = ("champion", "champion and challenger")


def fetches(symbols: int, count: int) -> list[list[bytes]]:
    """Return fetches of one record of each symbol."""
    sets = [IndicatorSet(parse_indicators(INDICATORS), Context()) for _ in range(PATHS)]
    names = tuple(f"P{number:02d}" for number in range(PATHS))
    made = planted_bars(count, 1.0, symbols=names)
    found = []
    for begin in range(0, len(made), PATHS):
        values = []
        for held, bar in zip(sets, made[begin : begin + PATHS], strict=True):
            held.take(bar)
            record = IndicatorsRecord("?", bar.interval, bar.start, 0, held.exact, held.values())
            values.append(encoder.encode(record))
        found.append(
            [
                values[number % PATHS].replace(b'"?"', b'"SYM%05d"' % number, 1)
                for number in range(symbols)
            ]
        )
    return found


def measure(folder: Path, symbols: int, rounds: int) -> tuple[dict[str, float], str]:
    """Return us a bar by what they are of; and the SHA-256 of all that was published."""
    served = Served(folder, wanted=wants(kinds=[Returns], intervals={MODEL: "1m"}))
    first, second = (publish(served.registry, seed, "1m") for seed in (1, 2))
    promote(served.registry, first.version)
    served.catalog.refresh()
    served.feed(list(served.state.announcements()))
    warm = Returns.plan().warm_up + SETTLE
    # A journal is full after so many checkpoints, and then the entry is stored whole.
    every = served.state.LENGTH + 1
    rounds = -(-rounds // every) * every
    values = fetches(symbols, warm + SETTLE + 2 * rounds)
    applied: dict[str, list[int]] = {each: [] for each in PHASES}
    stored: dict[str, list[int]] = {each: [] for each in PHASES}
    gc.collect()
    gc.freeze()
    for number, fetch in enumerate(values):
        if number == warm + rounds:
            promote(served.registry, second.version, "challenger")
            served.catalog.refresh()
            served.feed(list(served.state.announcements()))
        begin = time.thread_time_ns()
        served.feed(fetch)
        middle = time.thread_time_ns()
        served.checkpoint()
        end = time.thread_time_ns()
        phase = PHASES[number >= warm + rounds]
        if number >= warm and not warm + rounds <= number < warm + rounds + SETTLE:
            applied[phase].append(middle - begin)
            stored[phase].append(end - middle)
    figures = {}
    for phase in PHASES:
        figures[f"{phase}: apply, median"] = median(applied[phase]) / symbols / 1e3
        figures[f"{phase}: apply, least"] = min(applied[phase]) / symbols / 1e3
        # Whole entries come together here, once in so many fetches.
        figures[f"{phase}: take and store, mean"] = (
            sum(stored[phase]) / len(stored[phase]) / symbols / 1e3
        )
    digest = hashlib.sha256()
    for output, records in sorted(served.published.items()):
        for each in records:
            digest.update(b"%b %b\n" % (output.encode(), each.value))
    for key, row in sorted(served.rows.items()):
        digest.update(b"%b %b\n" % (key, row))
    return figures, digest.hexdigest()


def main() -> None:
    """Measure in a temporary folder, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.serving", description=__doc__)
    parser.add_argument("--symbols", type=int, default=1_000, help="of a partition, 1,000 at most")
    parser.add_argument("--rounds", type=int, default=34, help="fetches of each kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="candlewick-serving-") as name:
        figures, digest = measure(Path(name), chosen.symbols, chosen.rounds)
    print(
        f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, xgboost-cpu "
        f"{version('xgboost-cpu')}: {chosen.symbols:,} symbols, {TOLD}, us a bar"
    )
    for text, figure in figures.items():
        print(f"{figure:10.1f}  {text}")
    print(f"SHA-256 of all that was published and stored: {digest}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
