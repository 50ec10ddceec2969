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
from app.contracts.predictions import alias_decoder, indicators_input_decoder
from app.contracts.wire import encoder
from models.predicting.monitoring import Realised
from models.predicting.monitoring_pairs import Champion
from models.predicting.online import Look, Note
from models.predicting.serving_aliases import ALIAS_PREFIX, Aliases, Place
from models.predicting.serving_entry import Forecasts, Given, Settled
from models.predicting.serving_jobs import Fetch, Job, Line, Post
from models.predicting.serving_models import Catalog
from models.predicting.serving_monitors import (
    HOUR_KEY,
    LEARNER_PREFIX,
    MONITOR_PREFIX,
    Monitors,
)
from models.predicting.serving_records import outcome_record, prediction_record
from models.predicting.serving_rules import Rules
from tables.derived import BadRecordError, DerivedConfiguration, check_bar_time
from tables.indicators.sets import Outcome
from tables.journaled import JournaledPartition
from tables.markets import Instruments, Market
from tables.parsing import DECODE_ERRORS
from tables.symbols import SymbolFaults
from tables.windows import Reader

CLOSE = "CLOSE"
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
        #: Slot of the champion beside a slot that is none.
        self._beside: dict[int, int] = {}
        for model, alias in self._slots:
            if alias != CHAMPION and (model, CHAMPION) in self._slots:
                slot = self._slots.index((model, alias))
                self._beside[slot] = self._slots.index((model, CHAMPION))
        self._rules = Rules(chosen.shares, chosen.experiment)

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
            rows = tuple([each.row for each in entry.series])
            exact = all([each.exact for each in entry.series])
            kept = None if close is None else values
            self._jobs.append(
                Job(
                    *(key, entry, record.symbol, record.interval, record.start, record.revision),
                    *(outcome, exact, record.exact, kept, close, rows),
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
        lines = {interval: self._lines(fetch, interval) for interval in self._models}
        lengths = self._chosen.lengths
        counted = 0
        for number, job in enumerate(jobs):
            length = lengths[job.interval]
            end = job.start + length
            if self._monitors.is_over(end):
                self._count_rows(fetch, counted, number)
                counted = number
                for record in self._monitors.advance(end, self._aliases.places()):
                    self.put("monitoring", record.model.encode(), encoder.encode(record))
            self._judge(job, length)
            self._give(job, number, length, lines[job.interval])
        self._count_rows(fetch, counted, len(jobs))

    def _lines(self, fetch: Fetch, interval: str) -> list[Line]:
        """The models of an interval, with what their versions predict."""
        found = []
        for model, slots in self._models[interval]:
            posts = []
            for slot in slots:
                serving = self._aliases.serves(slot)
                if serving is not None:
                    span = serving.manifest.horizon * self._chosen.lengths[interval]
                    posts.append(
                        Post(
                            *(slot, self._slots[slot][1], self._aliases.generation(slot), serving),
                            *(serving.manifest.version, span, fetch.infer(interval, serving)),
                        )
                    )
            names = {self._slots[slot][1]: slot for slot in slots}
            found.append(Line(model, names, names.get(CHAMPION, slots[0]), posts))
        return found

    def _count_rows(self, fetch: Fetch, first: int, end: int) -> None:
        """Let the monitors count the rows of the jobs from `first` to before `end`."""
        for place in self._aliases.places():
            serving = self._aliases.serves(place[0])
            if serving is not None:
                interval = self._catalog.wants.intervals[self._aliases.slots[place[0]][0]]
                self._monitors.count(place, fetch.rows(interval, serving.features, first, end))

    def _judge(self, job: Job, length: int) -> None:
        """Say what became of what waited for the bar before."""
        settled = job.entry.settle(job.start)
        champions = {}
        if len(settled) > 1:
            champions = {(e.waiting.given.slot, e.waiting.start): e.waiting.given for e in settled}
        for each in settled:
            given = each.waiting.given
            place = self._aliases.place(given.slot, given.version)
            if given.note is not None and place is not None:
                self._monitors.learn(place, given.note, each.target)
            if given.value is None:
                continue
            outcome = outcome_record(job, each, given.value, length, self._slots)
            self.put("outcomes", job.symbol.encode(), encoder.encode(outcome))
            if place is not None:
                slot = self._beside.get(given.slot, -1)
                beside = champions.get((slot, each.waiting.start))
                self._watch(place, each, given.value, length, beside)

    def _watch(
        self, place: Place, settled: Settled, value: float, length: int, champion: Given | None
    ) -> None:
        (start, _, given), target = settled
        beside = None
        # Of the same bar and due at the same, so it was of the same horizon.
        if champion is not None and champion.value is not None:
            beside = Champion(champion.generation, champion.version, champion.value)
        low, high, previous = given.low, given.high, given.previous
        item = Realised(value, low, high, target, previous, start + length, beside)
        self._monitors.update(place, item)

    def _give(self, job: Job, number: int, length: int, lines: Sequence[Line]) -> None:
        """Publish and keep what is predicted from a bar."""
        given: list[Given] = []
        if job.outcome is not Outcome.EMPTIED and not any(job.rows):
            self._count("warm_up")
        for line in lines:
            given += self._of_model(job, number, length, line)
        job.entry.hold(job.start, job.close, given)
        self.note(
            job.key,
            (job.start, job.revision, job.came_exact, job.values, job.close, given),
        )

    def _of_model(self, job: Job, number: int, length: int, line: Line) -> list[Given]:
        rules, market = self._rules, job.entry.market
        posts = [each for each in line.posts if rules.fits(job.symbol, market, each.serving)]
        if len(posts) < len(line.posts):
            self._count("other_market", len(line.posts) - len(posts))
        alias, looks = rules.alias_of(job.symbol), []
        served, dealt = line.served, None if alias is None else line.slots[alias]
        for post in posts:
            value, note = post.predictions.get(number), None
            there = job.rows[post.serving.features] is not None
            if there and post.serving.learns:
                value, note = self._look(job, post)
            looks.append((post, value, note))
            # Whose alias names nothing, or does not dare yet, serves nobody.
            if post.slot == dealt and (value is not None or not there):
                served = dealt
        champion, given = None, []
        for post, value, note in looks:
            if post.slot == served:
                champion = post
            if value is not None or note is not None:
                mine = post.slot == served
                given.append(self._given(job, length, post, value, note, served=mine))
        if champion is None:
            self._count("no_model")
            return given
        if job.outcome is Outcome.EMPTIED or any(
            [each.served and each.value is not None for each in given]
        ):
            record = prediction_record(job, line.model, champion, given, self._slots)
            self.put("predictions", job.symbol.encode(), encoder.encode(record))
        return given

    def _look(self, job: Job, post: Post) -> Look:
        row = job.rows[post.serving.features]
        place = (post.slot, post.version, post.serving.sha256)
        found = None if row is None else self._monitors.look(place, row)
        return Look(None, None) if found is None else found

    def _given(
        self,
        job: Job,
        length: int,
        post: Post,
        value: float | None,
        note: Note | None,
        *,
        served: bool,
    ) -> Given:
        calibration, entry, close, span = post.serving.calibration, job.entry, job.close, post.span
        if close is None:
            raise AssertionError("a prediction from a bar without a close")
        low, high = None, None
        if value is not None:
            low, high = entry.band(post.slot, post.version, calibration).interval(value)
        within, end = self._rules.within_session, job.start + length
        market = None if post.serving.across_sessions else entry.market
        labelled = within(end, length, span, market)
        previous = None
        if within(end - span, length, span, market):
            previous = entry.previous(job.start, close, span)
        return Given(
            post.slot,
            post.version,
            post.generation,
            value,
            low,
            high,
            span,
            labelled,
            previous,
            calibration.scale,
            served,
            note,
        )

    def _count(self, detail: str, more: int = 1) -> None:
        self.details[detail] = self.details.get(detail, 0) + more

    # --- rows ------------------------------------------------------------------------------

    def changed_rows(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Rows of entries, aliases and monitors that have changed since the last call."""
        entries = list(super().changed_rows())
        return entries + self._aliases.changed_rows() + self._monitors.changed_rows()

    def restore_row(self, key: bytes, row: bytes) -> None:
        """Take in what an alias names, or what is known of the versions."""
        held = self._aliases if key[:1] == ALIAS_PREFIX else self._monitors
        held.restore_row(key, row)
