"""The predictions of one partition of indicators: each closed bar in, its predictions out.

Data that flows:

    indicators -> features (`serving_entry.py`, one a symbol and interval)
               -> rows of a fetch, in one call a version -> prediction and interval -> `predictions`
    the bar behind a label -> what became of each prediction -> `outcomes`, the interval, monitors
    an hour of event time over -> what the monitors know -> `monitoring`
    alias records in the same log -> which version predicts from the next record on

Invariants, beside those of `tables/derived.py`:

- which version predicts depends on the log: a replay swaps at the same record. Its bytes are those
  that the log names by their hash, or it predicts nothing (`serving_models.py`);
- a prediction is the same bits whatever else is in the fetch; intervals depend on the labels that
  were known before the bar, not on the fetch;
- exactly one alias is served: the champion, or the one that the symbol's share gives, where that
  names a version.

| key of a row | value |
|---|---|
| `e`, `j` and symbol, interval | `Forecasts` and its journal (`tables/journaled.py`) |
| `a` and model, alias | generation, version, and the SHA-256 of versions by number |
| `s` and model, alias, version, SHA-256 | `VersionMonitor` |
| `l` and the same | state of a version that learns from what comes |
| `h` | the hour that the monitors have reached |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.contracts.batch import RecordBatch
from app.contracts.predictions import (
    AlternativeRecord,
    OutcomeRecord,
    PredictionRecord,
    alias_decoder,
    indicators_input_decoder,
)
from app.contracts.wire import encoder
from models.predicting.building import within_session
from models.predicting.monitoring import Realised
from models.predicting.monitoring_pairs import Champion
from models.predicting.online import Look
from models.predicting.predictor import assign
from models.predicting.serving_aliases import ALIAS_PREFIX, Aliases
from models.predicting.serving_entry import Forecasts, Given, Settled
from models.predicting.serving_jobs import Fetch, Job, Predictions
from models.predicting.serving_models import Catalog, Serving
from models.predicting.serving_monitors import (
    HOUR_KEY,
    LEARNER_PREFIX,
    MONITOR_PREFIX,
    Monitors,
)
from tables.derived import BadRecordError, DerivedConfiguration, check_bar_time
from tables.indicators.sets import Outcome
from tables.journaled import JournaledPartition
from tables.markets import Instruments, Market
from tables.parsing import DECODE_ERRORS
from tables.symbols import SymbolFaults
from tables.windows import Reader

CLOSE = "CLOSE"
#: Symbols and versions of which it is remembered whether their calendars agree.
MAX_FITTING = 100_000
CHAMPION = "champion"

_OUTCOMES = {
    Outcome.NEW: "applied",
    Outcome.REVISED: "revised",
    Outcome.EMPTIED: "revised",
    Outcome.OLDER: "older",
    Outcome.REPEATED: "repeated",
}
_decode_row = msgspec.msgpack.Decoder(list).decode
_encode_row = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True)
class ServingConfiguration:
    """What changes predictions, beside the versions.

    Attributes:
        lengths: ns of each interval that indicators come of.
        alpha: share of labels that intervals may miss.
        rate: by how much a miss moves the level of the next interval.
        shares: of symbols, by alias; empty: the champion serves all.
        experiment: another name deals the symbols anew.
        max_ahead: how far (ns) a bar may begin after its append time; no bar of ours does.
    """

    lengths: Mapping[str, int]
    alpha: float
    rate: float
    shares: Mapping[str, int]
    experiment: str
    max_ahead: int


class PredictionsPartition(JournaledPartition[Forecasts]):
    """State of one partition of the predictions agent."""

    OUTCOMES = ("applied", "revised", "older", "repeated", "ignored", "control", "dead")
    #: Prefixes of the rows that `restore_row` takes.
    LOADED = (ALIAS_PREFIX, MONITOR_PREFIX, LEARNER_PREFIX, HOUR_KEY)
    SETTINGS = "predictions, indicators, markets, bars, partitions, bounds or feature sets"

    def __init__(
        self,
        configuration: DerivedConfiguration,
        partition: int,
        read: Reader | None,
        chosen: ServingConfiguration,
        catalog: Catalog,
        instruments: Instruments,
    ) -> None:
        """Begin without bars and without aliases.

        Args:
            catalog: where versions are loaded from.
            instruments: when sessions are.
        """
        super().__init__(configuration, partition, read)
        self._chosen, self._catalog, self._instruments = chosen, catalog, instruments
        wants = catalog.wants
        self._kinds = wants.kinds
        #: What the features read of the indicators; the close makes the labels.
        inputs = {name for kind in wants.kinds for name in kind.plan().inputs} | {CLOSE}
        self._inputs = tuple(sorted(inputs))
        self._slots = wants.slots
        #: Slots of the models of each interval, model by model.
        self._models: dict[str, list[tuple[str, list[int]]]] = {}
        for model in sorted(wants.intervals):
            slots = [number for number, slot in enumerate(self._slots) if slot[0] == model]
            self._models.setdefault(wants.intervals[model], []).append((model, slots))
        self._faults = SymbolFaults(partition, configuration.partitions)
        self._aliases = Aliases(catalog)
        self._monitors = Monitors(partition, self._slots, self._aliases.find)
        self._jobs: list[Job] = []
        #: Whether versions were trained under the calendar of a symbol.
        self._fitting: dict[tuple[str, str], bool] = {}

    # --- entries ---------------------------------------------------------------------------

    def _market(self, key: bytes) -> Market:
        return self._instruments.market(key.partition(b"\0")[0].decode())

    def decode(self, key: bytes, row: bytes | None) -> Forecasts:
        """Make an entry of its row, or a new one."""
        chosen = self._chosen
        market = self._market(key)
        if row is None:
            return Forecasts(self._kinds, market, chosen.alpha, chosen.rate)
        state = _decode_row(row)
        return Forecasts.from_state(state, self._kinds, market, chosen.alpha, chosen.rate)

    def encode(self, key: bytes, entry: Forecasts) -> bytes:
        """Make a row of an entry."""
        return _encode_row(entry.state())

    def replay(self, key: bytes, entry: Forecasts, item: list[Any]) -> None:
        """Let an entry take a bar again, with what was predicted from it."""
        entry.replay(item, self._inputs)

    # --- records ---------------------------------------------------------------------------

    def apply(self, batch: RecordBatch) -> None:
        """Take a batch: its features one by one, its predictions together."""
        super().apply(batch)
        self._predict()

    def take_record(self, value: bytes, offset: int, append_time: int) -> str:
        """Take indicators, or a move of an alias.

        Raises:
            BadRecordError: it is neither, or does not belong here.
        """
        try:
            record = indicators_input_decoder.decode(value)
        except DECODE_ERRORS:
            return self._take_move(value)
        fault = self._faults.of(record.symbol)
        if fault is not None:
            raise BadRecordError(fault)
        length = self._chosen.lengths.get(record.interval)
        if length is None:
            raise BadRecordError("unknown_interval")
        check_bar_time(record.start, length, append_time + self._chosen.max_ahead)
        if record.interval not in self._models:
            return "ignored"
        found = record.values
        try:
            values = [found[name] for name in self._inputs]
        except KeyError:
            raise BadRecordError("missing_indicators") from None
        close = found[CLOSE]
        if self.maximum is None or record.start > self.maximum:
            self.maximum = record.start
        key = record.symbol.encode() + b"\0" + record.interval.encode()
        entry = self.entry(key)
        outcome = entry.take(
            record.start, record.revision, None if close is None else found, exact=record.exact
        )
        if outcome not in (Outcome.OLDER, Outcome.REPEATED):
            rows = tuple(each.row for each in entry.series)
            exact = all(each.exact for each in entry.series)
            kept = None if close is None else values
            self._jobs.append(
                Job(
                    *(key, entry, record.symbol, record.interval, record.start, record.revision),
                    *(outcome, exact, kept, close, rows),
                )
            )
        return _OUTCOMES[outcome]

    # --- aliases ---------------------------------------------------------------------------

    def _take_move(self, value: bytes) -> str:
        try:
            move = alias_decoder.decode(value)
        except DECODE_ERRORS:
            raise BadRecordError("malformed") from None
        if (move.version is None) != (move.sha256 is None):
            raise BadRecordError("malformed")
        if self._aliases.is_news(move):
            # What came before is predicted by what was named then.
            self._predict()
            self._aliases.take(move)
        return "control"

    def announcements(self) -> Sequence[bytes]:
        """Control records that this partition's log lacks: moves that the registry knows."""
        return self._aliases.announcements()

    # --- predictions -----------------------------------------------------------------------

    def _predict(self) -> None:
        """Predict what was taken since the last call."""
        jobs, self._jobs = self._jobs, []
        if not jobs:
            return
        fetch = Fetch(jobs)
        found = fetch.infer(
            (slot, interval, serving)
            for interval, models in self._models.items()
            for _, slots in models
            for slot in slots
            if (serving := self._aliases.serves(slot)) is not None
        )
        counted = 0
        for number, job in enumerate(jobs):
            end = job.start + self._chosen.lengths[job.interval]
            if self._monitors.is_over(end):
                self._count_rows(fetch, counted, number)
                counted = number
                for record in self._monitors.advance(end, self._aliases.places()):
                    self.put("monitoring", record.model.encode(), encoder.encode(record))
            self._judge(job)
            self._give(job, number, found)
        self._count_rows(fetch, counted, len(jobs))

    def _count_rows(self, fetch: Fetch, first: int, end: int) -> None:
        """Let the monitors count the rows of the jobs from `first` to before `end`."""
        for place in self._aliases.places():
            serving = self._aliases.serves(place[0])
            if serving is not None:
                interval = self._catalog.wants.intervals[self._aliases.slots[place[0]][0]]
                self._monitors.count(place, fetch.rows(interval, serving.features, first, end))

    def _judge(self, job: Job) -> None:
        """Say what became of what waited for the bar before."""
        settled = job.entry.settle(job.start)
        champions = {
            (self._slots[given.slot][0], start, given.span): given
            for (start, _, given), _ in settled
            if self._slots[given.slot][1] == CHAMPION
        }
        for each in settled:
            given = each.waiting.given
            place = self._aliases.place(given.slot, given.version)
            if given.note is not None and place is not None:
                self._monitors.learn(place, given.note, each.target)
            if given.value is not None:
                model = self._slots[given.slot][0]
                beside = champions.get((model, each.waiting.start, given.span))
                self._tell(job, each, given.value, beside)

    def _tell(self, job: Job, settled: Settled, value: float, champion: Given | None) -> None:
        (start, _, given), target = settled
        model, alias = self._slots[given.slot]
        length = self._chosen.lengths[job.interval]
        low, high = given.low, given.high
        record = OutcomeRecord(
            symbol=job.symbol,
            interval=job.interval,
            start=start,
            model=model,
            alias=alias,
            version=given.version,
            served=given.served,
            horizon=given.span // length,
            prediction=value,
            low=low,
            high=high,
            target=target,
            error=target - value,
            inside=None if low is None or high is None else low <= target <= high,
            previous=given.previous,
            realised=start + given.span + length,
        )
        self.put("outcomes", job.symbol.encode(), encoder.encode(record))
        beside = None
        if champion is not None and champion is not given and champion.value is not None:
            beside = Champion(champion.generation, champion.version, champion.value)
        place = self._aliases.place(given.slot, given.version)
        if place is not None:
            item = Realised(value, low, high, target, given.previous, start + length, beside)
            self._monitors.update(place, item)

    def _give(self, job: Job, number: int, found: Predictions) -> None:
        """Publish and keep what is predicted from a bar."""
        given: list[Given] = []
        if job.outcome is not Outcome.EMPTIED and not any(each for each in job.rows):
            self._count("warm_up")
        for model, slots in self._models[job.interval]:
            given += self._of_model(job, number, model, slots, found)
        job.entry.hold(job.start, job.close, given)
        self.note(
            job.key,
            (job.start, job.revision, job.exact, job.values, job.close, given),
        )

    def _of_model(
        self,
        job: Job,
        number: int,
        model: str,
        slots: Sequence[int],
        found: Predictions,
    ) -> list[Given]:
        names = {self._slots[slot][1]: slot for slot in slots}
        serving = {slot: self._fits(job, self._aliases.serves(slot)) for slot in slots}
        chosen = self._chosen
        served = names.get(CHAMPION, slots[0])
        if chosen.shares:
            dealt = names[assign(job.symbol, chosen.experiment, chosen.shares)]
            # Whose alias names nothing serves nobody.
            served = dealt if serving[dealt] is not None else served
        champion = serving[served]
        given = []
        for slot in slots:
            each, value = serving[slot], found.get(slot, {}).get(number)
            look = None
            if each is not None and each.learns and job.rows[each.features] is not None:
                look = self._look(job, slot, each)
                value = look.prediction
            if each is not None and (value is not None or look is not None):
                note = None if look is None else look.note
                given.append(self._given(job, slot, each, value, served=slot == served, note=note))
        if champion is None:
            self._count("no_model")
            return given
        if job.outcome is Outcome.EMPTIED or any(
            each.served and each.value is not None for each in given
        ):
            self._publish(job, model, served, champion, given)
        return given

    def _fits(self, job: Job, serving: Serving | None) -> Serving | None:
        """A version, unless it was trained under another calendar than the symbol's."""
        if serving is None:
            return None
        key = (job.symbol, serving.sha256)
        if key not in self._fitting:
            if len(self._fitting) >= MAX_FITTING:
                self._fitting.clear()
            self._fitting[key] = serving.fits(job.symbol, job.entry.market)
        if self._fitting[key]:
            return serving
        self._count("other_market")
        return None

    def _look(self, job: Job, slot: int, serving: Serving) -> Look:
        row = job.rows[serving.features]
        place = (slot, serving.manifest.version, serving.sha256)
        found = None if row is None else self._monitors.look(place, row)
        return Look(None, None) if found is None else found

    def _given(
        self,
        job: Job,
        slot: int,
        serving: Serving,
        value: float | None,
        *,
        served: bool,
        note: list[float | None] | None,
    ) -> Given:
        manifest, calibration, entry = serving.manifest, serving.calibration, job.entry
        close = job.close
        if close is None:
            raise AssertionError("a prediction from a bar without a close")
        version = manifest.version
        low, high = None, None
        if value is not None:
            low, high = entry.band(slot, version, calibration).value.interval(value)
        length = self._chosen.lengths[job.interval]
        span = manifest.horizon * length
        end = job.start + length
        market = None if serving.across_sessions else entry.market
        labelled = within_session(end, length, span, market)
        previous = None
        if within_session(end - span, length, span, market):
            previous = entry.previous(job.start, close, span)
        return Given(
            *(slot, version, self._aliases.generation(slot), value, low, high),
            *(span, labelled, previous, calibration.scale, served, note),
        )

    def _publish(
        self, job: Job, model: str, served: int, champion: Serving, given: Sequence[Given]
    ) -> None:
        manifest = champion.manifest
        value, low, high = None, None, None
        others = {}
        for each in given:
            if each.served:
                value, low, high = each.value, each.low, each.high
            elif each.value is not None:
                alias = self._slots[each.slot][1]
                others[alias] = AlternativeRecord(each.version, each.value, each.low, each.high)
        record = PredictionRecord(
            job.symbol,
            job.interval,
            job.start,
            job.revision,
            job.exact,
            model,
            manifest.horizon,
            self._slots[served][1],
            manifest.version,
            value,
            low,
            high,
            others,
        )
        self.put("predictions", job.symbol.encode(), encoder.encode(record))

    def _count(self, detail: str) -> None:
        self.details[detail] = self.details.get(detail, 0) + 1

    # --- rows ------------------------------------------------------------------------------

    def changed_rows(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Rows of entries, aliases and monitors that have changed since the last call."""
        entries = list(super().changed_rows())
        return entries + self._aliases.changed_rows() + self._monitors.changed_rows()

    def restore_row(self, key: bytes, row: bytes) -> None:
        """Take in what an alias names, or what is known of the versions."""
        held = self._aliases if key[:1] == ALIAS_PREFIX else self._monitors
        held.restore_row(key, row)
