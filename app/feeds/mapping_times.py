"""Stamps of other people's files to nanoseconds since the epoch: units, ISO text, local time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from app.contracts.records import MAX_TIME

TimeUnit = Literal["s", "ms", "us", "ns", "iso"]
#: Decimal places between a unit and a nanosecond.
PLACES: Final[dict[str, int]] = {"s": 9, "ms": 6, "us": 3, "ns": 0}
#: Offsets change on full quarters of an hour everywhere, since 1973.
QUARTER_NS: Final = 900 * 1_000_000_000
_OFFSET: Final = r"\d:\d\d(:\d\d([.,]\d+)?)? ?(Z|[+-]\d\d(:?\d\d)?)$"
_EPOCH: Final = datetime(1970, 1, 1)

Times = npt.NDArray[np.int64]


def nanoseconds(column: Any, unit: TimeUnit | None, zone: ZoneInfo | None) -> Times:
    """An Arrow column without nulls as nanoseconds since the epoch.

    Numbers, also as text and with a fraction, are in `unit`; without one they are nanoseconds. Text
    is ISO 8601. A stamp without an offset is of the clocks of `zone`.

    Raises:
        ValueError: a stamp that is none, or that those clocks have shown twice or never; it says
            what is expected, and of which text if the column has but one row.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        stamps = column.cast(pa.timestamp("ns", kind.tz)).cast(pa.int64()).to_numpy()
        return stamps if kind.tz is not None else _local(stamps, zone)
    if pa.types.is_integer(kind):
        if unit == "iso":
            raise ValueError("is a number; expected ISO 8601 text")
        return _scaled(column.cast(pa.string()), unit or "ns")
    if not pa.types.is_string(kind):
        raise ValueError(f"is {kind}; expected whole numbers, text or a timestamp")
    if unit == "iso":
        return _iso(column, zone)
    if unit is not None:
        return _scaled(column, unit)
    return _either(
        pa.compute.match_substring_regex(column, r"^\d+$"),
        column,
        lambda digits: _scaled(digits, "ns"),
        lambda texts: _iso(texts, zone),
    )


def _either(
    mask: Any, column: Any, where: Callable[[Any], Times], elsewhere: Callable[[Any], Times]
) -> Times:
    """One function for the rows of a mask, another one for the others."""
    chosen = np.asarray(mask.to_numpy(zero_copy_only=False), dtype=np.bool_)
    if bool(chosen.all()):
        return where(column)
    if not bool(chosen.any()):
        return elsewhere(column)
    times = np.empty(len(chosen), dtype=np.int64)
    times[chosen] = where(column.filter(mask))
    times[~chosen] = elsewhere(column.filter(pa.compute.invert(mask)))
    return times


def _scaled(column: Any, unit: str) -> Times:
    """Digits with at most as many decimal places as keep it a whole number of nanoseconds."""
    places = PLACES[unit]
    fraction = rf"(?:\.(?P<part>\d{{1,{places}}}))?" if places else ""
    split = pa.compute.extract_regex(column, rf"^(?P<whole>\d{{1,19}}){fraction}$")
    if split.null_count:
        raise ValueError(
            f"{_shown(column)}: expected a number in {unit}"
            + (f" with at most {places} decimal places" if places else "")
        )
    try:
        whole = pa.compute.struct_field(split, "whole").cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        raise ValueError(f"{_shown(column)}: expected at most {MAX_TIME} ns") from None
    if bool(np.any(whole > (MAX_TIME // 10**places) - 1)):
        raise ValueError(f"{_shown(column)}: expected {unit}, this is after the year 2262")
    times: Times = whole * 10**places
    if places:
        part = pa.compute.utf8_rpad(pa.compute.struct_field(split, "part"), places, "0")
        times = times + part.cast(pa.int64()).to_numpy()
    return times


def _iso(column: Any, zone: ZoneInfo | None) -> Times:
    try:
        return _either(
            pa.compute.match_substring_regex(column, _OFFSET),
            column,
            lambda texts: texts.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy(),
            lambda texts: _local(texts.cast(pa.timestamp("ns")).cast(pa.int64()).to_numpy(), zone),
        )
    except pa.ArrowInvalid:
        raise ValueError(
            f"{_shown(column)}: expected ISO 8601 such as 2013-10-07T09:30:00.123456789"
        ) from None


def _local(stamps: Times, zone: ZoneInfo | None) -> Times:
    """Wall-clock ns (as if it were UTC) to UTC, by the offset of each distinct quarter hour.

    Of an hour that comes twice or never, no offset can be right.
    """
    if zone is None:
        raise ValueError(f"{_wall(stamps[0])} has no offset; expected one, or a time zone")
    quarters, inverse = np.unique(stamps // QUARTER_NS, return_inverse=True)
    offsets = np.array([_offset(int(quarter), zone) for quarter in quarters], dtype=np.int64)
    return stamps - offsets[inverse]


def _offset(quarter: int, zone: ZoneInfo) -> int:
    wall = _EPOCH + timedelta(seconds=quarter * (QUARTER_NS // 1_000_000_000))
    earlier = wall.replace(tzinfo=zone, fold=0).utcoffset()
    later = wall.replace(tzinfo=zone, fold=1).utcoffset()
    assert earlier is not None
    assert later is not None
    if earlier != later:
        what = "twice" if earlier > later else "never"
        raise ValueError(
            f"clocks in {zone.key} have shown {wall} to {wall + timedelta(minutes=15)} {what}; "
            "expected stamps with their offset, or in UTC"
        )
    return round(earlier.total_seconds()) * 1_000_000_000


def _wall(stamp: Any) -> str:
    return str(np.datetime64(int(stamp), "ns"))


def _shown(column: Any) -> str:
    return repr(str(column[0].as_py())[:64])
