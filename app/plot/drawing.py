"""A chart as PNG or SVG, by matplotlib: the same chart gives the same bytes.

Bars stand side by side, so nights and gaps take no room; predictions beyond the last bar stand
where their bar will be. Texts of users are drawn as they are: nothing in them is mathematics.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from app.durations import NANOSECONDS
from app.plot.chart import RSI, Chart, Floats, Integers, PlotError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSTALL: Final = "pip install 'candlewick[charts]'"
SUFFIXES: Final = (".png", ".svg")
UP, DOWN = "#12836f", "#c8413f"
VWAP, PREDICTED, ODD = "#d98a00", "#6b4fbb", "#c8413f"
#: As in the dashboard and the candle page.
OVERSOLD, OVERBOUGHT = 30.0, 70.0
_GRID, _TEXT = "#dddddd", "#444444"
#: Half of a candle's width, of the distance between two.
_HALF = 0.36
_TICKS = 9
_STYLE: Final[dict[Any, Any]] = {
    "text.parse_math": False,
    "svg.hashsalt": "candlewick",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _TEXT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "text.color": _TEXT,
    "path.simplify": True,
}


def draw(chart: Chart, path: Path) -> None:
    """Write a chart to a file, replacing it whole or not at all.

    Raises:
        PlotError: matplotlib is not there, or the name ends with neither .png nor .svg.
        OSError: the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise PlotError(f"{path}: expected a name that ends with {' or '.join(SUFFIXES)}")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise PlotError(f"drawing needs matplotlib: {INSTALL}") from error
    draft = path.with_name(f".{path.name}.tmp{path.suffix}")
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(11, 7), layout="constrained")
        _fill(figure, chart)
        # Neither the moment nor the library's version.
        empty = {"Date": None} if path.suffix == ".svg" else {"Software": None}
        try:
            figure.savefig(draft, dpi=110, metadata=empty)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def _fill(figure: Figure, chart: Chart) -> None:
    price, volume, rsi = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [6, 1.5, 2]}
    )
    for axes in (price, volume, rsi):
        axes.grid(True, color=_GRID, linewidth=0.5)
        axes.set_axisbelow(True)
        axes.yaxis.tick_right()
        for side in ("top", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=0)
    _draw_prices(price, chart)
    _draw_volume(volume, chart)
    _draw_rsi(rsi, chart)
    _name_times(rsi, chart)
    price.set_title(_title(chart), loc="left")
    price.legend(loc="upper left", frameon=False, ncols=5)


def _draw_prices(axes: Axes, chart: Chart) -> None:
    rising = chart.close >= chart.open
    places = np.arange(len(chart.start))
    for chosen, colour in ((rising, UP), (~rising, DOWN)):
        at = places[chosen]
        _add_lines(axes, at, chart.low[chosen], chart.high[chosen], colour)
        low = np.minimum(chart.open, chart.close)[chosen]
        high = np.maximum(chart.open, chart.close)[chosen]
        # A bar that ends where it began is a dash.
        least = 0.0008 * float(np.ptp(np.concatenate([chart.low, chart.high])))
        _add_boxes(axes, at, low, np.maximum(high, low + least), colour)
    axes.plot(places, chart.vwap, color=VWAP, linewidth=1.2, label="VWAP")
    made = chart.predictions
    if len(made.start):
        target = _places(chart, made.start)
        bounded = np.isfinite(made.low) & np.isfinite(made.high)
        axes.fill_between(
            target, made.low, made.high, where=bounded, color=PREDICTED, alpha=0.13, linewidth=0
        )
        axes.plot(
            *(target, made.close), color=PREDICTED, linewidth=1.0, linestyle="--", label="predicted"
        )
    if len(chart.anomalies):
        axes.plot(
            chart.anomalies,
            chart.high[chart.anomalies],
            *("v",),
            color=ODD,
            markersize=7,
            markeredgecolor="white",
            label="anomaly",
        )
    axes.autoscale_view()
    last = float(_places(chart, made.start)[-1]) if len(made.start) else 0.0
    axes.set_xlim(-1, max(len(places), last + 1))


