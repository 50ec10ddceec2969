"""Features of trades and quotes by plain lists and sums; nothing of ours is used.

Rules as stated in `models/features`: records count unless they are late by the watermark before
them, a repetition of an id that waits, or ruled out; windows are half-open; the tick rule runs over
all of a symbol's trades, everything else over the window's records alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

SECOND = 1_000_000_000

Key = tuple[str, str, int]
Values = dict[str, float | int | None]


@dataclass(frozen=True)
class Settings:
    """Durations in ns."""

    grace: int = SECOND
    clock_ahead: int = SECOND
    window: int = 300 * SECOND
    slide: int = 60 * SECOND
    recent: int = 60 * SECOND
    gap: int = 300 * SECOND
    day_of: Callable[[int], int] | None = None

    def silent(self, one: Record, two: Record) -> bool:
        """Whether a session ends between the two."""
        return two.time - one.time >= self.gap

    def other_day(self, one: Record, two: Record) -> bool:
        """Whether a trading day does."""
        return self.day_of is not None and self.day_of(one.time) != self.day_of(two.time)


@dataclass(frozen=True)
class Record:
    """One good record at its place in the log: `value` as decoded from JSON; times in ns."""

    offset: int
    append_time: int
    value: dict[str, Any]

    @property
    def time(self) -> int:
        """Its event time."""
        return int(self.value["event_time"])

    @property
    def order(self) -> tuple[int, int, int]:
        """A missing sequence sorts before any."""
        sequence = self.value.get("sequence")
        return self.time, -1 if sequence is None else sequence, self.offset


def taken(log: Iterable[Record], settings: Settings) -> tuple[list[Record], int, int]:
    """The records that count, in order of event time; how many were late, and how many repeated."""
    maximum: int | None = None
    found: list[Record] = []
    waiting: dict[tuple[str, str | None, str], int] = {}
    late = repeated = 0
    for record in log:
        watermark = None if maximum is None else maximum - settings.grace
        seen = min(record.time, record.append_time + settings.clock_ahead)
        maximum = seen if maximum is None else max(maximum, seen)
        if record.value.get("type") == "clock":
            continue
        if watermark is not None:
            waiting = {key: time for key, time in waiting.items() if time >= watermark}
            if record.time < watermark:
                late += 1
                continue
        if "bid" in record.value:
            bid, ask = record.value["bid"], record.value["ask"]
            if bid == 0 or ask == 0 or bid > ask:
                continue
        identifier = record.value.get("trade_id")
        if identifier is not None:
            key = (record.value["symbol"], record.value.get("venue"), identifier)
            if key in waiting:
                repeated += 1
                continue
            waiting[key] = record.time
        found.append(record)
    return sorted(found, key=lambda each: each.order), late, repeated


def features(records: list[Record], settings: Settings) -> dict[Key, tuple[int, bool, Values]]:
    """(symbol, window, start) to (end, complete, values), of all windows with a record."""
    by_symbol: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_symbol[record.value["symbol"]].append(record)
    found: dict[Key, tuple[int, bool, Values]] = {}
    for symbol, own in by_symbol.items():
        signs = _signs(own)
        window, slide = settings.window, settings.slide
        ends = {
            start + slide + step
            for start in {record.time // slide * slide for record in own}
            for step in range(0, window, slide)
        }
        first = own[0].time // slide * slide
        for end in ends:
            inside = [each for each in own if end - window <= each.time < end]
            values = _values(inside, signs, end) | _trend(inside, end, settings)
            label = f"{window // (60 * SECOND)}m"
            found[symbol, label, end - window] = (end, first <= end - window, values)
        for part in _cut(own, settings.silent):
            key = (symbol, "session", part[0].time)
            values = _values(part, signs, part[-1].time)
            found[key] = (part[-1].time + settings.gap, True, values)
        if settings.day_of is not None:
            for part in _cut(own, settings.other_day):
                values = _values(part, signs, part[-1].time)
                found[symbol, "day", part[0].time] = (part[-1].time + 1, True, values)
    return found


def _cut(
    records: list[Record], between: Callable[[Record, Record], bool]
) -> Iterable[list[Record]]:
    part: list[Record] = []
    for record in records:
        if part and between(part[-1], record):
            yield part
            part = []
        part.append(record)
    yield part


def _signs(records: list[Record]) -> dict[int, int]:
    """By offset: 1 bought, -1 sold, 0 unknown."""
    signs: dict[int, int] = {}
    sign, before = 0, None
    for record in records:
        price = record.value.get("price")
        if price is not None and before is not None and price != before:
            sign = 1 if price > before else -1
        before = price
        signs[record.offset] = sign
    return signs


def _values(records: list[Record], signs: dict[int, int], until: int) -> Values:
    times = [record.time for record in records]
    ages = [(record.append_time - record.time) / SECOND for record in records]
    steps = [(two - one) / SECOND for one, two in pairwise(times)]
    common: Values = {
        "interval_mean": math.fsum(steps) / len(steps) if steps else None,
        "interval_last": steps[-1] if steps else None,
        "latency_mean": math.fsum(ages) / len(ages),
        "latency_max": max(ages),
    }
    if "bid" in records[0].value:
        return _quote_values(records, until) | common
    return _trade_values(records, signs) | common


def _moves(prices: list[float]) -> Values:
    squares = [math.log(two / one) ** 2 for one, two in pairwise(prices) if one > 0 and two > 0]
    return {
        "momentum": prices[-1] / prices[0] - 1 if prices[0] > 0 else None,
        "realised_volatility": math.sqrt(math.fsum(squares)) if squares else None,
    }


def _trade_values(records: list[Record], signs: dict[int, int]) -> Values:
    prices = [record.value["price"] for record in records]
    sizes = [record.value["size"] for record in records]
    volume = math.fsum(sizes)
    signed = [(signs[record.offset], record.value["size"]) for record in records]
    known = math.fsum(size for sign, size in signed if sign)
    return {
        "trades": len(records),
        "volume": volume,
        "price_mean": math.fsum(prices) / len(prices),
        "price_last": prices[-1],
        "vwap": (
            math.fsum(price * size for price, size in zip(prices, sizes, strict=True)) / volume
            if volume
            else None
        ),
        **_moves(prices),
        "imbalance": math.fsum(sign * size for sign, size in signed) / known if known else None,
    }


def _trend(records: list[Record], end: int, settings: Settings) -> Values:
    if "bid" in records[0].value:
        return {}
    begins = range(end - settings.window, end, settings.slide)
    volumes = [
        math.fsum(
            each.value["size"] for each in records if begin <= each.time < begin + settings.slide
        )
        for begin in begins
    ]
    count = len(volumes)
    mean, middle = math.fsum(volumes) / count, (count - 1) / 2
    recent = volumes[-(settings.recent // settings.slide) :]
    over = math.fsum((place - middle) ** 2 for place in range(count))
    return {
        "volume_mean": mean,
        "volume_trend": math.fsum(recent) / len(recent) / mean if mean else None,
        "volume_slope": (
            math.fsum((place - middle) * each for place, each in enumerate(volumes)) / over
            if over
            else None
        ),
    }


def _quote_values(records: list[Record], until: int) -> Values:
    quotes = [record.value for record in records]
    spreads = [quote["ask"] - quote["bid"] for quote in quotes]
    middles = [(quote["ask"] + quote["bid"]) / 2 for quote in quotes]
    relative = [
        spread / middle
        for quote, spread, middle in zip(quotes, spreads, middles, strict=True)
        if quote["bid"] > 0
    ]
    balance = [
        (quote["bid_size"] - quote["ask_size"]) / (quote["bid_size"] + quote["ask_size"])
        for quote in quotes
        if quote["bid_size"] + quote["ask_size"] > 0
    ]
    times = [*(record.time for record in records), until]
    lasted = until - times[0]
    held = math.fsum(
        spread * (after - time)
        for spread, time, after in zip(spreads, times, times[1:], strict=False)
    )
    return {
        "quotes": len(quotes),
        "spread_mean": math.fsum(spreads) / len(spreads),
        "spread_last": spreads[-1],
        "spread_time_weighted": held / lasted if lasted else spreads[-1],
        "spread_relative": math.fsum(relative) / len(relative) if relative else None,
        "imbalance": math.fsum(balance) / len(balance) if balance else None,
        "imbalance_last": balance[-1] if balance else None,
        "mid_mean": math.fsum(middles) / len(middles),
        "mid_last": middles[-1],
        **_moves(middles),
    }
