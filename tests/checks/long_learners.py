"""Ten million bars: `python -m tests.checks.long_learners` prints what is off after them.

Half a million bars of a random walk, over and over. What forgets is compared with the same
indicator fed the last bars alone; what forgets nothing with sums in exact fractions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from fractions import Fraction

from app.contracts.wire import BarRecord
from tables.indicators.base import Context, Indicator, sample_bars
from tables.indicators.registry import parse_indicators
from tables.indicators.vwap import SessionVwap

FORGETTING = (
    "SMA(20)", "EMA(26)", "RSI(14)", "MACD(12,26,9)", "BOLLINGER(20,2)", "ATR(14)", "VWAP(14)",
    "VOLATILITY(20)",
)  # fmt: skip
BLOCK = 500_000
BOUND = 1e-9


def numbers(indicator: Indicator) -> tuple[float | None, ...]:
    """Return the outputs."""
    value = indicator.value
    return value if isinstance(value, tuple) else (value,)


def off(mine: Sequence[float | None], theirs: Sequence[float | None]) -> float:
    """Return the worst relative difference."""
    worst = 0.0
    for one, two in zip(mine, theirs, strict=True):
        assert one is not None
        assert two is not None
        if one != two:
            worst = max(worst, abs(one - two) / abs(two))
    return worst


def last_bars_alone(text: str, bars: list[BarRecord]) -> Indicator:
    """Return the indicator after the last bars that it remembers."""
    made = parse_indicators(text)[0].create()
    assert made.memory is not None
    for bar in bars[-(made.memory + made.warm_up + 1) :]:
        made.update(bar)
    return made


def exact_flow(bars: list[BarRecord]) -> Fraction:
    """Return the accumulation/distribution of the bars, each flow a double, their sum exact."""
    total = Fraction(0)
    for bar in bars:
        spread = bar.high - bar.low
        if spread:
            place = ((bar.close - bar.low) - (bar.high - bar.close)) / spread
            total += Fraction(place * bar.volume)
    return total


def main() -> None:
    """Print how far each is off; exit code 1 above the bound."""
    parser = argparse.ArgumentParser(prog="python -m tests.checks.long_learners")
    parser.add_argument("--bars", type=int, default=10_000_000)
    count = parser.parse_args().bars
    rounds = max(1, count // BLOCK)
    bars = sample_bars(77, BLOCK)
    begin = time.monotonic()
    made = {text: parse_indicators(text)[0].create() for text in FORGETTING}
    total = parse_indicators("AD")[0].create()
    session = SessionVwap(context=Context(session_of=lambda start: 0))
    updates = [each.update for each in (*made.values(), total, session)]
    for _ in range(rounds):
        for bar in bars:
            for update in updates:
                update(bar)
    print(f"{rounds * BLOCK:,} bars in {time.monotonic() - begin:.0f} s, worst relative difference")
    found = {
        text: off(numbers(each), numbers(last_bars_alone(text, bars)))
        for text, each in made.items()
    }
    found["AD"] = off(numbers(total), [float(rounds * exact_flow(bars))])
    traded = [(Fraction(bar.vwap * bar.volume), bar.volume) for bar in bars if bar.vwap is not None]
    volume = sum(Fraction(each) for _, each in traded)
    found["SESSION_VWAP, one session"] = off(
        numbers(session), [float(sum(product for product, _ in traded) / volume)]
    )
    for name, worst in found.items():
        print(f"{name:<28} {worst:.1e}{'   ABOVE' if worst > BOUND else ''}")
    raise SystemExit(1 if max(found.values()) > BOUND else 0)


if __name__ == "__main__":
    main()
