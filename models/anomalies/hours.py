"""What is normal in this hour of the day, for several features at once.

Two kinds of features. *Either side* (a return, a log volume): robust z by median and MAD, as
`robust.RobustScale`. *Large* (a wick, a gap, a run), which is mostly the least it can be, so that
its MAD says nothing: how many times its mean it is, the natural measure of waiting times.

Made for ten thousand symbols: one row of 32-bit floats an hour that was seen, and one row over all
hours, from which a new hour begins. Hours are UTC: a change of local clocks moves them, until the
rows have followed.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from models.anomalies.packing import pack, unpack
from models.anomalies.robust import FLOOR, MAD_OF_NORMAL, MAD_STEP, MEDIAN_STEP, MOST_Z

_HOUR = 3_600_000_000_000
#: What a new hour's row, a copy of that of all hours, counts for.
_PRIOR = 20.0
_LEAST_SCALE = 1e-12
#: An item counts in a mean as at most this many times the mean: one outlier is none.
_CAPPED = 10.0


class HourlyScales:
    """How far out features are, by the hour; part of a scorer, and of its state.

    Args:
        sided: features with a robust z; they come first.
        large: features that are a number of times their mean; at least 0 each.
        memory: items of an hour after which old ones have faded.
    """

    __slots__ = ("_all", "_deviations", "_rows", "large", "memory", "sided")

    def __init__(self, sided: int, large: int, memory: int) -> None:
        self.sided = sided
        self.large = large
        self.memory = memory
        #: Items; median and MAD of each feature of the first kind; mean of each of the second.
        self._all = array("f", bytes(4 * self._width))
        self._deviations = array("f", bytes(4 * sided))
        self._rows: dict[int, array[float]] = {}

    @property
    def _width(self) -> int:
        return 1 + 2 * self.sided + self.large

    def z(self, time: int, features: Sequence[float]) -> list[float]:
        """Return the z, or the number of means, of each feature, by what was learned before."""
        row = self._rows.get(time // _HOUR % 24, self._all)
        found = []
        at = 1
        for index, deviation in enumerate(self._deviations):
            scale = row[at + 1] / MAD_OF_NORMAL
            floor = FLOOR * deviation
            if scale < floor:
                scale = floor
            if scale < _LEAST_SCALE:
                scale = _LEAST_SCALE
            z = (features[index] - row[at]) / scale
            found.append(z if -MOST_Z < z < MOST_Z else MOST_Z if z > 0.0 else -MOST_Z)
            at += 2
        for feature in features[self.sided :]:
            mean = row[at]
            times = feature / (mean if mean > _LEAST_SCALE else _LEAST_SCALE)
            found.append(times if times < MOST_Z else MOST_Z)
            at += 1
        return found

    def learn(self, time: int, features: Sequence[float]) -> None:
        """Take an item in."""
        everything = self._all
        hour = time // _HOUR % 24
        row = self._rows.get(hour)
        if row is None:
            row = self._rows[hour] = array("f", everything)
            row[0] = min(row[0], _PRIOR)
        memory = 24.0 * self.memory
        count = everything[0] + 1.0
        weight = 1.0 / (count if count < memory else memory)
        deviations = self._deviations
        at = 1
        for index, deviation in enumerate(deviations):
            away = abs(features[index] - everything[at])
            bound = _CAPPED * (everything[at + 1] + deviation)
            if away > bound and count > _PRIOR:
                away = bound
            deviations[index] = deviation + (away - deviation) * weight
            at += 2
        self._follow(everything, features, memory)
        self._follow(row, features, float(self.memory))

    def _follow(self, row: array[float], features: Sequence[float], memory: float) -> None:
        count = row[0] + 1.0
        row[0] = count if count < memory else memory
        weight = 1.0 / row[0]
        at = 1
        for index, deviation in enumerate(self._deviations):
            feature = features[index]
            median, mad = row[at], row[at + 1]
            floor = FLOOR * MAD_OF_NORMAL * deviation
            scale = (mad if mad > floor else floor) * weight
            away = feature - median
            distance = away if away > 0.0 else -away
            step = MEDIAN_STEP * scale
            if distance <= step or count < 2.0:
                row[at] = feature
            else:
                row[at] = median + step if away > 0.0 else median - step
            step = MAD_STEP * scale
            if distance > mad + step:
                row[at + 1] = mad + step
            elif distance < mad - step:
                row[at + 1] = mad - step
            else:
                row[at + 1] = distance
            at += 2
        for feature in features[self.sided :]:
            mean = row[at]
            if count > _PRIOR and feature > _CAPPED * mean > 0.0:
                feature = _CAPPED * mean
            row[at] = mean + (feature - mean) * weight
            at += 1

    def content(self) -> list[object]:
        """Return plain values: the hours in order, and a text of packed numbers."""
        hours = sorted(self._rows)
        packed = array("f", self._all)
        packed.extend(self._deviations)
        for hour in hours:
            packed.extend(self._rows[hour])
        return [hours, pack(packed)]

    def restore(self, content: list[object]) -> None:
        """Take in what `content` returned.

        Raises:
            ValueError: it is not of as many features.
        """
        hours, text = content
        if not isinstance(hours, list) or not isinstance(text, str):
            raise ValueError("expected hours and a text")
        width = self._width
        packed = unpack("f", text, width * (1 + len(hours)) + self.sided)
        self._all = packed[:width]
        self._deviations = packed[width : width + self.sided]
        begin = width + self.sided
        self._rows = {
            hour: packed[begin + index * width : begin + (index + 1) * width]
            for index, hour in enumerate(hours)
        }
