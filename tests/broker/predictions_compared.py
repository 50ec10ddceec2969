"""Live predictions beside those of the batch; outcomes beside training, and beside monitoring."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from app.contracts.predictions import OutcomeRecord, PredictionRecord
from app.contracts.wire import BarRecord
from app.durations import parse_duration
from models.predicting.building import MarketOf, build
from models.predicting.features_returns import Returns
from tests.chaos.deployment import Read

HOUR = 3_600_000_000_000
#: Symbol, and start of a bar (ns).
Place = tuple[str, int]


class Difference(NamedTuple):
    """A row that the batch has otherwise.

    Attributes:
        place: of the bar.
        exact: what the live record says of itself.
        prediction: whether the prediction differs, not only its bounds.
        width: difference of the widths of the intervals, as a share of the batch's.
    """

    place: Place
    exact: bool
    prediction: bool
    width: float


@dataclass
class Compared:
    """A model's rows, live beside batch.

    Attributes:
        rows: how many were compared.
        records: that were published for them, with those of lower revisions.
        inexact: rows that say so of themselves.
        stale: bars whose last revision came too late to be predicted from.
        only_live, only_batch: rows that the other one lacks.
        differences: in bits.
    """

    rows: int
    records: int
    inexact: set[Place]
    stale: set[Place]
    only_live: set[Place]
    only_batch: set[Place]
    differences: list[Difference] = field(default_factory=list)

    @property
    def predictions(self) -> list[Difference]:
        """Rows whose prediction differs."""
        return [each for each in self.differences if each.prediction]

    def __str__(self) -> str:
        text = (
            f"{self.rows:,} rows of {self.records:,} records, not exact {len(self.inexact):,}, "
            f"bars revised too late {len(self.stale):,}; predictions that differ "
            f"{len(self.predictions):,}, rows of which anything differs {len(self.differences):,}"
        )
        if not self.differences:
            return text
        silent = [each for each in self.differences if each.exact]
        widths = [each.width for each in self.differences if not each.prediction]
        return (
            f"{text} ({len(silent):,} of them exact, {sum(each.prediction for each in silent):,} "
            f"with another prediction); widths of others by {max(widths, default=0):.2g} at most"
        )


def compare(
    live: Sequence[PredictionRecord],
    batch: Iterable[Mapping[str, Any]],
    bars: Mapping[Place, int],
) -> Compared:
    """Compare a model's rows, bit for bit.

    Args:
        live: all records, in the order of their partitions.
        batch: rows as `candlewick predict` writes them.
        bars: the highest revision of each bar.
    """
    held: dict[Place, PredictionRecord] = {}
    for record in live:
        place = record.symbol, record.start
        if place not in held or record.revision > held[place].revision:
            held[place] = record
    rows = {(row["symbol"], row["start_ns"]): row for row in batch}
    found = Compared(
        rows=len(rows),
        records=len(live),
        inexact={place for place, record in held.items() if not record.exact},
        stale={place for place, record in held.items() if record.revision < bars[place]},
        only_live=held.keys() - rows.keys(),
        only_batch=rows.keys() - held.keys(),
    )
    for place in sorted(held.keys() & rows.keys()):
        record, row = held[place], rows[place]
        same = repr(record.prediction) == repr(row["prediction"])
        if same and repr((record.low, record.high)) == repr((row["low"], row["high"])):
            continue
        width = abs(_width(record.low, record.high) / _width(row["low"], row["high"]) - 1)
        found.differences.append(Difference(place, record.exact, not same, width))
    return found


def _width(low: float | None, high: float | None) -> float:
    assert low is not None
    assert high is not None
    return high - low


class Known(NamedTuple):
    """What is known of a model at the end of an hour of event time."""

    outcomes: int = 0
    intervals: int = 0
    inside: int = 0
    squared_error: float = 0.0

    def plus(self, outcome: OutcomeRecord) -> Known:
        """Take an outcome in."""
        error = abs(outcome.target - outcome.prediction)
        return Known(
            self.outcomes + 1,
            self.intervals + (outcome.inside is not None),
            self.inside + bool(outcome.inside),
            self.squared_error + error * error,
        )


def hours(
    log: Sequence[Read], outcomes: Sequence[OutcomeRecord], lengths: Mapping[str, int]
) -> dict[tuple[str, int], Known]:
    """What monitoring must say, by model and end of the hour: counted from one partition's logs.

    A label is known with the first bar of its symbol that begins at or after its own bar's end; an
    hour is over with the first bar of any symbol that ends in another one, before that is judged.

    Args:
        log: of the indicators.
        outcomes: as published.
        lengths: ns of the bars, by interval.
    """
    waiting: dict[tuple[str, str], deque[OutcomeRecord]] = defaultdict(deque)
    for each in outcomes:
        waiting[each.symbol, each.interval].append(each)
    models = sorted({each.model for each in outcomes})
    now = dict.fromkeys(models, Known())
    found: dict[tuple[str, int], Known] = {}
    reached: int | None = None
    for record in log:
        value = json.loads(record.value or b"")
        if value.get("type") == "alias":
            continue
        hour = (value["start"] + lengths[value["interval"]]) // HOUR
        if reached is None or hour > reached:
            if reached is not None:
                found |= {(model, (reached + 1) * HOUR): now[model] for model in models}
            reached = hour
        queue = waiting[value["symbol"], value["interval"]]
        while queue and queue[0].realised <= value["start"]:
            each = queue.popleft()
            now[each.model] = now[each.model].plus(each)
    assert not any(waiting.values()), "outcomes of labels that no bar has made known"
    return found


def other_targets(
    bars: Sequence[BarRecord], horizon: int, market_of: MarketOf, outcomes: Sequence[OutcomeRecord]
) -> set[Place]:
    """Outcomes whose return is not what training takes from the bars.

    Each has one, but for the newest bars, which nothing has closed yet.
    """
    rows = build(bars, Returns, horizon, market_of=market_of)
    length = parse_duration(rows.interval)
    places = zip(rows.symbol.tolist(), rows.time.tolist(), rows.target.tolist(), strict=True)
    wanted = {(rows.symbols[number], time - length): target for number, time, target in places}
    found = {(each.symbol, each.start): each.target for each in outcomes}
    assert len(found) == len(outcomes)
    newest = {bar.symbol: bar.start for bar in sorted(bars, key=lambda bar: bar.start)}
    unjudged = {(symbol, start - horizon * length) for symbol, start in newest.items()}
    assert found.keys() == wanted.keys() - unjudged
    return {place for place, target in found.items() if repr(target) != repr(wanted[place])}


def coverage(outcomes: Sequence[OutcomeRecord]) -> tuple[float, int]:
    """Share of targets inside, and of how many."""
    found = [each.inside for each in outcomes if each.inside is not None]
    return sum(found) / len(found), len(found)


def parts(outcomes: Sequence[OutcomeRecord]) -> str:
    """Coverage by symbol and day."""
    found: dict[str, list[OutcomeRecord]] = {}
    for each in outcomes:
        day = datetime.fromtimestamp(each.start / 1e9, UTC)
        found.setdefault(f"{each.symbol} {day:%m-%d}", []).append(each)
    shares = {name: coverage(own) for name, own in sorted(found.items())}
    return ", ".join(f"{name} {share:.1%} of {count:,}" for name, (share, count) in shares.items())
