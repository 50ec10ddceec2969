"""What a sink has done since the start, for metrics, logs and commands."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal

from app.sinks.driver import (
    Flushed,
    SinkConflictError,
    SinkRefusesError,
    SinkUnavailableError,
)

#: Upper bounds of the histogram of flushes, in seconds; behind them is infinity.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: `limited`: asks for less; `fault`: neither the sink nor Kafka says what it is.
ErrorKind = Literal["unavailable", "limited", "refuses", "conflict", "fault", "broker"]


def kind_of(error: BaseException) -> ErrorKind:
    """Return the kind of an error of a driver."""
    if isinstance(error, SinkUnavailableError):
        return "limited" if error.limited else "unavailable"
    if isinstance(error, SinkRefusesError):
        return "refuses"
    return "conflict" if isinstance(error, SinkConflictError) else "fault"


@dataclass(slots=True)
class SinkStatus:
    """Counters since the start of the process, and what holds now.

    Attributes:
        rows: points, rows or keys that were written.
        dead: records in the dead-letter topic.
        retries: attempts after one that has failed.
        errors: failed attempts by kind.
        passed: records that give nothing to write, by reason.
        flushes: by bucket, the last is infinity; not cumulative.
        flush_seconds: of all of them.
        last_write: monotonic seconds of the last flush that wrote something.
        last_error: the line of the last failure; empty while the sink works.
        lag: records that are not written, by topic, as of the last look.
    """

    rows: int = 0
    dead: int = 0
    retries: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    flushes: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    flush_seconds: float = 0.0
    last_write: float | None = None
    last_error: str = ""
    lag: dict[str, int] = field(default_factory=dict)

    def flushed(self, flushed: Flushed, seconds: float, now: float) -> None:
        """Count a flush that has returned; `now` is monotonic."""
        self.rows += flushed.rows
        self.passed.update(flushed.passed)
        self.flushes[bisect_left(BUCKETS, seconds)] += 1
        self.flush_seconds += seconds
        if flushed.rows:
            self.last_write = now
