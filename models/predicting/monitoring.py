"""What a partition knows of a version at work: its errors, its intervals, its inputs.

What comes in, in the order of the log:

- `advance(time)`, for each record before what it brings: says when an hour of event time is over,
  and then the owner publishes `record(...)`;
- `count(rows)`, rows of features that were predicted from, in any pieces between two advances;
- `update(realised)`, what became of one prediction.

What is kept: sums (`MonitoringSums`), `DriftCounts`, and beside a champion `PairedBlocks`. All are
bounded and a function of the log. What goes out: `value`, and a `MonitoringRecord` an hour.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from app.durations import parse_duration
from models.predicting.conformal import RECENT
from models.predicting.drift import DriftCounts, DriftReference, Rows, drift_reference
from models.predicting.manifest import Description
from models.predicting.monitoring_pairs import HOUR, Champion, PairedBlocks, block_length
from models.predicting.monitoring_records import Figures, MonitoringRecord, MonitoringSums
from models.predicting.monitoring_summaries import figures
from tables.learning import Learner, State

#: Of a day of event time, which ends at midnight UTC.
_HOURS: Final = 24
#: An error counts as so much at most: squares of its square must be finite.
_MOST: Final = 1e60


class Realised(NamedTuple):
    """What became of a prediction; the first four as `conformal.Outcome`.

    Attributes:
        prediction: return over the horizon.
        low, high: of the interval that was published with it; None where none was.
        target: the return that came.
        previous: return over the horizon up to the row; None where it is not known.
        time: of the row, ns: the end of its bar.
        champion: what the champion predicted for the same row; None where it did not, and of the
            champion itself.
    """

    prediction: float
    low: float | None
    high: float | None
    target: float
    previous: float | None
    time: int
    champion: Champion | None = None


class VersionMonitor(Learner[Realised, Figures]):
    """Watches one version in one role, in one partition.

    Args:
        reference: where the features lay in training; None where the version does not say.
        names: of the features; as many as the reference has.
        block: length of the blocks of the comparison with the champion, ns.
    """

    __slots__ = ("_drift", "_hour", "_pairs", "_since", "_sums", "block", "names", "reference")

    def __init__(
        self,
        reference: DriftReference | None = None,
        names: Sequence[str] = (),
        block: int = HOUR,
    ) -> None:
        if reference is not None and len(names) != len(reference.cuts):
            raise ValueError(f"{len(names)} names, a reference of {len(reference.cuts)} features")
        self.reference = reference
        self.names = tuple(names)
        self.block = block
        self._since: int | None = None
        self._hour: int | None = None
        self._sums = MonitoringSums()
        self._drift = DriftCounts(reference) if reference is not None else None
        self._pairs: PairedBlocks | None = None

    @staticmethod
    def parameters(version: Description) -> dict[str, Any]:
        """Return what a monitor of a version is made with, and `from_state`."""
        return {
            "reference": version.drift,
            "names": version.feature_names,
            "block": block_length(parse_duration(version.interval), version.horizon),
        }

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        """Return parameter sets for the discovered checks."""
        rows = np.random.default_rng(5).standard_normal((100, 2)).astype(np.float32)
        return [{}, {"reference": drift_reference(rows), "names": ("one", "two")}]

    @classmethod
    def sample(cls, seed: int, count: int) -> list[Realised]:
        """Return items for the discovered checks: one an hour, the champion moved a few times."""
        chance = random.Random(seed)
        items = []
        for number in range(count):
            middle, half = chance.gauss(0, 0.1), 1.6 * chance.random() + 1.0
            moves = number // 150 % 3 + number // 450
            champion = Champion(moves, moves % 2, chance.gauss(0, 0.1))
            items.append(
                Realised(
                    middle,
                    middle - half,
                    middle + half,
                    chance.gauss(0, 1),
                    chance.gauss(0, 1) if chance.random() < 0.9 else None,
                    number * HOUR,
                    champion if chance.random() < 0.9 else None,
                )
            )
        return items

    @classmethod
    def hostile(cls, seed: int, count: int) -> list[Realised]:
        """Return items to fear for the discovered checks."""
        chance = random.Random(seed)
        kinds = (0.0, -0.0, 1.0, -1.0, 1e300, -1.7e308, 1.7e308, 5e-324, 1e-9)
        times = (0, 1, HOUR, 2**63 - 1, 10**18)
        return [
            Realised(
                chance.choice(kinds),
                low,
                None if low is None else chance.choice((1.0, 1.7e308)),
                chance.choice(kinds),
                chance.choice((None, *kinds)),
                chance.choice((*times, chance.randrange(2**63))),
                chance.choice((None, Champion(1, 1, chance.choice(kinds)))),
            )
            for low in (chance.choice((None, -1.0, -1.7e308)) for _ in range(count))
        ]

    @property
    def value(self) -> Figures | None:
        """What is known so far; None before any outcome or row."""
        found = self._figures()
        return found if found.outcomes or found.rows else None

    def _figures(self) -> Figures:
        return figures(self._sums, self._counts(), self.reference)

    def _counts(self) -> dict[str, tuple[int, ...]]:
        if self._drift is None:
            return {}
        return dict(zip(self.names, self._drift.counts, strict=True))

    def advance(self, time: int) -> int | None:
        """Tell event time, ns; return the end of the hour that is over by it, once.

        Hours in which no time was told are passed over; a time before the last one tells nothing.
        What came by now is of the hour that is over, and `record` is to be asked for it before
        anything else comes. With the hour may end a day of the drift counts.
        """
        hour = time // HOUR
        if self._hour is None or self._since is None:
            self._hour, self._since = hour, time
            return None
        if hour <= self._hour:
            return None
        over = (self._hour + 1) * HOUR
        if self._drift is not None and hour // _HOURS > self._hour // _HOURS:
            self._drift.close_day()
        self._hour = hour
        return over

    def count(self, rows: Rows) -> None:
        """Count rows of features: float32, shape (rows, features), NaN where there is nothing.

        Raises:
            ValueError: another type or number of columns.
        """
        if self._drift is not None:
            self._drift.count(rows)

    def update(self, item: Realised) -> None:
        """Take what became of a prediction.

        Raises:
            ValueError: something in it is not a number; nothing was taken.
        """
        prediction, low, high, target, previous, time, champion = item
        error = _error(target, prediction)
        squared = error * error
        zero = _error(target, 0.0) ** 2
        last = _error(target, previous) ** 2 if previous is not None else zero
        width = _error(high, low) if low is not None and high is not None else None
        other = _error(target, champion.prediction) ** 2 if champion is not None else 0.0
        sums = self._sums
        sums.outcomes += 1
        sums.squared_error += squared
        sums.squared_zero += zero
        sums.squared_last_value += last
        sums.absolute_error += error
        if prediction and target:
            sums.signed += 1
            sums.hits += (prediction > 0) == (target > 0)
        fading = 1 - 1 / RECENT
        sums.recent_outcomes = sums.recent_outcomes * fading + 1
        sums.recent_squared_error = sums.recent_squared_error * fading + squared
        sums.recent_squared_zero = sums.recent_squared_zero * fading + zero
        if low is not None and high is not None and width is not None:
            inside = low <= target <= high
            sums.intervals += 1
            sums.inside += inside
            sums.width += width
            sums.recent_intervals = sums.recent_intervals * fading + 1
            sums.recent_inside = sums.recent_inside * fading + inside
        if champion is not None:
            self._pair(time, champion, other, squared)

    def _pair(self, time: int, champion: Champion, other: float, own: float) -> None:
        held = self._pairs
        if held is None or held.generation < champion.generation:
            held = PairedBlocks(self.block, champion.generation, champion.version)
            self._pairs = held
        # Labels of a champion that has gone come a horizon later; they are left out.
        if held.generation == champion.generation:
            held.add(time, other, own)

    def record(
        self, model: str, alias: str, version: int, partition: int, until: int
    ) -> MonitoringRecord:
        """Return what is known, for the topic; `until` as `advance` has said."""
        return MonitoringRecord(
            model=model,
            alias=alias,
            version=version,
            partitions=(partition,),
            since=self._since if self._since is not None else until,
            until=until,
            figures=self._figures(),
            sums=msgspec.structs.replace(self._sums),
            drift=self._counts(),
            paired=self._pairs.sums if self._pairs is not None else None,
        )

    def _content(self) -> State:
        return [
            self._since,
            self._hour,
            list(msgspec.structs.astuple(self._sums)),
            self._drift.state() if self._drift is not None else None,
            self._pairs.state() if self._pairs is not None else None,
        ]

    def _restore(self, content: State) -> None:
        since, hour, sums, drift, pairs = content
        if (drift is None) != (self.reference is None):
            raise ValueError("drift counts without a reference, or the other way around")
        names = MonitoringSums.__struct_fields__
        self._sums = msgspec.convert(dict(zip(names, sums, strict=True)), MonitoringSums)
        if self.reference is not None:
            self._drift = DriftCounts.from_state(drift, self.reference)
        self._pairs = PairedBlocks.from_state(pairs, self.block) if pairs is not None else None
        self._since, self._hour = since, hour


def _error(one: float, other: float) -> float:
    """Return the distance, bounded so that squares of sums of squares are finite."""
    distance = abs(one - other)
    if math.isnan(distance):
        raise ValueError(f"a distance of {one} and {other}; expected numbers")
    return min(distance, _MOST)
