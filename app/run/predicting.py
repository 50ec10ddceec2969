"""Predictions of recorded bars, by the code of the agent: a file of bars in, predictions out.

Data that flows: bars, each start by its highest revision -> `LiveSeries`' indicators -> records of
the indicators topic -> a `PredictionsPartition` for each partition -> rows. So a row has the bits
that the agent would have published, intervals and all, had the version been the champion from the
first bar on and no older bar been revised. Of a version that learns this holds where the bars of a
partition were published by time and then symbol.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from app.contracts.batch import RecordBatch
from app.contracts.predictions import PredictionRecord, alias_move, prediction_decoder
from app.contracts.records import MAX_TIME
from app.contracts.wire import BarRecord, IndicatorsRecord, encoder
from app.durations import parse_duration
from app.run.export import write_export
from app.training.sources import Files
from models.predicting.building import series_of
from models.predicting.featuresets import FeatureSet
from models.predicting.registry import Registry
from models.predicting.serving import CHAMPION, CLOSE, PredictionsPartition, ServingConfiguration
from models.predicting.serving_models import Catalog, Wants
from tables.derived import DerivedConfiguration
from tables.indicators.base import Context
from tables.indicators.registry import parse_indicators
from tables.indicators.sets import IndicatorSet
from tables.markets import Instruments, TradingDays
from tables.partitioning import partition_of

SCHEMA = pa.schema(
    [
        pa.field("symbol", pa.string()),
        pa.field("interval", pa.string()),
        pa.field("start_ns", pa.int64()),
        pa.field("model", pa.string()),
        pa.field("version", pa.int64()),
        pa.field("horizon", pa.int64()),
        pa.field("prediction", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
    ]
)
#: Bars a batch; it changes no row.
_BATCH = 1_000

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Predicted:
    """What was written, and how many bars gave no prediction, by reason."""

    rows: int
    bars: int
    version: int
    without: dict[str, int]


def predict_bars(
    bars: Sequence[BarRecord],
    registry: Registry,
    model: str,
    version: int,
    kind: type[FeatureSet],
    instruments: Instruments,
    *,
    alpha: float,
    rate: float,
    partitions: int = 1,
    fill_forward: bool = False,
    progress: Progress = lambda label, done, total: None,
) -> tuple[list[PredictionRecord], dict[str, int]]:
    """Return the predictions of bars of one interval, and why some have none, by reason.

    Args:
        alpha, rate: of the intervals, as the settings `predictions.alpha` and `predictions.rate`.
        partitions: of the topics: a version that learns does so in each by itself.

    Raises:
        ValueError: two intervals, two bars of one start and revision, or a symbol that is none.
        ModelError: the version is broken, or for other features or bars.
        TrainingError: XGBoost is not installed.
    """
    series = series_of(bars, fill_forward=fill_forward)
    interval = next((own[0].interval for own in series.values()), "")
    manifest = registry.manifest(model, version)
    wants = Wants({model: interval}, (CHAMPION,), [kind], manifest.horizon)
    catalog = Catalog(lambda: registry, wants, 1, 2**62)
    loaded = catalog.serving(registry.load(model, version))
    chosen = ServingConfiguration(
        {interval: parse_duration(interval)}, alpha, rate, {}, "batch", MAX_TIME
    )
    configuration = DerivedConfiguration(partitions, "", 2**31, len(series) + 1)
    move = encoder.encode(alias_move(model, CHAMPION, 1, version, loaded.sha256))
    states = []
    for number in range(partitions):
        states.append(
            PredictionsPartition(configuration, number, None, chosen, catalog, instruments)
        )
        states[number].begin(0)
    values = [[move] for _ in states]
    found: list[PredictionRecord] = []
    done, total = 0, sum(map(len, series.values()))

    def flush(number: int) -> None:
        _apply(states[number], number, values[number])
        values[number].clear()
        taken = states[number].take("batch").outputs.get("predictions", ())
        found.extend(prediction_decoder.decode(each.value or b"") for each in taken)
        progress("bars", done, total)

    homes = {symbol: partition_of(symbol.encode(), partitions) for symbol in series}
    for symbol, value in _indicators(series, kind, instruments, fill_forward):
        number = homes[symbol]
        values[number].append(value)
        done += 1
        if len(values[number]) >= _BATCH:
            flush(number)
    details, dead = Counter[str](), Counter[str]()
    for number, state in enumerate(states):
        flush(number)
        details.update(state.details)
        dead.update(state.dead_reasons)
    if dead:
        reasons = ", ".join(f"{reason} {count}" for reason, count in dead.items())
        raise ValueError(f"bars that the agent would refuse: {reasons}")
    return found, dict(details)


def _indicators(
    series: dict[str, list[BarRecord]],
    kind: type[FeatureSet],
    instruments: Instruments,
    fill_forward: bool,
) -> Iterator[tuple[str, bytes]]:
    """Symbols and records that the indicators agent would publish, by time and then symbol."""
    wanted = kind.plan().requests
    names = {name for each in wanted for name in each.names}
    requests = (*wanted, *(() if CLOSE in names else parse_indicators(CLOSE)))
    sets = {
        symbol: IndicatorSet(
            requests, Context(TradingDays(instruments.market(symbol))), fill_forward=fill_forward
        )
        for symbol in series
    }
    every = sorted(
        (bar for own in series.values() for bar in own), key=lambda bar: (bar.start, bar.symbol)
    )
    for bar in every:
        held = sets[bar.symbol]
        held.take(bar)
        # Emptied bars are not among them.
        record = IndicatorsRecord(
            bar.symbol, bar.interval, bar.start, bar.revision, held.exact, held.values()
        )
        yield bar.symbol, encoder.encode(record)


def _apply(state: PredictionsPartition, number: int, values: Sequence[bytes]) -> None:
    base = state.next or 0
    offsets = np.arange(base, base + len(values), dtype=np.int64)
    state.apply(
        RecordBatch(
            *("indicators", number, base, base + len(values), list(values), offsets),
            # Whatever the bars' times are, they are not ahead of it.
            np.zeros(len(values), dtype=np.int64),
        )
    )


def write_predictions(
    paths: Sequence[Path],
    target: Path,
    registry: Registry,
    model: str,
    version: int,
    kind: type[FeatureSet],
    instruments: Instruments,
    *,
    alpha: float,
    rate: float,
    partitions: int,
    progress: Progress,
) -> Predicted:
    """Write the predictions of files of bars.

    Raises:
        FeedError: a file is not as it must be, or has no bars of the version's interval.
        ModelError, TrainingError, ValueError: see `predict_bars`.
        OSError: a file cannot be read or written.
    """
    bars = Files(paths).read(registry.manifest(model, version).interval).bars
    found, without = predict_bars(
        bars,
        registry,
        model,
        version,
        kind,
        instruments,
        alpha=alpha,
        rate=rate,
        partitions=partitions,
        progress=progress,
    )
    rows = (
        (
            *(each.symbol, each.interval, each.start, each.model, each.version, each.horizon),
            *(each.prediction, each.low, each.high),
        )
        for each in sorted(found, key=lambda each: (each.symbol, each.start))
    )
    write_export(target, rows, SCHEMA)
    return Predicted(len(found), len(bars), version, without)
