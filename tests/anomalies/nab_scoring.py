"""The published scoring of the Numenta Anomaly Benchmark, written from its description.

Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms - the Numenta Anomaly
Benchmark", ICMLA 2015 (arXiv:1510.03336), section III, with what the benchmark's repository
(github.com/numenta/NAB) says of the edges:

- an alarm in an anomaly window counts by where it is: y runs from -1 at the window's first row to
  almost 0 at its last, and the alarm is worth s(y) / s(-1) with s(y) = 2 / (1 + e^(5y)) - 1; only
  the first alarm of a window counts; a window without one costs 1;
- an alarm outside costs 0.11 (standard profile) x s(y), y being the rows since the last window in
  widths of that window; 0.11 x -1 from three widths on, or where there was no window before;
- the first 15 % of the rows, at most 750, are probation: alarms there count for nothing;
- 100 is the perfect detector's sum and 0 that of one that never alarms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = 1.0, 0.11, 1.0
PROBATION_SHARE, PROBATION_ROWS = 0.15, 5_000

Window = tuple[int, int]


@dataclass(frozen=True)
class NabResult:
    """One detector on one series, or the sum of several."""

    raw: float
    windows: int
    detected: int
    false_alarms: int
    #: Of each detected window, from its first row to its first alarm, ns.
    delays: tuple[int, ...]
    #: Event time of the rows that count, ns.
    span: int

    @property
    def score(self) -> float:
        """The NAB score: 100 is perfect, 0 is silence."""
        null = -FALSE_NEGATIVE * self.windows
        return 100.0 * (self.raw - null) / (TRUE_POSITIVE * self.windows - null)

    @property
    def recall(self) -> float:
        return self.detected / self.windows

    @property
    def precision(self) -> float | None:
        """Of events: a detected window is one, each alarm outside of windows is one."""
        events = self.detected + self.false_alarms
        return self.detected / events if events else None

    @property
    def false_alarms_per_day(self) -> float:
        return self.false_alarms / (self.span / 86_400e9)

    def __add__(self, other: NabResult) -> NabResult:
        return NabResult(
            self.raw + other.raw,
            self.windows + other.windows,
            self.detected + other.detected,
            self.false_alarms + other.false_alarms,
            self.delays + other.delays,
            self.span + other.span,
        )


def probation(rows: int) -> int:
    """Return how many rows count for nothing."""
    return int(PROBATION_SHARE * min(rows, PROBATION_ROWS))


def sigmoid(position: float) -> float:
    """Return s(y): 0.987 at -1, 0 at 0, towards -1 after."""
    return -1.0 if position >= 3.0 else 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


def nab_result(
    times: Sequence[int], alarms: Sequence[bool], windows: Sequence[Window]
) -> NabResult:
    """Judge the alarms of one series; `windows` are first and last row's times, both included.

    Raises:
        ValueError: a window does not begin and end at a row.
    """
    begin = probation(len(times))
    place = {time: row for row, time in enumerate(times)}
    try:
        rows = [(place[first], place[last]) for first, last in sorted(windows)]
    except KeyError as error:
        raise ValueError(f"a window begins or ends at {error}, where there is no row") from error
    counted = [(first, last) for first, last in rows if last >= begin]
    raw, delays = 0.0, []
    for first, last in counted:
        found = next((row for row in range(max(first, begin), last + 1) if alarms[row]), None)
        if found is None:
            raw -= FALSE_NEGATIVE
            continue
        position = -(last - found + 1) / (last - first + 1)
        raw += TRUE_POSITIVE * sigmoid(position) / sigmoid(-1.0)
        delays.append(times[found] - times[first])
    false_alarms = 0
    for row in range(begin, len(times)):
        if not alarms[row] or any(first <= row <= last for first, last in rows):
            continue
        false_alarms += 1
        before = [each for each in rows if each[1] < row]
        position = (row - before[-1][1]) / (before[-1][1] - before[-1][0]) if before else 3.0
        raw += FALSE_POSITIVE * sigmoid(position)
    return NabResult(
        raw, len(counted), len(delays), false_alarms, tuple(delays), times[-1] - times[begin]
    )
