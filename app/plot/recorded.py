"""Charts of files: bars as `candlewick run --export` writes them, and the rest computed of them.

By the code of the agents, over all bars of the file: the RSI is that of `candlewick indicators`,
anomalies are scored as the agent scores bars of that size. Predictions are those of a file that
`candlewick predict` has written.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from app.contracts.wire import BarRecord
from app.durations import parse_duration
from app.feeds.errors import FeedError
from app.plot.chart import RSI, Chart, PredictionRow, Selection, make_chart, one_model
from app.run.indicating import bars_of, indicate, read_bar_table
from app.run.predicting import SCHEMA
from app.setting_groups import AnomalySettings
from models.anomalies.bars import observation_of
from models.anomalies.market import MarketScorer
from models.anomalies.rules import RuleLimits
from tables.indicators.base import Context
from tables.indicators.registry import parse_indicators


def recorded_chart(
    path: Path, predictions: Path | None, chosen: Selection, anomalies: AnomalySettings
) -> Chart:
    """Return what a file of bars has of a symbol, with what is computed of it.

    Args:
        predictions: a file of `candlewick predict`; None: there are none.
        anomalies: how bars are scored.

    Raises:
        FeedError: a file is not as it must be.
        PlotError: there are no such bars, too many, or predictions of several models.
        OSError: a file cannot be read.
    """
    bars = _bars(path, chosen)
    values, _ = indicate(bars, parse_indicators(RSI), lambda symbol: Context(), lambda *done: None)
    drawn = chosen.cut([bar for bar in bars if chosen.has(bar.start)])
    return make_chart(
        chosen,
        [(b.start, b.open, b.high, b.low, b.close, b.volume, b.vwap) for b in drawn],
        {bar.start: each[RSI] for bar, each in zip(bars, values, strict=True) if each},
        _odd(bars, parse_duration(chosen.interval), anomalies),
        () if predictions is None else _predictions(predictions, chosen),
    )


def _bars(path: Path, chosen: Selection) -> list[BarRecord]:
    """Return the symbol's bars by rising starts, each in its highest revision."""
    table = read_bar_table(path)
    try:
        every = list(bars_of(path, _own(table, chosen)))
    except FeedError:
        # The line was that of the part.
        for _ in bars_of(path, table):
            pass
        raise
    newest: dict[int, BarRecord] = {}
    for bar in every:
        held = newest.get(bar.start)
        if held is None or bar.revision > held.revision:
            newest[bar.start] = bar
    return [newest[start] for start in sorted(newest)]


def _own(table: pa.Table, chosen: Selection) -> pa.Table:
    return table.filter(
        pc.and_(
            pc.equal(table.column("symbol"), chosen.symbol),
            pc.equal(table.column("interval"), chosen.interval),
        )
    )


def _odd(bars: list[BarRecord], interval: int, chosen: AnomalySettings) -> list[int]:
    """Return the starts of odd bars."""
    scorer = MarketScorer(
        interval=interval,
        false_alarms_per_day=chosen.false_alarms_per_day,
        session_gap=chosen.session_gap,
        warm_up=chosen.warm_up,
        limits=RuleLimits(
            chosen.price_share, chosen.size_times, chosen.overbought, chosen.oversold, None
        ),
    )
    odd = []
    for bar in bars:
        observation = observation_of(bar)
        if observation is None:
            continue
        scorer.update(observation)
        found = scorer.value
        if found is not None and found.is_anomaly:
            odd.append(bar.start)
    return odd


def _predictions(path: Path, chosen: Selection) -> list[PredictionRow]:
    """Return the predictions of the model.

    Raises:
        FeedError: the file has not the columns of `candlewick predict`.
        PlotError: several models, and none is chosen.
    """
    try:
        if path.suffix == ".csv":
            types = {field.name: field.type for field in SCHEMA}
            options = pa.csv.ConvertOptions(column_types=types, null_values=[""])
            table = pa.csv.read_csv(path, convert_options=options)
        else:
            table = pq.read_table(path)
        table = _own(table.select(SCHEMA.names).cast(SCHEMA), chosen)
    except (pa.ArrowInvalid, KeyError) as error:
        raise FeedError(path, None, f"no predictions: {' '.join(str(error).split())}") from error
    model = one_model(set(table.column("model").to_pylist()), chosen)
    table = table.filter(pc.equal(table.column("model"), model or ""))
    names = ("start_ns", "horizon", "prediction", "low", "high")
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))
