"""Which of our indicators a third party's table holds, and how it is read."""

from __future__ import annotations

from dataclasses import dataclass, field

OHLC = {"open": "Open", "high": "High", "low": "Low", "close": "Close"}
OHLCV = {**OHLC, "volume": "Volume"}
HLC = {"high": "High", "low": "Low", "close": "Close"}
HLCV = {**HLC, "volume": "Volume"}
CLOSE = {"close": "Close"}
CLOSE_VOLUME = {"close": "Close", "volume": "Volume"}
LOWER = {name: name for name in ("open", "high", "low", "close")}


@dataclass(frozen=True)
class Printed:
    """A table, our request, and the columns of its outputs."""

    file: str
    request: str
    outputs: dict[str, str]
    inputs: dict[str, str] = field(default_factory=lambda: dict(CLOSE))
    #: Rows after the first that cannot agree: the source saw bars before those it prints.
    first: int = 0
    #: Ours times this is theirs.
    factor: float = 1.0
    #: Rows at the end that are left out.
    last: int = 0
    #: Half a unit of the last digit that counts, where the source prints more than it knows.
    half: float | None = None
    #: The bars' own vwap is their mean of open, high, low and close.
    mean_as_vwap: bool = False
    #: In half units of the last digit; 1 is the printed precision.
    bound: float = 1.0
    #: Why anything here is not as usual.
    why: str = ""


_BANDS = {"lower": "lower_band", "middle": "middle_band", "upper": "upper_band"}
_SIGNAL = "signal and histogram are left out: the sheet's signal begins with the first line"
_ROUNDED = "computed from prices and volumes with more digits than are printed"
_SINGLE = "computed in 32 bits: of the digits printed, those of `half` count"

