"""The plots of a training's report: error, coverage, importance, equity; from the document."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from markupsafe import Markup

from app.durations import NANOSECONDS
from app.profile.plots import HALF_WIDTH, Plot, number_text, ticks

SECOND: Final = NANOSECONDS["s"]
BASIS_POINTS: Final = 1e4
#: Features that are named.
NAMED: Final = 20
#: Steps of an axis of time, s.
_STEPS: Final = (60, 300, 900, 3600, 10800, 21600, 43200, *(86400 * n for n in (1, 2, 7, 30, 91)))
_ROW, _NAME = 20, 180


def pictures(report: dict[str, Any]) -> dict[str, Markup]:
    """Return the plots by name; that of the equity only where there were trades."""
    found = {"error": _error(report), "coverage": _by_time(report)}
    if report["coverage"]["by_width"]:
        found["widths"] = _by_width(report)
    if report["importance"]:
        found["importance"] = _importance(report)
    if report["equity"]["points"]:
        found["equity"] = _equity(report)
    return found


def time_axis(begin: float, end: float) -> list[tuple[float, str]]:
    """Return moments (s) from begin to end, 10 at most, with their texts, UTC."""
    wanted = (end - begin) / 10
    step = next((each for each in _STEPS if each >= wanted), _STEPS[-1] * 4)
    style = "%H:%M" if step < 3600 else "%d %b %H:%M" if step < 86400 else "%Y-%m-%d"
    first = -(-int(begin) // step) * step
    moments = range(first, int(end) + 1, step)
    return [(float(each), f"{datetime.fromtimestamp(each, UTC):{style}}") for each in moments]


def _error(report: dict[str, Any]) -> Markup:
    parts = report["error_by_time"]
    names = ("zero", "ar1", "model")
    values = [part[name] * BASIS_POINTS for part in parts for name in names]
    plot = _timed("Root mean squared error by time, basis points", parts, 0.0, max(values) * 1.08)
    for name in names:
        points = [(part["time"] / SECOND, part[name] * BASIS_POINTS) for part in parts]
        plot.line(points, "line" if name == "model" else f"line beside {name}")
    return plot.svg()


def _timed(label: str, parts: list[dict[str, Any]], low: float, high: float) -> Plot:
    begin, end = parts[0]["time"] / SECOND, parts[-1]["time"] / SECOND
    plot = Plot(label, (begin, end), (low, high if high > low else low + 1.0))
    plot.y_axis([(each, number_text(each)) for each in ticks(*plot.y_range)])
    plot.x_axis(time_axis(begin, end))
    return plot


def _by_time(report: dict[str, Any]) -> Markup:
    coverage = report["coverage"]
    parts = coverage["by_time"]
    low = max(0.0, min([0.8, *(part["coverage"] - 0.02 for part in parts)]))
    plot = _timed("Share of targets inside their intervals, by time", parts, low, 1.0)
    begin, end = plot.x_range
    plot.line([(begin, coverage["wanted"]), (end, coverage["wanted"])], "line beside zero")
    plot.line([(part["time"] / SECOND, part["coverage"]) for part in parts], "line")
    return plot.svg()


def _by_width(report: dict[str, Any]) -> Markup:
    coverage = report["coverage"]
    bins = coverage["by_width"]
    low = max(0.0, min([0.7, *(each["coverage"] - 0.05 for each in bins)]))
    plot = Plot(
        "Share of targets inside, by the width of the interval",
        (0.0, float(len(bins))),
        (low, 1.0),
        height=220,
        width=HALF_WIDTH,
    )
    plot.y_axis([(each, number_text(each)) for each in ticks(low, 1.0)])
    for place, each in enumerate(bins):
        width = each["half_width"] * BASIS_POINTS
        title = f"+-{width:.3g} bp: {each['coverage']:.1%} of {each['rows']:,}"
        plot.bar(place + 0.1, place + 0.9, each["coverage"], "bar", title)
    plot.line([(0.0, coverage["wanted"]), (len(bins), coverage["wanted"])], "line beside zero")
    plot.x_axis(
        [
            (place + 0.5, f"{each['half_width'] * BASIS_POINTS:.3g}")
            for place, each in enumerate(bins)
        ]
    )
    return plot.svg()


def _importance(report: dict[str, Any]) -> Markup:
    """Bars across, the largest first."""
    named = list(report["importance"].items())[:NAMED]
    most = named[0][1]
    height, room = _ROW * len(named) + 6, HALF_WIDTH - _NAME - 60
    parts = []
    for place, (name, share) in enumerate(named):
        y = 3 + place * _ROW
        width = room * share / most
        parts.append(
            f'<text class="axis" x="{_NAME - 8}" y="{y + 14}" text-anchor="end">{escape(name)}'
            f'</text><rect class="bar" x="{_NAME}" y="{y + 3}" width="{width:.1f}" height="14"/>'
            f'<text class="axis" x="{_NAME + width + 6:.1f}" y="{y + 14}">{share:.1%}</text>'
        )
    label = "Share of the gain by feature"
    return Markup(
        f'<svg viewBox="0 0 {HALF_WIDTH} {height}" role="img" aria-label="{label}">'
        f"<title>{label}</title>{''.join(parts)}</svg>"
    )


def _equity(report: dict[str, Any]) -> Markup:
    points = [(time / SECOND, (value - 1) * 100) for time, value in report["equity"]["points"]]
    begin, end = report["error_by_time"][0]["time"] / SECOND, points[-1][0]
    points = [(begin, 0.0), *points]
    low, high = min(value for _, value in points), max(value for _, value in points)
    margin = (high - low) * 0.06 or 1.0
    plot = Plot(
        "Earned after costs, percent of the stake", (begin, end), (low - margin, high + margin)
    )
    plot.y_axis([(each, f"{number_text(each)} %") for each in ticks(*plot.y_range)])
    plot.x_axis(time_axis(begin, end))
    plot.line([(begin, 0.0), (end, 0.0)], "line beside zero")
    plot.line(points, "line")
    return plot.svg()
