"""The tasks that keep hours of what its bucket lets go: Flux, run by InfluxDB itself.

Bars of trades and of quotes become `bars_1h` and `quote_bars_1h` in the bucket without retention.
Each run makes every hour of the last day anew, and so takes in bars that came late, were revised,
or were written when InfluxDB was there again; the same hour again overwrites. A run that InfluxDB
was away for it makes up for, as of its own time.

Volume-weighted prices are left out: a sum of products is nothing that InfluxDB's storage computes,
and rows of a day of all symbols would have to go through Flux instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.durations import NANOSECONDS, format_duration
from app.sinks.influx_routes import Buckets

HOUR: Final = NANOSECONDS["h"]
#: Hours that each run makes anew, beside those that corrections may reach back.
OVERLAP_HOURS: Final = 24
#: After the hour's end, for its last bars.
OFFSET: Final = "5m"
#: Field and how its values of an hour become one, by measurement.
FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    "bars": {
        "open": "first", "high": "max", "low": "min", "close": "last",
        "volume": "sum", "trades": "sum",
    },
    "quote_bars": {
        "mid_open": "first", "mid_high": "max", "mid_low": "min", "mid_close": "last",
        "spread": "mean", "quotes": "sum",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it must be."""

    name: str
    flux: str


def source_interval(intervals: Sequence[int]) -> int | None:
    """Return the longest of the intervals that hours are made of; None: there is none."""
    return max((each for each in intervals if HOUR % each == 0), default=None)


def tasks(
    buckets: Buckets, prefix: str, intervals: Sequence[int], correction_horizon: int
) -> list[Task]:
    """Return the tasks of a deployment.

    Args:
        prefix: of their names.
        intervals: of its bars, in ns.
        correction_horizon: in ns, how far back bars are revised.
    """
    source = source_interval(intervals)
    if source is None:
        return []
    hours = OVERLAP_HOURS + -(-correction_horizon // HOUR)
    return [
        Task(name, _flux(name, buckets, measurement, format_duration(source), hours))
        for measurement in FIELDS
        for name in [f"{prefix}: {measurement}_1h"]
    ]


def _flux(name: str, buckets: Buckets, measurement: str, interval: str, hours: int) -> str:
    # A stream a field, with names as literals: only so InfluxDB's storage does the work.
    streams = [
        f"""    from(bucket: "{buckets.outputs.name}")
        |> range(start: start, stop: stop)
        |> filter(fn: (r) => r._measurement == "{measurement}" and r.interval == "{interval}" and \
r._field == "{field}")
        |> aggregateWindow(every: 1h, fn: {how}, createEmpty: false, timeSrc: "_start"),"""
        for field, how in FIELDS[measurement].items()
    ]
    return "\n".join(
        [
            'import "date"',
            "",
            f'option task = {{name: "{name}", every: 1h, offset: {OFFSET}}}',
            "",
            "stop = date.truncate(t: now(), unit: 1h)",
            f"start = date.sub(d: {hours}h, from: stop)",
            "",
            "union(tables: [",
            *streams,
            "])",
            f'    |> set(key: "_measurement", value: "{measurement}_1h")',
            '    |> drop(columns: ["interval"])',
            f'    |> to(bucket: "{buckets.history.name}")',
            "",
        ]
    )
