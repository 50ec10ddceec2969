"""The built-in feature set: returns, where the close lies to its averages, volume, time."""

from __future__ import annotations

from collections.abc import Sequence

from models.predicting.features_plan import Feature
from models.predicting.features_terms import (
    Change,
    Cosine,
    Deviation,
    Difference,
    Mean,
    Product,
    Ratio,
    Reading,
    Scaled,
    SessionElapsed,
    Share,
    Sine,
    TimeOfDay,
)
from models.predicting.featuresets import FeatureSet

LAGS = (1, 2, 3, 5, 10)
WINDOWS = (3, 5, 10, 20)


class Returns(FeatureSet):
    """Scale-free, so that one model serves symbols of any price.

    Nothing for prices of 0 or below. The first returns of a session are from the bar before it.
    """

    NAME = "returns"
    VERSION = 1

    @classmethod
    def declare(cls) -> Sequence[Feature]:
        """Return 40 features."""
        close, volume = Reading("CLOSE"), Reading("VOLUME")
        returns = Change(close, 1)
        volume_ratio = Ratio(volume, Mean(volume, 20))
        rsi = Scaled(Reading("RSI(14)"), 0.01, -0.5)
        place = Scaled(Reading("BOLLINGER(20,2).percent"), 1.0, -0.5)
        unrest = Ratio(Deviation(returns, 5), Deviation(returns, 20))
        return (
            *(Feature(f"return_{n}", Change(close, n), f"return over {n} bars") for n in LAGS),
            *(
                Feature(f"return_mean_{n}", Mean(returns, n), f"mean return of {n} bars")
                for n in WINDOWS
            ),
            *(
                Feature(f"return_deviation_{n}", Deviation(returns, n), "of returns")
                for n in WINDOWS
            ),
            *(
                Feature(f"return_change_{n}", Difference(returns, n), f"to {n} bars ago")
                for n in WINDOWS
            ),
            Feature("volatility_ratio", unrest, "deviation of 5 returns to that of 20"),
            Feature("return_scaled", Share(returns, Deviation(returns, 20)), "by 20 bars"),
            Feature("volume_ratio", volume_ratio, "volume to its mean of 20 bars"),
            Feature("volume_trend", Ratio(Mean(volume, 5), Mean(volume, 20)), "5 bars to 20"),
            Feature("ema_12", Ratio(Reading("EMA(12)"), close), "average to close"),
            Feature("ema_26", Ratio(Reading("EMA(26)"), close), "average to close"),
            Feature("sma_20", Ratio(Reading("SMA(20)"), close), "average to close"),
            Feature("sma_50", Ratio(Reading("SMA(50)"), close), "average to close"),
            Feature("rsi_14", rsi, "-0.5 to 0.5"),
            Feature("macd", Share(Reading("MACD(12,26,9)"), close), "share of the close"),
            Feature(
                "macd_histogram",
                Share(Reading("MACD(12,26,9).histogram"), close),
                "share of the close",
            ),
            Feature("bollinger_percent", place, "-0.5 on the lower band, 0.5 on the upper"),
            Feature("bollinger_width", Scaled(Reading("BOLLINGER(20,2).width"), 0.01), "share"),
            Feature("atr_14", Share(Reading("ATR(14)"), close), "range to close"),
            Feature("vwap_14", Ratio(Reading("VWAP(14)"), close), "to close"),
            Feature("session_vwap", Ratio(Reading("SESSION_VWAP"), close), "to close"),
            Feature("day_sine", Sine(TimeOfDay()), "UTC"),
            Feature("day_cosine", Cosine(TimeOfDay()), "UTC"),
            Feature("session_elapsed", SessionElapsed(), "0 at the open, 1 at the close"),
            Feature("return_x_volume", Product(returns, volume_ratio), "interaction"),
            Feature("rsi_x_volume", Product(rsi, volume_ratio), "interaction"),
            Feature("bollinger_x_volatility", Product(place, unrest), "interaction"),
            Feature("return_x_elapsed", Product(returns, SessionElapsed()), "interaction"),
        )
