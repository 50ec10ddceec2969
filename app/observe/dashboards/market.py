"""The dashboard of a symbol: candles with what was computed of them, from InfluxDB."""

from __future__ import annotations

from app.observe.dashboards.flux import (
    BUCKETS,
    MODEL,
    PIVOT,
    SERIES,
    STRINGS,
    SYMBOL,
    columns,
    points,
    rows,
    tag_values,
    told,
)
from app.observe.dashboards.model import Dashboard, Flux, Panel, Row, Style, Variable

_PRICES = ("open", "high", "low", "close")
RSI, MACD = "RSI(14)", "MACD(12,26,9)"
BANDS = tuple(f"BOLLINGER(20,2).{part}" for part in ("upper", "lower"))
#: Below and above: oversold and overbought.
OVERSOLD, OVERBOUGHT = 30.0, 70.0
_OF_TRADES = 'r.source == "bars"'

_CANDLES = rows("bars", [*_PRICES, "volume"], SERIES)
_VWAP = STRINGS + told("bars", "vwap", SERIES)


def _joined(field: str, others: str, mapped: str) -> str:
    """Return rows joined with a field of the bars of their time, and made into columns."""
    bars = rows("bars", [field], SERIES)
    return (
        f"bars = {bars}\n\n{others}\n\n"
        'join(tables: {bars: bars, others: others}, on: ["_time"])\n'
        f"  |> map(fn: (r) => ({{{mapped}}}))"
    )


# A prediction is made at its bar's close, of the close `horizon` bars later: it stands there.
_PREDICTED = STRINGS + _joined(
    "close",
    "others = " + told("predictions", "prediction", SERIES, MODEL, more=["low", "high", "horizon"]),
    "_time: time(v: int(v: r._time) + r.horizon * int(v: ${interval})), "
    "predicted: r.close * (1.0 + r.prediction), "
    "predicted_low: r.close * (1.0 + r.low), predicted_high: r.close * (1.0 + r.high)",
)
_ANOMALY = _joined(
    "high",
    "others = "
    + points("anomalies", ["is_anomaly"], SERIES, _OF_TRADES)
    + "\n  |> filter(fn: (r) => r._value)\n  |> group()\n"
    + f"  |> keep(columns: {columns('_time')})",
    "_time: r._time, anomaly: r.high",
)

_LINE = {"custom.drawStyle": "line", "custom.lineWidth": 1, "custom.fillOpacity": 0}


def _colour(name: str) -> dict[str, object]:
    return {"color": {"mode": "fixed", "fixedColor": name}}


_CANDLE_PANEL = Panel(
    "Candles",
    "Bars of the chosen size with their VWAP and volume. Marks above a candle are anomalies. The "
    "dashed line is the close that the model predicts, drawn at the bar that it is predicted for, "
    "within the interval that should hold it; it was known that many bars earlier.",
    "none",
    (Flux(_CANDLES), Flux(_VWAP), Flux(_PREDICTED), Flux(_ANOMALY)),
    kind="candlestick",
    width=24,
    height=14,
    styles=(
        Style("vwap", {"displayName": "VWAP", **_LINE, **_colour("orange")}),
        Style(
            "predicted",
            {
                **_LINE,
                "custom.lineStyle": {"fill": "dash", "dash": [6, 4]},
                **_colour("purple"),
            },
        ),
        Style("predicted_low", {**_LINE, "custom.lineWidth": 0, **_colour("purple")}),
        Style(
            "predicted_high",
            {
                **_LINE,
                "custom.lineWidth": 0,
                "custom.fillBelowTo": "predicted_low",
                "custom.fillOpacity": 12,
                **_colour("purple"),
            },
        ),
        Style("anomaly", {"custom.drawStyle": "points", "custom.pointSize": 9, **_colour("red")}),
        Style("volume", {"unit": "short"}),
    ),
)