#: The spreadsheets in ta's tests, most of them StockCharts'.
SHEETS = (
    Printed("ta/cs-accum.csv", "AD", {"": "ADLine"}, HLCV),
    Printed("ta/cs-adx.csv", "ADX(14)", {"": "ADX", "plus": "+DI14", "minus": "-DI14"}, HLC),
    Printed("ta/cs-atr.csv", "ATR(14)", {"": "ATR"}, HLC),
    Printed("ta/cs-atr2.csv", "ATR(10)", {"": "ATR"}, HLC),
    Printed(
        "ta/cs-bbands.csv",
        "BOLLINGER(20,2)",
        {
            "lower": "LowBand",
            "middle": "MiddleBand",
            "upper": "HighBand",
            "width": "WidthBand",
            "percent": "PercentageBand",
        },
    ),
    Printed("ta/cs-cci.csv", "CCI(20)", {"": "CCI"}, HLC),
    Printed(
        "ta/cs-dc.csv",
        "DONCHIAN(20)",
        {**_BANDS, "width": "dc_band_width", "percent": "dc_percentage"},
        LOWER | {"open": "close"},
    ),
    Printed(
        "ta/cs-easeofmovement.csv",
        "EASE_OF_MOVEMENT(14)",
        {"": "SMA_EMV", "raw": "EMV"},
        {"high": "High", "low": "Low", "close": "Low", "volume": "Volume"},
    ),
    Printed("ta/cs-fi.csv", "FORCE_INDEX(13,seed=first)", {"": "FI"}, CLOSE_VOLUME),
    Printed("ta/cs-kama.csv", "KAMA(10,2,30)", {"": "KAMA"}),
    Printed(
        "ta/cs-kc.csv",
        "KELTNER(20,10,2,middle=first)",
        {**_BANDS, "width": "kc_band_width", "percent": "kc_percentage"},
        HLC,
    ),
    Printed("ta/cs-macd.csv", "MACD(12,26,9,seed=first)", {"": "MACD_line"}, why=_SIGNAL),
    Printed("ta/cs-mfi.csv", "MFI(14)", {"": "MFI"}, HLCV),
    Printed("ta/cs-obv.csv", "OBV(first=zero)", {"": "OBV"}, CLOSE_VOLUME),
    Printed("ta/cs-percentr.csv", "WILLIAMS_R(14)", {"": "Williams_%R"}, HLC),
    Printed("ta/cs-ppo.csv", "PPO(12,26,9,seed=first)", {"": "PPO"}, why=_SIGNAL),
    Printed(
        "ta/cs-psar.csv",
        "PSAR(0.02,0.2)",
        {"": "psar_down"},
        OHLC,
        first=8,
        why="the sheet begins with the first close; from the first turn on they agree",
    ),
    Printed(
        "ta/cs-pvo.csv",
        "PVO(12,26,9,seed=first)",
        {"": "PVO"},
        {"close": "Volume", "volume": "Volume"},
        why=_SIGNAL,
    ),
    Printed("ta/cs-roc.csv", "ROC(12)", {"": "ROC"}),
    Printed("ta/cs-rsi.csv", "RSI(14,seed=first)", {"": "RSI"}),
    Printed("ta/cs-soo.csv", "STOCHASTIC(14,3)", {"k": "SO", "d": "SO_SIG"}, HLC),
    Printed(
        "ta/cs-stc.csv",
        "STC(50,23,10,3,3,seed=first)",
        {"": "stc"},
        first=88,
        half=5e-5,
        why="the sheet's averages begin with the first line; they have drawn near by then",
    ),
    Printed("ta/cs-stochrsi.csv", "STOCH_RSI(14,14,1,1,seed=first)", {"": "StochRSI(14)"}),
    Printed(
        "ta/cs-tsi.csv",
        "TSI(25,13,seed=first)",
        {"": "TSI"},
        first=250,
        half=1e-2,
        why="the sheet rounds 2 / 26 to 0.07692",
    ),
    Printed("ta/cs-ui.csv", "ULCER_INDEX(14)", {"": "ulcer_index"}),
    Printed("ta/cs-ultosc.csv", "ULTIMATE(7,14,28)", {"": "Ult_Osc"}, HLC),
    Printed("ta/cs-vortex.csv", "VORTEX(14)", {"plus": "+VI14", "minus": "-VI14"}, HLC),
    Printed("ta/cs-vpt.csv", "VPT", {"": "unsmoothed vpt"}, CLOSE_VOLUME),
    Printed("ta/cs-vpt.csv", "VPT(14)", {"": "14-smoothed vpt"}, CLOSE_VOLUME),
    Printed("ta/cs-vwap.csv", "VWAP(14,price=typical)", {"": "vwap"}, HLCV),
    Printed("ta/cs-wma.csv", "WMA(9)", {"": "WMA"}, OHLCV),
)

