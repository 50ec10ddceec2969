"""Predictions of recorded bars, by the code of the agent: bars in, predictions out.

Data that flows, from files: bars, each start by its highest revision -> an `IndicatorSet` a symbol
-> records of the indicators topic -> a `PredictionsPartition` for each partition -> rows. So a row
has the bits that the agent would have published, intervals and all, had the version been the
champion from the first bar on and no older bar been revised. Of a version that learns this holds
where the bars of a partition were published by time and then symbol.

From the archive: all versions of the bars, in the order of the log -> an `IndicatorsPartition` and
a `PredictionsPartition` for each partition -> rows. What was revised too late is met too late here
as well, so each row is the one that was live, for all rows (`tests/broker`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from app.archive.versions import Versions, bar_versions
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
from tables.derived import DerivedConfiguration, DerivedPartition
from tables.indicating import IndicatorsPartition, contexts_of
from tables.indicators.base import Context
from tables.indicators.registry import Request, parse_indicators
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


@dataclass(frozen=True)
class ServedVersion:
    """The version that predicts, and the settings it is served with.

    Attributes:
        model, version: of the registry.
        kind: the features it was trained on.
        alpha, rate: of the intervals, as the settings `predictions.alpha` and `predictions.rate`.
        partitions: of the topics: a version that learns does so in each by itself.
    """

    registry: Registry
    model: str
    version: int
    kind: type[FeatureSet]
    instruments: Instruments
    alpha: float
    rate: float
    partitions: int = 1

    @property
    def interval(self) -> str:
        """Of the bars that the version predicts from."""
        return self.registry.manifest(self.model, self.version).interval


class _Predictor:
    """The agent's partitions, for one version that is the champion from the first record on."""

    def __init__(self, served: ServedVersion, entries: int, *, fill_forward: bool) -> None:
        registry, model, version = served.registry, served.model, served.version
        partitions = served.partitions
        manifest = registry.manifest(model, version)
        interval = manifest.interval
        wants = Wants({model: interval}, (CHAMPION,), [served.kind], manifest.horizon, fill_forward)
        catalog = Catalog(lambda: registry, wants, 1, 2**62)
        loaded = catalog.serving(registry.load(model, version))
        intervals = {interval: parse_duration(interval)}
        chosen = ServingConfiguration(intervals, served.alpha, served.rate, {}, "batch", MAX_TIME)
        configuration = DerivedConfiguration(partitions, "", 2**31, entries)
        move = encoder.encode(alias_move(model, CHAMPION, 1, version, loaded.sha256))
        self._states = []
        self._values = [[move] for _ in range(partitions)]
        for number in range(partitions):
            state = PredictionsPartition(
                *(configuration, number, None, chosen, catalog, served.instruments)
            )
            state.begin(0)
            self._states.append(state)
        self.found: list[PredictionRecord] = []

    def add(self, number: int, value: bytes) -> bool:
        """Take the next record of a partition of the indicators; whether it is time to go on."""
        self._values[number].append(value)
        if len(self._values[number]) < _BATCH:
            return False
        self._flush(number)
        return True

    def _flush(self, number: int) -> None:
        _apply(self._states[number], "indicators", number, self._values[number])
        self._values[number].clear()
        taken = self._states[number].take("batch").outputs.get("predictions", ())
        self.found.extend(prediction_decoder.decode(each.value or b"") for each in taken)

    def end(self) -> dict[str, int]:
        """Take what is left, and return why bars have no prediction, by reason.

        Raises:
            ValueError: the agent would have refused a bar.
        """
        details, dead = Counter[str](), Counter[str]()
        for number, state in enumerate(self._states):
            self._flush(number)
            details.update(state.details)
            dead.update(state.dead_reasons)
        _refuse(dead)
        return dict(details)


def _refuse(dead: Mapping[str, int]) -> None:
    if dead:
        reasons = ", ".join(f"{reason} {count}" for reason, count in dead.items())
        raise ValueError(f"bars that the agent would refuse: {reasons}")


def predict_bars(
    bars: Sequence[BarRecord],
    served: ServedVersion,
    *,
    fill_forward: bool = False,
    progress: Progress = lambda label, done, total: None,
) -> tuple[list[PredictionRecord], dict[str, int]]:
    """Return the predictions of bars of one interval, and why some have none, by reason.

    Raises:
        ValueError: two intervals, two bars of one start and revision, or a symbol that is none.
        ModelError: the version is broken, or for other features or bars.
        TrainingError: XGBoost is not installed.
    """
    series = series_of(bars, fill_forward=fill_forward)
    predictor = _Predictor(served, len(series) + 1, fill_forward=fill_forward)
    total = sum(map(len, series.values()))
    homes = {symbol: partition_of(symbol.encode(), served.partitions) for symbol in series}
    records = _indicators(series, served.kind, served.instruments, fill_forward)
    for done, (symbol, value) in enumerate(records, 1):
        if predictor.add(homes[symbol], value):
            progress("bars", done, total)
    without = predictor.end()
    return predictor.found, without