_RSI_PANEL = Panel(
    "RSI",
    f"Relative strength of 14 bars. Above {OVERBOUGHT:g} a symbol counts as overbought, below "
    f"{OVERSOLD:g} as oversold.",
    "none",
    (Flux(STRINGS + told("indicators", RSI, SERIES, name="RSI")),),
    width=12,
    limits=(0, 100),
    thresholds=((None, "blue"), (OVERSOLD, "transparent"), (OVERBOUGHT, "red")),
    zones=True,
)
_MACD_PANEL = Panel(
    "MACD",
    "The difference of the averages of 12 and 26 bars, and its own average of 9: where the first "
    "crosses the second from below, the price turns up.",
    "none",
    (Flux(rows("indicators", [MACD, f"{MACD}.signal"], SERIES)),),
    width=12,
)
_BAND_PANEL = Panel(
    "Close within its Bollinger bands",
    "The close, and two standard deviations of 20 bars around their mean.",
    "none",
    (Flux(rows("bars", ["close"], SERIES)), Flux(rows("indicators", BANDS, SERIES))),
    width=12,
)
_SPREAD_PANEL = Panel(
    "Spread",
    "Of the best ask and bid, the mean of each bar's quotes. Empty where no quotes are sent.",
    "none",
    (Flux(rows("quote_bars", ["spread"], SERIES)),),
    width=12,
)
_RETURN_PANEL = Panel(
    "Predicted and realised return",
    "At the time of the bar that a return begins with: what was predicted, the interval around it, "
    "and what came (target). A good model has most targets within.",
    "percentunit",
    (
        Flux(
            rows(
                "prediction_outcomes",
                ["prediction", "low", "high", "target", "served"],
                SERIES,
                MODEL,
            )
            + "\n  |> filter(fn: (r) => r.served)"
            + '\n  |> drop(columns: ["served"])'
        ),
    ),
    width=12,
    styles=(
        Style("low", {"custom.lineWidth": 0, **_colour("purple")}),
        Style(
            "high",
            {
                "custom.lineWidth": 0,
                "custom.fillBelowTo": "low",
                "custom.fillOpacity": 12,
                **_colour("purple"),
            },
        ),
        Style("prediction", _colour("purple")),
        Style("target", {"custom.drawStyle": "points", **_colour("green")}),
    ),
)
_SCORE_PANEL = Panel(
    "Anomaly scores",
    "Scores of odd bars and the threshold that each was above: a tenth of -log10 of how likely a "
    "bar as odd is. The other bars have no point unless all scores are published.",
    "none",
    (Flux(rows("anomalies", ["score", "threshold"], SERIES, _OF_TRADES)),),
    width=12,
    limits=(0, 1),
    points=True,
)
_ODD_PANEL = Panel(
    "Newest anomalies",
    "Of all symbols: when, how odd, what was odd, and the rules that it breaks.",
    "none",
    (
        Flux(
            rows("anomalies", ["score", "reason", "rules"], tags=["symbol", "interval", "source"])
            + '\n  |> sort(columns: ["_time"], desc: true)\n  |> limit(n: 50)'
        ),
    ),
    kind="table",
    width=12,
)
_LATEST_PANEL = Panel(
    "Latest bars",
    "Of all symbols: the newest bar of the chosen size.",
    "none",
    (
        Flux(
            points("bars", ["close", "volume", "trades"], 'r.interval == "${interval}"')
            + f"\n  |> last()\n{PIVOT}\n  |> group()\n"
            + f"  |> keep(columns: {columns('_time', 'symbol', 'close', 'volume', 'trades')})\n"
            + '  |> sort(columns: ["volume"], desc: true)'
        ),
    ),
    kind="table",
    width=12,
)
_EVENTS_PANEL = Panel(
    "Quality events",
    "Gaps, outliers and other faults of the symbol's ticks, by kind.",
    "short",
    (
        Flux(
            points("quality_events", ["offset"], SYMBOL)
            + '\n  |> group(columns: ["kind"])\n'
            + "  |> aggregateWindow(every: v.windowPeriod, fn: count, createEmpty: false)\n"
            + f"  |> keep(columns: {columns('_time', 'kind', '_value')})"
        ),
    ),
    width=12,
    points=True,
    name="${__field.labels.kind}",
)
_SESSION_PANEL = Panel(
    "Completeness of sessions",
    "Of all symbols: the share of the session that was seen, of its open time or of the numbers "
    "that the feed counts; and the longest gap.",
    "none",
    (
        Flux(
            # A summary stands at the begin of its session, which may lie before what is shown.
            'import "date"\n\n'
            + rows(
                "quality_summaries", ["completeness", "longest_gap"], tags=["symbol", "input"]
            ).replace("v.timeRangeStart", "date.sub(d: 1d, from: v.timeRangeStart)")
            + '\n  |> sort(columns: ["completeness"])\n  |> limit(n: 50)'
        ),
    ),
    kind="table",
    width=12,
    styles=(
        Style("completeness", {"unit": "percentunit"}),
        Style("longest_gap", {"unit": "ns"}),
    ),
)

MARKET = Dashboard(
    "market",
    "Market",
    "One symbol: candles, indicators, anomalies and predictions, from InfluxDB.",
    (
        Row("Price", (_CANDLE_PANEL, _RSI_PANEL, _MACD_PANEL, _BAND_PANEL, _SPREAD_PANEL)),
        Row("Predictions and anomalies", (_RETURN_PANEL, _SCORE_PANEL, _ODD_PANEL)),
        Row("All symbols and the quality of ticks", (_LATEST_PANEL, _EVENTS_PANEL, _SESSION_PANEL)),
    ),
    variables=(
        Variable("bucket", "Bucket", Flux(BUCKETS)),
        Variable("symbol", "Symbol", Flux(tag_values("symbol", "bars"))),
        Variable("interval", "Bar size", Flux(tag_values("interval", "bars"))),
        Variable("model", "Model", Flux(tag_values("model", "predictions"))),
    ),
)