#: Lean's. `spy_aps` and RMA of `spy_with_rma` are indicators that we have not; `spy_10_min` holds
#: bars alone.
LEAN = (
    Printed(
        "lean/spy_atr.txt", "ATR(14,average=sma)", {"": "Average True Range 14"}, OHLC,
        half=5e-6, why=_SINGLE,
    ),
    Printed("lean/spy_atr_wilder.txt", "ATR(14)", {"": "Average True Range 14"}, OHLC, bound=1.001),
    Printed(
        "lean/spy_bollinger_bands.txt",
        "BOLLINGER(20,2)",
        {
            "middle": "Moving Average 20",
            "upper": "Bollinger Bands® 20 2 Top",
            "lower": "Bollinger Bands® 20 2 Bottom",
            "width": "BandWidth",
            "percent": "%B",
        },
        bound=2.5,
        why=_ROUNDED,
    ),
    Printed(
        "lean/spy_cmf.txt", "CMF(20)", {"": "CMF_20"}, OHLCV,
        last=1, why="the last bar was not over when it was taken",
    ),
    Printed("lean/spy_dema.txt", "DEMA(5)", {"": "DEMA_5"}, LOWER),
    Printed("lean/spy_ema.csv", "EMA(14)", {"": "EMA14"}, {"close": "close"}),
    Printed("lean/spy_kama.txt", "KAMA(5,2,30)", {"": "KAMA_5"}, OHLCV),
    Printed(
        "lean/spy_mfi.txt", "MFI(20)", {"": "Money Flow Index 20"}, OHLCV, bound=2, why=_ROUNDED
    ),
    Printed("lean/spy_natr.txt", "NATR(5,first=previous_close)", {"": "NATR_5"}, OHLCV),
    Printed("lean/spy_tema.txt", "TEMA(5)", {"": "TEMA_5"}, LOWER),
    Printed("lean/spy_tr.txt", "TRUE_RANGE(previous_close)", {"": "TR"}, OHLCV),
    Printed("lean/spy_ultosc.txt", "ULTIMATE(7,14,28)", {"": "ULTOSC_7_14_28"}, OHLCV),
    Printed(
        "lean/spy_with_StochRSI.csv", "STOCH_RSI(14,14,3,3)", {"k": "k", "d": "d"}, factor=100
    ),
    Printed(
        "lean/spy_with_adx.txt", "ADX(14)",
        {"": "ADX 14", "plus": "+DI14", "minus": "-DI14"}, OHLC, bound=1.001,
    ),
    Printed(
        "lean/spy_with_cci.txt", "CCI(14)", {"": "Commodity Channel Index (CCI) 14"}, OHLC,
        half=5e-3, why=_SINGLE,
    ),
    Printed("lean/spy_with_indicators.txt", "SMA(14)", {"": "SMA14"}, bound=1.5, why=_ROUNDED),
    Printed("lean/spy_with_indicators.txt", "EMA(14)", {"": "EMA14"}, bound=1.5, why=_ROUNDED),
    Printed(
        "lean/spy_with_indicators.txt", "MACD(12,26,9)", {"": "MACD 12 26"},
        half=5e-4, why=_ROUNDED,
    ),
    Printed("lean/spy_with_indicators.txt", "RSI(14)", {"": "RSI 14 Wilder"}),
    Printed(
        "lean/spy_with_keltner.csv",
        "KELTNER(20,20,1.5,middle=typical,average=sma)",
        {
            "lower": "Keltner Channels 20 Bottom",
            "middle": "Middle Band",
            "upper": "Keltner Channels 20 Top",
        },
        OHLC,
        bound=2,
        why=_ROUNDED,
    ),
    Printed(
        "lean/spy_with_macd.txt",
        "MACD(12,26,9)",
        {"": "MACD", "signal": "Signal", "histogram": "Histogram"},
        OHLC,
        half=1e-5,
        why=_SINGLE,
    ),
    Printed("lean/spy_with_obv.txt", "OBV", {"": "OBV"}, OHLCV, half=1e4, why=_ROUNDED),
    Printed("lean/spy_with_rma.csv", "SMA(10)", {"": "SMA10"}, LOWER),
    Printed(
        "lean/spy_with_roc50.txt", "MOMENTUM(50)", {"": "Rate of Change 50"}, OHLC,
        half=5e-5, why=_SINGLE,
    ),
    Printed(
        "lean/spy_with_stoch12k3.txt", "STOCHASTIC(12,5,3)",
        {"k": "Stochastics 12 %K 3", "d": "%D 5"}, OHLC, half=5e-4, why=_SINGLE,
    ),
    Printed(
        "lean/spy_with_vwap.txt", "VWAP(50)", {"": "Moving VWAP 50"}, OHLCV, mean_as_vwap=True,
        bound=1.5,
        why="its price is (open + high + low + close) / 4",
    ),
    Printed("lean/spy_with_vwma.csv", "VWMA(20)", {"": "VWMA20"}, OHLCV),
    Printed(
        "lean/spy_with_williamsR14.txt", "WILLIAMS_R(14)", {"": "Williams %R 14"}, OHLC,
        half=5e-4, why=_SINGLE,
    ),
)  # fmt: skip

PRINTED = SHEETS + LEAN