def _draw_volume(axes: Axes, chart: Chart) -> None:
    rising = chart.close >= chart.open
    places = np.arange(len(chart.start))
    for chosen, colour in ((rising, UP), (~rising, DOWN)):
        heights = chart.volume[chosen]
        _add_boxes(axes, places[chosen], np.zeros(len(heights)), heights, colour, alpha=0.6)
    axes.set_ylim(0, 1.05 * float(chart.volume.max()) or 1.0)
    axes.yaxis.set_major_formatter(_short)
    axes.set_ylabel("volume")


def _draw_rsi(axes: Axes, chart: Chart) -> None:
    axes.axhspan(OVERBOUGHT, 100, color=DOWN, alpha=0.08, linewidth=0)
    axes.axhspan(0, OVERSOLD, color=UP, alpha=0.08, linewidth=0)
    axes.plot(np.arange(len(chart.rsi)), chart.rsi, color=_TEXT, linewidth=1.0)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, OVERSOLD, 50, OVERBOUGHT, 100])
    axes.set_ylabel(RSI)
    if not np.isfinite(chart.rsi).any():
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center")


def _name_times(axes: Axes, chart: Chart) -> None:
    """Put the times of some bars below, and the day where it changes."""
    count = len(chart.start)
    step = max(1, -(-count // _TICKS))
    places = list(range(0, count, step))
    times = [_moment(int(chart.start[place])) for place in places]
    clock = "%H:%M" if chart.length % NANOSECONDS["m"] == 0 else "%H:%M:%S"
    texts, day = [], None
    for time in times:
        texts.append(f"{time:{clock}}" + ("" if time.date() == day else f"\n{time:%Y-%m-%d}"))
        day = time.date()
    axes.set_xticks(places, texts)


def _title(chart: Chart) -> str:
    first, last = _moment(int(chart.start[0])), _moment(int(chart.start[-1]))
    return f"{chart.symbol}   {chart.interval}   {first:%Y-%m-%d %H:%M} to {last:%m-%d %H:%M} UTC"


def _moment(time: int) -> datetime:
    return datetime.fromtimestamp(time // NANOSECONDS["s"], UTC)


def _places(chart: Chart, times: Integers) -> Floats:
    """Return where times stand: at their bar, between two, or as many beyond the last."""
    number = np.arange(len(chart.start), dtype=np.float64)
    beyond = np.maximum(times - chart.start[-1], 0) / chart.length
    places: Floats = np.interp(times, chart.start, number) + beyond
    return places


def _add_lines(axes: Axes, at: Integers, low: Floats, high: Floats, colour: str) -> None:
    """Draw upright lines as one path: a path each would be four times the file."""
    corners = np.stack([np.stack([at, low], 1), np.stack([at, high], 1)], 1)
    _add_path(axes, corners, closed=False, edgecolor=colour, linewidth=0.8, facecolor="none")


def _add_boxes(
    axes: Axes, at: Integers, low: Floats, high: Floats, colour: str, alpha: float = 1.0
) -> None:
    """Draw boxes as one path."""
    left, right = at - _HALF, at + _HALF
    corners = np.stack(
        [np.stack(each, 1) for each in ((left, low), (left, high), (right, high), (right, low))], 1
    )
    _add_path(axes, corners, closed=True, facecolor=colour, alpha=alpha, linewidth=0)


def _add_path(axes: Axes, corners: Floats, *, closed: bool, **style: Any) -> None:
    """Add shapes, each of the same number of corners: of shape (shapes, corners, 2)."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    shapes, count, _ = corners.shape
    if not shapes:
        return
    codes = np.full((shapes, count), Outline.LINETO, np.uint8)
    codes[:, 0] = Outline.MOVETO
    if closed:
        corners = np.concatenate([corners, corners[:, :1]], 1)
        codes = np.concatenate([codes, np.full((shapes, 1), Outline.CLOSEPOLY, np.uint8)], 1)
    axes.add_patch(PathPatch(Outline(corners.reshape(-1, 2), codes.reshape(-1)), **style))


def _short(value: float, place: float) -> str:
    """Return a number of few characters: 12k, 3.4M."""
    for bound, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= bound:
            return f"{value / bound:g}{letter}"
    return f"{value:g}"
