"""Plots as inline SVG, drawn without a library: matplotlib is 30 MB for four kinds of picture.

Colours are CSS variables of the page. Every text is escaped. Sizes are in the SVG's own units; the
page scales them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

from markupsafe import Markup

WIDTH: Final = 960
#: Of a picture that is half a page wide.
HALF_WIDTH: Final = 500
LEFT, RIGHT, TOP, BOTTOM = 66, 12, 10, 24


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers from `low` to `high`, about so many: 1, 2, 2.5 or 5 times 10^n."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(each * power for each in (1, 2, 2.5, 5, 10) if each * power >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def number_text(value: float) -> str:
    """Return a number for an axis: 1,250, 12.5k, 3M."""
    for bound, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= bound:
            return f"{value / (1e3 if letter == 'k' else bound):.6g}{letter}"
    return f"{value:,.6g}"


@dataclass(slots=True)
class Plot:
    """One picture: x and y ranges onto a box, and what is drawn in it."""

    label: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    height: int = 230
    width: int = WIDTH
    parts: list[str] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Place of an x value."""
        low, high = self.x_range
        share = (value - low) / (high - low) if high > low else 0.5
        return round(LEFT + share * (self.width - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Place of a y value, within the box."""
        low, high = self.y_range
        share = (value - low) / (high - low) if high > low else 0.5
        share = min(max(share, 0.0), 1.0)
        return round(self.height - BOTTOM - share * (self.height - BOTTOM - TOP), 1)

    def y_axis(self, texts: Sequence[tuple[float, str]]) -> None:
        """Draw lines across with a text each."""
        for value, text in texts:
            y = self.y(value)
            self.parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{self.width - RIGHT}" y1="{y}" y2="{y}"/>'
                f'<text class="axis" x="{LEFT - 8}" y="{y + 4}" text-anchor="end">'
                f"{escape(text)}</text>"
            )

    def x_axis(self, texts: Sequence[tuple[float, str]]) -> None:
        """Draw texts below, with a small mark each."""
        base = self.height - BOTTOM
        self.parts.append(
            f'<line class="base" x1="{LEFT}" x2="{self.width - RIGHT}" y1="{base}" y2="{base}"/>'
        )
        for value, text in texts:
            x = self.x(value)
            anchor = (
                "start" if x < LEFT + 15 else "end" if x > self.width - RIGHT - 20 else "middle"
            )
            self.parts.append(
                f'<line class="base" x1="{x}" x2="{x}" y1="{base}" y2="{base + 4}"/>'
                f'<text class="axis" x="{x}" y="{base + 17}" text-anchor="{anchor}">'
                f"{escape(text)}</text>"
            )

    def shade(self, begin: float, end: float, kind: str) -> None:
        """Shade what lies between two x values, within the box."""
        low, high = self.x_range
        begin, end = max(begin, low), min(end, high)
        if begin < end:
            x = self.x(begin)
            width = max(0.8, self.x(end) - x)
            height = self.height - TOP - BOTTOM
            self.parts.append(
                f'<rect class="{kind}" x="{x}" y="{TOP}" width="{width:.1f}" height="{height}"/>'
            )

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Draw a line through points."""
        path = " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)
        self.parts.append(f'<polyline class="{kind}" points="{path}"/>')

    def band(self, points: Sequence[tuple[float, float, float]], kind: str) -> None:
        """Fill between (x, low, high)."""
        path = [f"{self.x(x)},{self.y(high)}" for x, _, high in points]
        path += [f"{self.x(x)},{self.y(low)}" for x, low, _ in reversed(points)]
        self.parts.append(f'<polygon class="{kind}" points="{" ".join(path)}"/>')

    def bar(self, begin: float, end: float, value: float, kind: str, title: str = "") -> None:
        """Draw a bar from the lower end of y up to a value."""
        x, y = self.x(begin), self.y(value)
        width = max(0.6, self.x(end) - x - 0.6)
        height = self.height - BOTTOM - y
        inner = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(
            f'<rect class="{kind}" x="{x}" y="{y}" width="{width:.1f}" height="{height:.1f}">'
            f"{inner}</rect>"
        )

    def mark(self, x_value: float, y_value: float, title: str) -> None:
        """Draw a mark; beyond the box a triangle at its edge points the way."""
        x, y = self.x(x_value), self.y(y_value)
        low, high = self.y_range
        inner = f"<title>{escape(title)}</title>"
        if low <= y_value <= high:
            self.parts.append(f'<circle class="mark" cx="{x}" cy="{y}" r="3.5">{inner}</circle>')
            return
        tip = -7 if y_value > high else 7
        self.parts.append(
            f'<polygon class="mark" points="{x - 4.5},{y - tip / 2:.1f} {x + 4.5},'
            f'{y - tip / 2:.1f} {x},{y + tip / 2:.1f}">{inner}</polygon>'
        )

    def svg(self) -> Markup:
        """Return the picture; its texts are escaped already."""
        label = escape(self.label, quote=True)
        return Markup(
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{label}">'
            f"<title>{label}</title>{''.join(self.parts)}</svg>"
        )


def histogram(label: str, columns: Sequence[tuple[str, int]], every: int = 1) -> Markup:
    """Return bars of counts by name, their height by log10; each `every`-th is named."""
    most = max((count for _, count in columns), default=0)
    top = math.log10(most + 1) * 1.05 if most else 1.0
    plot = Plot(label, (0.0, float(max(1, len(columns)))), (0.0, top), height=200, width=HALF_WIDTH)
    powers = range(0, int(top) + 1)
    plot.y_axis([(math.log10(10**power + 1), number_text(10.0**power)) for power in powers])
    for place, (name, count) in enumerate(columns):
        if count:
            title = f"{name}: {count:,}"
            plot.bar(place + 0.08, place + 0.92, math.log10(count + 1), "bar", title)
    named = [(place + 0.5, name) for place, (name, _) in enumerate(columns)]
    plot.x_axis(named[::every])
    return plot.svg()
