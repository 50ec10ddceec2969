"""Indicators as TA-Lib and `ta` compute them, over whole columns; nothing here knows ours.

A column is an array of floats; an answer is an array as long, NaN where the library says nothing.
`ta` is asked without `fillna`. What it says in a warm-up that is no value of the indicator (zeros,
the mean of the series) is cut off by the caller.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import talib
from ta import momentum, others, trend, volatility, volume

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Columns:
    """Bars as arrays."""

    open: Array
    high: Array
    low: Array
    close: Array
    volume: Array


def random_columns(seed: int, count: int) -> Columns:
    """Return a random walk with closes in tenths (so that equal ones occur), volumes in hundreds.

    Highs and lows are of all digits: of equal ones, and of sums that are equal but for rounding,
    the libraries make different things.
    """
    chance = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(chance.normal(0, 0.004, count))), 1)
    first = np.round(np.concatenate([[100.0], close[:-1]]) + chance.normal(0, 0.05, count), 2)
    high = np.maximum(first, close) + chance.exponential(0.2, count)
    low = np.minimum(first, close) - chance.exponential(0.2, count)
    return Columns(first, high, low, close, chance.integers(1, 500, count) * 100.0)


Answers = dict[str, Array]
Ask = Callable[[Columns], Answers]


def _series(c: Columns) -> dict[str, pd.Series]:
    return {name: pd.Series(getattr(c, name)) for name in ("high", "low", "close", "volume")}


def _ta(kind: type[Any], inputs: str, outputs: dict[str, str], **parameters: Any) -> Ask:
    def ask(c: Columns) -> Answers:
        series = _series(c)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            made = kind(**{name: series[name] for name in inputs.split()}, **parameters)
            return {
                name: np.asarray(getattr(made, method)(), dtype=np.float64)
                for name, method in outputs.items()
            }

    return ask


HLC, HLCV = "high low close", "high low close volume"

#: What ta is asked: ours, in its seed rule, to its class.
TA: dict[str, Ask] = {
    "SMA(20)": _ta(trend.SMAIndicator, "close", {"": "sma_indicator"}, window=20),
    "WMA(9)": _ta(trend.WMAIndicator, "close", {"": "wma"}, window=9),
    "EMA(14,seed=first)": _ta(trend.EMAIndicator, "close", {"": "ema_indicator"}, window=14),
    "TRIX(15,seed=first)": _ta(trend.TRIXIndicator, "close", {"": "trix"}),
    "MACD(12,26,9,seed=first)": _ta(
        trend.MACD,
        "close",
        {"": "macd", "signal": "macd_signal", "histogram": "macd_diff"},
    ),
    "PPO(12,26,9,seed=first)": _ta(
        momentum.PercentagePriceOscillator,
        "close",
        {"": "ppo", "signal": "ppo_signal", "histogram": "ppo_hist"},
    ),
    "PVO(12,26,9,seed=first)": _ta(
        momentum.PercentageVolumeOscillator,
        "volume",
        {"": "pvo", "signal": "pvo_signal", "histogram": "pvo_hist"},
    ),
    "RSI(14,seed=first,flat=100)": _ta(momentum.RSIIndicator, "close", {"": "rsi"}),
    "STOCH_RSI(14,14,3,3,seed=first)": _ta(
        momentum.StochRSIIndicator,
        "close",
        {"": "stochrsi", "k": "stochrsi_k", "d": "stochrsi_d"},
    ),
    "KAMA(10,2,30)": _ta(momentum.KAMAIndicator, "close", {"": "kama"}),
    "BOLLINGER(20,2)": _ta(
        volatility.BollingerBands,
        "close",
        {
            "lower": "bollinger_lband",
            "middle": "bollinger_mavg",
            "upper": "bollinger_hband",
            "width": "bollinger_wband",
            "percent": "bollinger_pband",
        },
    ),
    "ATR(14)": _ta(volatility.AverageTrueRange, HLC, {"": "average_true_range"}),
    "KELTNER(20,10,2,middle=first)": _ta(
        volatility.KeltnerChannel,
        HLC,
        {
            "lower": "keltner_channel_lband",
            "middle": "keltner_channel_mband",
            "upper": "keltner_channel_hband",
            "width": "keltner_channel_wband",
            "percent": "keltner_channel_pband",
        },
        original_version=False,
    ),
    "KELTNER_RANGE(20)": _ta(
        volatility.KeltnerChannel,
        HLC,
        {
            "lower": "keltner_channel_lband",
            "middle": "keltner_channel_mband",
            "upper": "keltner_channel_hband",
            "width": "keltner_channel_wband",
            "percent": "keltner_channel_pband",
        },
    ),
    "DONCHIAN(20)": _ta(
        volatility.DonchianChannel,
        HLC,
        {
            "lower": "donchian_channel_lband",
            "middle": "donchian_channel_mband",
            "upper": "donchian_channel_hband",
            "width": "donchian_channel_wband",
            "percent": "donchian_channel_pband",
        },
    ),
    "VWAP(14,price=typical)": _ta(
        volume.VolumeWeightedAveragePrice, HLCV, {"": "volume_weighted_average_price"}
    ),
    "ROC(12)": _ta(momentum.ROCIndicator, "close", {"": "roc"}),
    "RETURN": _ta(others.DailyReturnIndicator, "close", {"": "daily_return"}),
    "LOG_RETURN": _ta(others.DailyLogReturnIndicator, "close", {"": "daily_log_return"}),
    "CUMULATIVE_RETURN": _ta(others.CumulativeReturnIndicator, "close", {"": "cumulative_return"}),
    "STOCHASTIC(14,3)": _ta(
        momentum.StochasticOscillator, HLC, {"k": "stoch", "d": "stoch_signal"}
    ),
    "WILLIAMS_R(14)": _ta(momentum.WilliamsRIndicator, HLC, {"": "williams_r"}),
    "AD": _ta(volume.AccDistIndexIndicator, HLCV, {"": "acc_dist_index"}),
    "VPT": _ta(volume.VolumePriceTrendIndicator, "close volume", {"": "volume_price_trend"}),
    "NVI": _ta(volume.NegativeVolumeIndexIndicator, "close volume", {"": "negative_volume_index"}),
    "CMF(20)": _ta(volume.ChaikinMoneyFlowIndicator, HLCV, {"": "chaikin_money_flow"}),
    "MFI(14)": _ta(volume.MFIIndicator, HLCV, {"": "money_flow_index"}),
    "FORCE_INDEX(13,seed=first)": _ta(
        volume.ForceIndexIndicator, "close volume", {"": "force_index"}
    ),
    "EASE_OF_MOVEMENT(14)": _ta(
        volume.EaseOfMovementIndicator,
        "high low volume",
        {"": "sma_ease_of_movement", "raw": "ease_of_movement"},
    ),
    "ADX(14)": _ta(trend.ADXIndicator, HLC, {"": "adx", "plus": "adx_pos", "minus": "adx_neg"}),
    "CCI(20)": _ta(trend.CCIIndicator, HLC, {"": "cci"}),
    "AWESOME(5,34)": _ta(
        momentum.AwesomeOscillatorIndicator, "high low", {"": "awesome_oscillator"}
    ),
    "DPO(20)": _ta(trend.DPOIndicator, "close", {"": "dpo"}),
    "KST": _ta(
        trend.KSTIndicator, "close", {"": "kst", "signal": "kst_sig", "histogram": "kst_diff"}
    ),
    "ULTIMATE(7,14,28)": _ta(momentum.UltimateOscillator, HLC, {"": "ultimate_oscillator"}),
    "VORTEX(14)": _ta(
        trend.VortexIndicator,
        HLC,
        {
            "plus": "vortex_indicator_pos",
            "minus": "vortex_indicator_neg",
            "difference": "vortex_indicator_diff",
        },
    ),
    "MASS_INDEX(9,25,seed=first)": _ta(trend.MassIndex, "high low", {"": "mass_index"}),
    "AROON(25)": _ta(
        trend.AroonIndicator,
        "high low",
        {"up": "aroon_up", "down": "aroon_down", "oscillator": "aroon_indicator"},
    ),
    "ULCER_INDEX(14)": _ta(volatility.UlcerIndex, "close", {"": "ulcer_index"}),
    "TSI(25,13,seed=first)": _ta(momentum.TSIIndicator, "close", {"": "tsi"}),
    "STC(50,23,10,3,3,seed=first)": _ta(trend.STCIndicator, "close", {"": "stc"}),
    "ICHIMOKU(9,26,52)": _ta(
        trend.IchimokuIndicator,
        "high low",
        {
            "conversion": "ichimoku_conversion_line",
            "base": "ichimoku_base_line",
            "span_a": "ichimoku_a",
            "span_b": "ichimoku_b",
        },
    ),
}


def _directional(c: Columns) -> Answers:
    bars = (c.high, c.low, c.close)
    return {
        "": talib.ADX(*bars, 14),
        "plus": talib.PLUS_DI(*bars, 14),
        "minus": talib.MINUS_DI(*bars, 14),
    }


def _three(names: tuple[str, ...], answers: tuple[Array, ...]) -> Answers:
    return dict(zip(names, answers, strict=True))


#: What TA-Lib is asked: ours, in its seed rule, to its function.
TALIB: dict[str, Ask] = {
    "SMA(20)": lambda c: {"": talib.SMA(c.close, 20)},
    "WMA(9)": lambda c: {"": talib.WMA(c.close, 9)},
    "EMA(14)": lambda c: {"": talib.EMA(c.close, 14)},
    "DEMA(20)": lambda c: {"": talib.DEMA(c.close, 20)},
    "TEMA(20)": lambda c: {"": talib.TEMA(c.close, 20)},
    "TRIX(15)": lambda c: {"": talib.TRIX(c.close, 15)},
    "MACD(12,26,9,seed=talib)": lambda c: _three(
        ("", "signal", "histogram"), talib.MACD(c.close, 12, 26, 9)
    ),
    "PPO(12,26,9)": lambda c: {"": talib.PPO(c.close, 12, 26, talib.MA_Type.EMA)},
    "RSI(14,flat=0)": lambda c: {"": talib.RSI(c.close, 14)},
    "KAMA(10,2,30)": lambda c: {"": talib.KAMA(c.close, 10)},
    "BOLLINGER(20,2)": lambda c: _three(
        ("upper", "middle", "lower"), talib.BBANDS(c.close, 20, 2.0, 2.0)
    ),
    "TRUE_RANGE(first=previous_close)": lambda c: {"": talib.TRANGE(c.high, c.low, c.close)},
    "ATR(14,first=previous_close)": lambda c: {"": talib.ATR(c.high, c.low, c.close, 14)},
    "NATR(14,first=previous_close)": lambda c: {"": talib.NATR(c.high, c.low, c.close, 14)},
    "MOMENTUM(10)": lambda c: {"": talib.MOM(c.close, 10)},
    "ROC(12)": lambda c: {"": talib.ROC(c.close, 12)},
    "STOCHASTIC(14,3,3)": lambda c: _three(
        ("k", "d"), talib.STOCH(c.high, c.low, c.close, 14, 3, 0, 3, 0)
    ),
    "WILLIAMS_R(14)": lambda c: {"": talib.WILLR(c.high, c.low, c.close, 14)},
    "OBV": lambda c: {"": talib.OBV(c.close, c.volume)},
    "AD": lambda c: {"": talib.AD(c.high, c.low, c.close, c.volume)},
    "MFI(14)": lambda c: {"": talib.MFI(c.high, c.low, c.close, c.volume, 14)},
    "ADX(14,seed=talib)": _directional,
    "CCI(20)": lambda c: {"": talib.CCI(c.high, c.low, c.close, 20)},
    "ULTIMATE(7,14,28)": lambda c: {"": talib.ULTOSC(c.high, c.low, c.close, 7, 14, 28)},
    "AROON(25)": lambda c: {
        **_three(("down", "up"), talib.AROON(c.high, c.low, 25)),
        "oscillator": talib.AROONOSC(c.high, c.low, 25),
    },
    "PSAR(0.02,0.2)": lambda c: {"": talib.SAR(c.high, c.low, 0.02, 0.2)},
}

#: From which row `ta` is asked, where it says something before it knows (see its notes in the
#: documentation), and up to which from the end, where its last value is none.
TA_FIRST = {"ICHIMOKU(9,26,52)": 52, "ADX(14)": 28}
TA_LAST = {"ADX(14)": 1}
