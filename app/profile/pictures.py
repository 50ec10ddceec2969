"""The plots of one day: price with outliers, gaps and session, volume or spread, intervals."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup

from app.durations import format_duration
from app.profile.collect import INTERVAL_BOUNDS, SECOND, DayProfile, Second
from app.profile.plots import Plot, histogram, number_text, ticks

#: Columns that a day is drawn in, at most.
COLUMNS: Final = 600
_STEPS: Final = (1, 5, 10, 30, 60, 300, 600, 900, 1800, 3600, 7200, 14400, 21600)


def merged(profile: DayProfile) -> list[tuple[float, Second]]:
    """Return the seconds merged to at most `COLUMNS` columns: (start as s, values)."""
    moments = sorted(profile.seconds)
    if not moments:
        return []
    width = max(1, -(-(moments[-1] - moments[0] + 1) // COLUMNS))
    found: dict[int, Second] = {}
    for moment in moments:
        one = profile.seconds[moment]
        start = moments[0] + (moment - moments[0]) // width * width
        known = found.get(start)
        if known is None:
            found[start] = Second(one.low, one.high, one.last, one.amount, one.records)
            continue
        known.low, known.high = min(known.low, one.low), max(known.high, one.high)
        known.last = one.last
        known.amount += one.amount
        known.records += one.records
    return [(float(start), found[start]) for start in sorted(found)]


def pictures(profile: DayProfile) -> dict[str, Markup]:
    """Return the plots of a day by name; those of prices only where there are some."""
    found = {
        "intervals": histogram(
            f"Intervals between records of {profile.symbol}", _intervals(profile), every=3
        )
    }
    columns = merged(profile)
    if not columns:
        return found
    begin, end = columns[0][0], columns[-1][0] + 1
    hours = _hours(begin, end)
    low, high = min(one.low for _, one in columns), max(one.high for _, one in columns)
    margin = (high - low) * 0.06 or abs(high) * 0.001 or 1.0
    price = Plot(
        f"Price of {profile.symbol} over the day",
        (begin, end),
        (low - margin, high + margin),
        height=300,
    )
    _shade_closed(price, profile, begin, end)
    price.y_axis([(each, number_text(each)) for each in ticks(low - margin, high + margin)])
    for event in profile.events:
        start = event.details.get("start")
        if event.kind == "gap" and isinstance(start, int):
            price.shade(start / SECOND, event.event_time / SECOND, "gap")
    price.band([(start, one.low, one.high) for start, one in columns], "band")
    price.line([(start, one.last) for start, one in columns], "line")
    for time, value in profile.marks:
        price.mark(time / SECOND, value, f"{clock_text(time)} outlier {value:,.6g}")
    price.x_axis(hours)
    found["price"] = price.svg()
    found["amount"] = _amounts(profile, columns, hours)
    return found


def clock_text(time: int) -> str:
    """Return an event time as UTC clock with ms."""
    moment = datetime.fromtimestamp(time // SECOND, UTC)
    return f"{moment:%H:%M:%S}.{time % SECOND // 1_000_000:03d}"


def _amounts(
    profile: DayProfile, columns: list[tuple[float, Second]], hours: list[tuple[float, str]]
) -> Markup:
    """Traded size, or the mean spread of quotes, a column."""
    begin, end = columns[0][0], columns[-1][0] + 1
    values = [
        (start, one.amount / one.records if profile.quotes else one.amount)
        for start, one in columns
    ]
    most = max(value for _, value in values) or 1.0
    name = "Mean spread" if profile.quotes else "Traded size"
    plot = Plot(f"{name} of {profile.symbol}", (begin, end), (0.0, most * 1.05), height=150)
    _shade_closed(plot, profile, begin, end)
    plot.y_axis([(each, number_text(each)) for each in ticks(0.0, most * 1.05, 3)])
    width = max(1.0, (end - begin) / COLUMNS)
    for start, value in values:
        plot.bar(start, start + width, value, "bar")
    plot.x_axis(hours)
    return plot.svg()


def _shade_closed(plot: Plot, profile: DayProfile, begin: float, end: float) -> None:
    """Shade what is before the open and after the close."""
    day = profile.day
    if day.open is None or day.close is None:
        plot.shade(begin, end, "closed")
        return
    plot.shade(begin, day.open / SECOND, "closed")
    plot.shade(day.close / SECOND, end, "closed")


def _hours(begin: float, end: float) -> list[tuple[float, str]]:
    step = next((each for each in _STEPS if (end - begin) / each <= 12), _STEPS[-1])
    first = -(-int(begin) // step) * step
    style = "%H:%M" if step >= 60 else "%H:%M:%S"
    return [
        (float(moment), f"{datetime.fromtimestamp(moment, UTC):{style}}")
        for moment in range(first, int(end) + 1, step)
    ]


def interval_names() -> list[str]:
    """Return the names of the buckets of intervals: up to `1ms`, ..., `more`."""
    return ["0", *(_short(bound) for bound in INTERVAL_BOUNDS[1:]), "more"]


def _short(bound: int) -> str:
    if bound >= 100 * SECOND:
        return f"{bound // SECOND:,}s"
    return format_duration(bound)


def _intervals(profile: DayProfile) -> list[tuple[str, int]]:
    """From the first used bucket to the last."""
    columns = list(zip(interval_names(), profile.intervals, strict=True))
    used = [place for place, (_, count) in enumerate(columns) if count]
    return columns[used[0] : used[-1] + 1] if used else columns[:1]