def predict_versions(
    versions: Sequence[Versions],
    served: ServedVersion,
    *,
    fill_forward: bool = False,
    progress: Progress = lambda label, done, total: None,
) -> tuple[list[PredictionRecord], dict[str, int]]:
    """Return the predictions of all versions of bars in the order of the log, as they were live.

    Args:
        versions: bars of the version's interval, by partition; a partition may come in parts.

    Raises:
        ValueError: a partition beyond `partitions`, or a bar that the agent would refuse.
        ModelError, TrainingError: see `predict_bars`.
    """
    partitions = served.partitions
    entries = len({bar.symbol for each in versions for bar in each.bars}) + 1
    predictor = _Predictor(served, entries, fill_forward=fill_forward)
    configuration = DerivedConfiguration(partitions, "", 2**31, entries)
    requests = {served.interval: _requests(served.kind)}
    states: dict[int, IndicatorsPartition] = {}
    done, total = 0, sum(len(each.bars) for each in versions)
    for each in versions:
        number = each.partition
        if number >= partitions:
            raise ValueError(
                f"bars of partition {number}, where topics.partitions is {partitions}: take the "
                "settings that the archive was written with"
            )
        state = states.get(number)
        if state is None:
            state = states[number] = IndicatorsPartition(
                configuration,
                number,
                None,
                requests,
                MAX_TIME,
                context_of=contexts_of(served.instruments),
                fill_forward=fill_forward,
            )
            state.begin(0)
        for begin in range(0, len(each.bars), _BATCH):
            part = each.bars[begin : begin + _BATCH]
            _apply(state, "bars", number, [encoder.encode(bar) for bar in part])
            for record in state.take("batch").outputs.get("indicators", ()):
                predictor.add(number, record.value or b"")
            done += len(part)
            progress("bars", done, total)
    for state in states.values():
        _refuse(state.dead_reasons)
    without = predictor.end()
    return predictor.found, without


def _requests(kind: type[FeatureSet]) -> tuple[Request, ...]:
    """Indicators that the features are made of, and the close."""
    wanted = kind.plan().requests
    names = {name for each in wanted for name in each.names}
    return (*wanted, *(() if CLOSE in names else parse_indicators(CLOSE)))


def _indicators(
    series: dict[str, list[BarRecord]],
    kind: type[FeatureSet],
    instruments: Instruments,
    fill_forward: bool,
) -> Iterator[tuple[str, bytes]]:
    """Symbols and records that the indicators agent would publish, by time and then symbol."""
    requests = _requests(kind)
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


def _apply(state: DerivedPartition, topic: str, number: int, values: Sequence[bytes]) -> None:
    base = state.next or 0
    offsets = np.arange(base, base + len(values), dtype=np.int64)
    state.apply(
        RecordBatch(
            *(topic, number, base, base + len(values), list(values), offsets),
            # Whatever the bars' times are, they are not ahead of it.
            np.zeros(len(values), dtype=np.int64),
        )
    )


def write_predictions(
    source: Sequence[Path] | str,
    target: Path,
    served: ServedVersion,
    *,
    fill_forward: bool,
    progress: Progress,
) -> Predicted:
    """Write the predictions of files of bars, or of the archive at a place.

    Of several predictions of a bar, from its revisions, the last is written.

    Raises:
        FeedError: a file is not as it must be, or has no bars of the version's interval.
        ArchiveError, ValueError, ImportError: the archive cannot be read, or has no such bars.
        ModelError, TrainingError, ValueError: see `predict_bars`, `predict_versions`.
        OSError: a file cannot be read or written.
    """
    interval = served.interval
    if isinstance(source, str):
        versions = bar_versions(source, interval)
        count = sum(len(each.bars) for each in versions)
        found, without = predict_versions(
            versions, served, fill_forward=fill_forward, progress=progress
        )
    else:
        bars = Files(source).read(interval).bars
        count = len(bars)
        found, without = predict_bars(bars, served, fill_forward=fill_forward, progress=progress)
    # In the order of the log: a later one is of a higher revision.
    last = {(each.symbol, each.start): each for each in found}
    rows = (
        (
            *(each.symbol, each.interval, each.start, each.model, each.version, each.horizon),
            *(each.prediction, each.low, each.high),
        )
        for _, each in sorted(last.items())
    )
    write_export(target, rows, SCHEMA)
    return Predicted(len(last), count, served.version, without)
