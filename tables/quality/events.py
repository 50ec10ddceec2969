"""What the quality checks tell: events as they are found, a summary of each symbol and day."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Severity = Literal["info", "warning", "critical"]
Kind = Literal[
    "gap",
    "stale",
    "outlier",
    "level_shift",
    "duplicate",
    "crossed",
    "zero_quote",
    "disagreement",
    "sequence_gap",
    "incomplete",
]
Detail = int | float | str | None
#: Topic whose record an offset names.
Input = Literal["ticks", "quotes"]

#: What `take` says of a record; a record without any of them belongs to the cleaned data.
OUTLIER: Final = 1
DUPLICATE: Final = 2
CROSSED: Final = 4
ZERO: Final = 8
FLAG_NAMES: Final[dict[int, str]] = {
    OUTLIER: "outlier",
    DUPLICATE: "duplicate",
    CROSSED: "crossed",
    ZERO: "zero_quote",
}


class QualityEvent(msgspec.Struct, frozen=True):
    """One finding. Its identity is (symbol, kind, offset), `offset` that of the record it is about
    or that moved the clock. `event_time` and lengths in ns; `session` as yyyymmdd.

    `value` is what was measured and `limit` what it went beyond, in the unit of the kind:

    - gap, stale: ns of open time without a record;
    - outlier, level_shift: the price, and the nearest price that would have passed;
    - duplicate, crossed, zero_quote: none; they tell the first of a run, the summary counts all;
    - disagreement: share by which two sources' prices differ;
    - sequence_gap: numbers that are missing, 0;
    - incomplete: completeness of the session, its goal.
    """

    symbol: str
    kind: Kind
    event_time: int
    offset: int
    session: int
    severity: Severity
    value: float | None
    limit: float | None
    details: dict[str, Detail]


class QualitySummary(msgspec.Struct, frozen=True):
    """One symbol's day; the highest `revision` holds.

    `expected` and `seen` are sequence numbers where `method` is `sequence`, else ns of open time;
    `completeness` is their quotient, None where nothing was expected. `lag_*` are percentiles of
    append time minus event time, in ns, as the upper end of a fixed bucket (`LAG_BOUNDS`); None
    without records, for historical ones, and beyond the last bound. `counts` are by name, in a
    fixed order.
    """

    symbol: str
    session: int
    start: int
    end: int
    open: int | None
    close: int | None
    first_time: int | None
    last_time: int | None
    method: Literal["sequence", "time"]
    expected: int
    seen: int
    completeness: float | None
    longest_gap: int
    lag_p50: int | None
    lag_p95: int | None
    lag_p99: int | None
    lags: tuple[int, ...]
    counts: dict[str, int]
    revision: int
    is_final: bool


Output = QualityEvent | QualitySummary


class QualityEventRecord(QualityEvent, frozen=True, tag_field="type", tag="event"):
    """A `QualityEvent` as published; (`input`, symbol, kind, offset) names it."""

    input: Input


class QualitySummaryRecord(QualitySummary, frozen=True, tag_field="type", tag="summary"):
    """A `QualitySummary` as published; (`input`, symbol, session, revision) names it."""

    input: Input


def published(output: Output, source: Input) -> QualityEventRecord | QualitySummaryRecord:
    """Return an output as its topic has it: trades' and quotes' lie there side by side."""
    fields = [*msgspec.structs.astuple(output), source]
    if isinstance(output, QualityEvent):
        return QualityEventRecord(*fields)
    return QualitySummaryRecord(*fields)
