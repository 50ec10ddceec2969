"""The records of the topic `quality`, as pydantic models: the published contract.

Their msgspec twins are `QualityEventRecord` and `QualitySummaryRecord` (tables/quality/events.py,
where each field is explained); `tests/unit/test_quality_partition.py` holds the two equal. Times
are event times in integer nanoseconds since the epoch, UTC; lengths are ns; a session is yyyymmdd.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.contracts.records import Contract, Symbol

Count = Annotated[int, Field(ge=0, strict=True)]
Share = Annotated[float, Field(ge=0, le=1)]


class QualityEvent(Contract):
    """One finding; (`input`, `symbol`, `kind`, `offset`) names it, `offset` in the topic `input`.

    `value` is what was measured and `limit` what it went beyond: ns of open time for gap and stale,
    prices for outlier and level_shift, shares for disagreement and incomplete, missing numbers for
    sequence_gap, null for the others. `details` depends on the kind.
    """

    type: Literal["event"]
    symbol: Symbol
    kind: Literal[
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
    event_time: Count
    offset: Count
    session: Count
    severity: Literal["info", "warning", "critical"]
    value: float | None
    limit: float | None
    details: dict[str, int | float | str | None]
    input: Literal["ticks", "quotes"]


class QualitySummary(Contract):
    """One symbol's day so far, of one input; the highest `revision` holds.

    `completeness` is `seen / expected`: sequence numbers where `method` is `sequence`, else ns of
    open time; null where nothing was expected. `lag_*` are percentiles of append time minus event
    time, as upper ends of the buckets that `lags` counts. `counts` are of records and findings.
    """

    type: Literal["summary"]
    symbol: Symbol
    session: Count
    start: int
    end: int
    open: int | None
    close: int | None
    first_time: Count | None
    last_time: Count | None
    method: Literal["sequence", "time"]
    expected: Count
    seen: Count
    completeness: Share | None
    longest_gap: Count
    lag_p50: Count | None
    lag_p95: Count | None
    lag_p99: Count | None
    lags: tuple[Count, ...]
    counts: dict[str, Count]
    revision: Count
    is_final: bool
    input: Literal["ticks", "quotes"]
