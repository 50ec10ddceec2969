"""The features of trades and quotes, as published; `models/features` writes them.

`tests/unit/test_features_partition.py` holds the model and the msgspec record equal.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.contracts.records import Contract, Nanoseconds, Symbol


class Features(Contract):
    """Features of one symbol over `[start, end)`; each is published once, and never revised.

    (`symbol`, `kind`, `window`, `start`) names it. `window` is the length of the sliding window
    (`5m`), which ends at each multiple of the slide; or `session`, from a symbol's first record to
    the silence after its last one; or `day`, from its first record of a trading day to 1 ns after
    its last one. `complete` is false where the symbol's first record of all came within the sliding
    window, behind its first slide. A window without a record is not published.

    `values`, each null where there is nothing to say; durations in seconds:

    - of both kinds: `momentum` (last / first - 1), `realised_volatility` (square root of the sum of
      squared log returns), `interval_mean` and `interval_last` (between records), `latency_mean`
      and `latency_max` (broker's append time - event time);
    - of `trades`: `trades`, `volume`, `price_mean`, `price_last`, `vwap`, `imbalance` (bought -
      sold volume by the tick rule, over their sum), and in sliding windows `volume_mean` (a slide),
      `volume_trend` (newest slides / all), `volume_slope` (least squares, a slide);
    - of `quotes`: `quotes`, `spread_mean`, `spread_last`, `spread_time_weighted`, `spread_relative`
      (spread / mid), `imbalance` (mean of (bid size - ask size) / sum), `imbalance_last`,
      `mid_mean`, `mid_last`.
    """

    symbol: Symbol
    kind: Literal["trades", "quotes"]
    window: Annotated[str, Field(min_length=1, max_length=32)]
    start: Nanoseconds
    end: Nanoseconds
    complete: bool
    values: dict[str, int | float | None]
