"""Rows and bars of which it is known whether there is anything to find in them.

A trainer that finds nothing in a planted signal is broken; one that finds something in white noise
is worse. All of it is a function of the seed.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from app.contracts.wire import BarRecord
from models.predicting.dataset import TrainingSet

MINUTE: Final = 60_000_000_000
#: 2026-01-05, 00:00 UTC.
START: Final = 1_767_571_200_000_000_000
#: Of a return over the horizon: a minute of a stock.
DEVIATION: Final = 5e-4
NAMES: Final = ("one", "two", "three", "four", "five", "six")


def planted_rows(
    rows: int,
    share: float,
    *,
    symbols: int = 2,
    horizon: int = 1,
    seed: int = 1,
    deviation: float = DEVIATION,
    missing: float = 0.02,
) -> TrainingSet:
    """Return rows whose targets are foretold, to a share of their variance, by their features.

    The signal is the sign of the first feature where the second is above 0, else nothing: no
    baseline sees it. With a share of 0 the targets are white noise. Over longer horizons the noise
    of neighbouring targets overlaps, as that of bars does.

    Args:
        rows: of all symbols together.
        share: of the targets' variance; the skill of a perfect model against zero.
        symbols: how many, taking turns.
        horizon: in bars of a minute.
        seed: of everything.
        deviation: of a target.
        missing: share of the features' cells that are NaN.
    """
    chance = np.random.default_rng(seed)
    steps = -(-rows // symbols)
    features = np.asarray(chance.standard_normal((steps, symbols, len(NAMES))), dtype=np.float32)
    signal = math.sqrt(2) * np.sign(features[..., 0]) * (features[..., 1] > 0)
    noise = chance.standard_normal((steps + 2 * horizon, symbols))
    # Returns of the horizon up to each bar, from `horizon` bars before the first row on.
    sums = np.cumsum(np.concatenate([np.zeros((1, symbols)), noise]), axis=0)
    returns = (sums[horizon:] - sums[:-horizon]) / math.sqrt(horizon)
    target = deviation * (
        math.sqrt(share) * signal + math.sqrt(1 - share) * returns[horizon : horizon + steps]
    )
    previous = np.full((steps, symbols), np.nan)
    previous[horizon:] = target[:-horizon]
    features[chance.random(features.shape) < missing] = np.nan
    time = START + MINUTE * np.repeat(np.arange(1, steps + 1, dtype=np.int64), symbols)
    return TrainingSet(
        NAMES,
        features.reshape(-1, len(NAMES)),
        target.reshape(-1),
        time,
        time + horizon * MINUTE,
        np.tile(np.arange(symbols, dtype=np.int32), steps),
        previous.reshape(-1),
        tuple(f"S{number}" for number in range(symbols)),
        "1m",
        horizon,
        "planted@1:0000000000000000",
    ).take(slice(0, rows))


def white_noise(rows: int, *, symbols: int = 2, horizon: int = 1, seed: int = 1) -> TrainingSet:
    """Return rows in which there is nothing to find."""
    return planted_rows(rows, 0.0, symbols=symbols, horizon=horizon, seed=seed)


def planted_bars(
    count: int,
    strength: float,
    *,
    symbols: tuple[str, ...] = ("AAA", "BBB"),
    seed: int = 1,
    deviation: float = DEVIATION,
) -> list[BarRecord]:
    """Return minute bars; with a strength, a large move is followed by one back.

    Two bars in a row that moved the same way by more than half a deviation each are followed by a
    bar that moves against them by `strength` deviations; all else is chance. With a strength of 0
    the closes are a random walk.

    Args:
        count: of each symbol.
        strength: in deviations.
        symbols: of the bars.
        seed: of everything.
        deviation: of a bar's return.
    """
    chance = np.random.default_rng(seed)
    bars = [
        bar
        for symbol in symbols
        for bar in _walk(symbol, chance.standard_normal((count, 4)), strength, deviation)
    ]
    return sorted(bars, key=lambda bar: (bar.start, bar.symbol))


def _walk(
    symbol: str, noise: npt.NDArray[np.float64], strength: float, deviation: float
) -> list[BarRecord]:
    close, moves, bars = 100.0, (0.0, 0.0), []
    for number, (move, above, below, size) in enumerate(noise.tolist()):
        if abs(sum(map(_sign, moves))) == 2:
            move -= strength * _sign(moves[0])
        moves = (moves[1], move)
        opened, close = close, close * math.exp(deviation * move)
        high = max(opened, close) * (1 + deviation * abs(above) / 4)
        low = min(opened, close) * (1 - deviation * abs(below) / 4)
        volume = float(round(1_000 * math.exp(size / 2)))
        bars.append(
            BarRecord(
                symbol,
                "1m",
                START + number * MINUTE,
                opened,
                high,
                low,
                close,
                volume,
                (high + low + close) / 3,
                20,
                0,
                True,
                False,
                (),
            )
        )
    return bars


def _sign(move: float) -> int:
    """1 or -1 for a move of more than half a deviation, else 0."""
    return 0 if abs(move) <= 0.5 else 1 if move > 0 else -1
