"""`python -m tests.anomalies.ticks ../shared/data/equity/tick/spy`: faults in real ticks, found.

The first day is learned; each seed then puts one fault of each kind into each later day. Printed:
false alarms a day of the untouched days, and per kind of fault how many were found, by the scorer's
own threshold for one false alarm a symbol and day, and at the score that one untouched bar a day
exceeds (which nobody knows beforehand).
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.anomalies.bars import Observation
from models.anomalies.market import MarketScore, MarketScorer
from tests.anomalies.faults import FAULTS, SECOND, Fault, Trades, bars_of, read_day, with_faults

PER_DAY = 1.0


@dataclass
class Found:
    """Faults by kind: put in, found by the own threshold, found at the known score; and alarms."""

    all: Counter[str] = field(default_factory=Counter)
    by_threshold: Counter[str] = field(default_factory=Counter)
    by_score: Counter[str] = field(default_factory=Counter)
    false_alarms: int = 0
    days: int = 0

    def recall(self) -> float:
        """Return the share found by the scorer's own threshold."""
        return self.by_threshold.total() / self.all.total()


def scored(
    scorer: MarketScorer, bars: Sequence[Observation]
) -> list[tuple[Observation, MarketScore]]:
    """Return each bar with its score, where the scorer is warm."""
    found = []
    for bar in bars:
        scorer.update(bar)
        if scorer.value is not None:
            found.append((bar, scorer.value))
    return found


def copy_of(scorer: MarketScorer) -> MarketScorer:
    """Return a scorer that goes on from here, by way of its state."""
    return MarketScorer.from_state(json.loads(json.dumps(scorer.state())), SECOND, PER_DAY)


def learned(days: Sequence[Trades]) -> MarketScorer:
    """Return a scorer that has seen these days."""
    scorer = MarketScorer(SECOND, PER_DAY)
    for day in days:
        for bar in bars_of(day):
            scorer.update(bar)
    return scorer


def known_score(results: Sequence[tuple[Observation, MarketScore]], days: int) -> float:
    """Return the score that one untouched bar a day exceeds."""
    return sorted((score.score for _, score in results), reverse=True)[days]


def judge(
    found: Found,
    results: Sequence[tuple[Observation, MarketScore]],
    faults: Sequence[Fault],
    score: float,
) -> None:
    """Count which faults were found in the scores of one day."""
    found.days += 1
    for fault in faults:
        inside = [each for bar, each in results if fault.first <= bar.start <= fault.last]
        found.all[fault.kind] += 1
        found.by_threshold[fault.kind] += any(each.is_anomaly for each in inside)
        found.by_score[fault.kind] += any(each.score > score for each in inside)
    found.false_alarms += sum(
        each.is_anomaly
        and not any(fault.first <= bar.start <= fault.last + 10 * SECOND for fault in faults)
        for bar, each in results
    )


def evaluate(days: Sequence[Trades], seeds: Sequence[int]) -> tuple[Found, Found]:
    """Return what was found in the untouched days after the first, and in those with faults."""
    warm = learned(days[:1])
    clean, faulty = Found(), Found()
    scorer = copy_of(warm)
    untouched = [scored(scorer, bars_of(day)) for day in days[1:]]
    score = known_score([each for day in untouched for each in day], len(untouched))
    for results in untouched:
        judge(clean, results, [], score)
    for seed in seeds:
        scorer = copy_of(warm)
        for number, day in enumerate(days[1:]):
            trades, faults = with_faults(day, 1_000 * seed + number)
            judge(faulty, scored(scorer, bars_of(trades)), faults, score)
    return clean, faulty


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    days = [read_day(path) for path in sorted(arguments.folder.glob("*_trade.zip"))]
    begin = time.process_time()
    clean, faulty = evaluate(days, range(arguments.seeds))
    took = time.process_time() - begin
    print(f"untouched: {clean.false_alarms} alarms in {clean.days} days")
    print(
        f"with faults: {faulty.all.total()} faults in {faulty.days} days, "
        f"{faulty.false_alarms / faulty.days:.2f} other alarms a day ({took:.0f} s of CPU)"
    )
    print(f"  {'':<14} {'own threshold':>14} {'known score':>14}")
    for kind in FAULTS:
        count = faulty.all[kind]
        print(
            f"  {kind:<14} {faulty.by_threshold[kind] / count:14.0%} "
            f"{faulty.by_score[kind] / count:14.0%}"
        )
    print(
        f"  {'all':<14} {faulty.recall():14.0%} "
        f"{faulty.by_score.total() / faulty.all.total():14.0%}"
    )


if __name__ == "__main__":
    main()
