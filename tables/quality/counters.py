"""The counters of one symbol's day, by position; their names are the summary's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tables.quality.configuration import QualityConfiguration

(
    RECORDS,
    JUDGED,
    OUTLIERS,
    LEVEL_SHIFTS,
    DUPLICATES,
    COPIES,
    CROSSED_QUOTES,
    LOCKED_QUOTES,
    ZERO_QUOTES,
    WIDE_QUOTES,
    ZERO_SIZES,
    OFF_TICK,
    OUT_OF_SESSION,
    OUT_OF_ORDER,
    EARLIER_DAY,
    LATE,
    STALE,
    DISAGREEMENTS,
    SEQUENCE_GAPS,
    SEQUENCE_MISSING,
    SEQUENCE_FILLED,
    CORRECTIONS,
    GAP_EVENTS,
) = range(23)

#: Names by position; those of the gaps follow, by the configuration.
NAMES: Final[tuple[str, ...]] = (
    "records",
    "judged",
    "outliers",
    "level_shifts",
    "duplicates",
    "suspected_copies",
    "crossed",
    "locked",
    "zero_quotes",
    "wide",
    "zero_sizes",
    "off_tick",
    "out_of_session",
    "out_of_order",
    "earlier_day",
    "late",
    "stale",
    "disagreements",
    "sequence_gaps",
    "sequence_missing",
    "sequence_filled",
    "corrections",
    "gap_events",
)

#: Upper ends, included, of the buckets of append time minus event time, ns; one more has the rest.
LAG_BOUNDS: Final[tuple[int, ...]] = (
    0,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    30_000_000_000,
    300_000_000_000,
)


def counter_names(configuration: QualityConfiguration) -> tuple[str, ...]:
    """Return all names, in the counters' order."""
    return (*NAMES, *configuration.gap_names)


def percentile(buckets: Sequence[int], percent: int) -> int | None:
    """Return the upper end of the bucket that holds a percentile; None where there is no end.

    The percentile of n lags is the smallest one that at least `percent` of 100 do not exceed.
    """
    total = sum(buckets)
    wanted = -(-total * percent // 100)
    below = 0
    for bound, count in zip(LAG_BOUNDS, buckets, strict=False):
        below += count
        if total and below >= wanted:
            return bound
    return None
