"""Bars that no market should send and every market has sent."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from app.contracts.wire import BarRecord
from tables.indicators.base import DAY, MINUTE, sample_bars

COUNT = 400
#: The bounds of the contract.
GREATEST = 1e12
LEAST = 5e-324


def bar(number: int, *prices: float, volume: float = 100.0, vwap: float | None = 1.0) -> BarRecord:
    """A bar; prices are open, high, low and close, or one for all."""
    first, high, low, close = prices if len(prices) == 4 else prices * 4
    start = 1_700_000_000_000_000_000 // MINUTE * MINUTE + number * MINUTE
    return BarRecord(
        "HOSTILE", "1m", start, first, high, low, close, volume, vwap, 1, 0, True, False, ("test",)
    )


def _flat(price: float, volume: float) -> list[BarRecord]:
    return [
        bar(number, price, volume=volume, vwap=price if volume else None) for number in range(COUNT)
    ]


def _wild(*sizes: float, volumes: tuple[float, ...] = (0.0, 1.0, GREATEST)) -> list[BarRecord]:
    chance = random.Random(repr(sizes))
    bars = []
    for number in range(COUNT):
        first, close = (chance.choice(sizes) * chance.choice((1, -1, 0.5)) for _ in range(2))
        high, low = max(first, close), min(first, close)
        volume = chance.choice(volumes)
        bars.append(
            bar(number, first, high, low, close, volume=volume, vwap=close if volume else None)
        )
    return bars


def _scaled(factor: float, shift: float = 0.0) -> list[BarRecord]:
    return [
        msgspec.structs.replace(
            each,
            open=each.open * factor + shift,
            high=each.high * factor + shift,
            low=each.low * factor + shift,
            close=each.close * factor + shift,
            vwap=None if each.vwap is None else each.vwap * factor + shift,
        )
        for each in sample_bars(99, COUNT)
    ]


def _then_flat() -> list[BarRecord]:
    """A market that stops; most averages approach a limit and windows become even."""
    moving = sample_bars(98, COUNT)
    still = moving[COUNT // 2].close
    return [
        each if number < COUNT // 2 else bar(number, still, volume=0.0, vwap=None)
        for number, each in enumerate(moving)
    ]


def _gaps() -> list[BarRecord]:
    return [
        msgspec.structs.replace(each, start=each.start + number * number * DAY)
        for number, each in enumerate(sample_bars(97, COUNT))
    ]


SERIES: dict[str, Callable[[], list[BarRecord]]] = {
    "flat": lambda: _flat(100.1, 10.0),
    "flat at zero": lambda: _flat(0.0, 10.0),
    "flat without volume": lambda: _flat(0.1, 0.0),
    "flat and negative": lambda: _flat(-37.63, 10.0),
    "huge": lambda: _flat(GREATEST, GREATEST),
    "tiny": lambda: _flat(LEAST, LEAST),
    "tiny volumes": lambda: _wild(1.0, 2.0, 3.0, volumes=(0.0, LEAST, 1e-300)),
    "huge and tiny in turn": lambda: _wild(GREATEST, LEAST, 1e-300),
    "zero in turn": lambda: _wild(0.0, 1.0),
    "huge in turn": lambda: _wild(GREATEST, GREATEST / 3),
    "huge, hardly moving": lambda: _scaled(1e-3, GREATEST),
    "tiny and moving": lambda: _scaled(1e-300),
    "denormal and moving": lambda: _scaled(1e-322),
    "negative": lambda: _scaled(-1.0),
    "around zero": lambda: _scaled(1.0, -100.0),
    "gaps": _gaps,
    "stops": _then_flat,
}
