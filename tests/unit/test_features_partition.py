"""A partition of features as the engine keeps it: fetches, checkpoints and restarts anywhere."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch
from app.contracts.features import Features
from app.contracts.outputs import OutputRecord, RoutedRecord
from models.features import FeatureRecord, FeaturesConfiguration
from models.features import partition as module
from models.features.partition import (
    HEADER_KEY,
    LOADED_PREFIXES,
    WAITING_PER_ROW,
    FeaturesPartition,
)
from tables.derived import DerivedConfiguration, load
from tables.markets import SessionMarket, TradingDays
from tables.rows import MARKER_KEY
from tables.snapshot import StateRefusedError
from tests.unit.bars_log import configuration
from tests.unit.test_features_against_reference import (
    DAY,
    KINDS,
    SECOND,
    START,
    day_of,
    random_log,
)

DEPLOYMENT = DerivedConfiguration(1, "hash", 4096, 10)
FLUSH = b'{"type":"flush"}'
BAD = (None, b"", b"{", b"[1]", b'{"type":"clock","event_time":1}', b"{" + b" " * 5000 + b"}")
Log = Sequence[tuple[bytes | None, int]]


def features_of(**changes: Any) -> FeaturesConfiguration:
    """Windows of 5 min with a short gap, one partition."""
    return FeaturesConfiguration(configuration(), gap=20 * SECOND, **changes)


def log_of(kind: str, seed: int, count: int) -> Log:
    """A log in disorder with late, repeated and bad records, and control records."""
    rng = random.Random(seed)
    log: list[tuple[bytes | None, int]] = []
    for record in random_log(kind, seed, count):
        log.append((json.dumps(record.value).encode(), record.append_time))
        roll = rng.random()
        if roll < 0.1:
            log.append((rng.choice(BAD), record.append_time))
        elif roll < 0.12:
            log.append((rng.choice((FLUSH, b'{"type":"historical"}')), record.append_time))
    return log


def batch_of(log: Log, begin: int, end: int) -> RecordBatch:
    """Records `[begin, end)` of a log as a fetch."""
    part = log[begin:end]
    appends = np.array([append for _, append in part], dtype=np.int64)
    offsets = np.arange(begin, begin + len(part), dtype=np.int64)
    return RecordBatch("input", 0, begin, end, [value for value, _ in part], offsets, appends)


class Run:
    """A partition with a store, as the engine would keep it."""

    def __init__(self, kind: str, features: FeaturesConfiguration) -> None:
        self.kind, self.features = kind, features
        self.store: dict[bytes, bytes] = {}
        self.published: dict[str, list[OutputRecord | RoutedRecord]] = {}
        self.state = self.load()
        self.state.begin(0)

    def load(self, deployment: DerivedConfiguration = DEPLOYMENT) -> FeaturesPartition:
        """The state as the store has it."""
        state = FeaturesPartition(deployment, 0, KINDS[self.kind], self.features, day_of)
        rows = [(key, row) for key, row in self.store.items() if key[:1] in LOADED_PREFIXES]
        return load(state, "topic", self.store.get, reversed(rows))

    def checkpoint(self) -> None:
        """Publish and store what has changed."""
        taken = self.state.take("topic")
        for name, records in taken.outputs.items():
            self.published.setdefault(name, []).extend(records)
        for key, value in taken.rows:
            if value is None:
                del self.store[key]
            else:
                self.store[key] = value
        self.state.stored()

    def feed(self, log: Log, rng: random.Random | None = None) -> Run:
        """The log in one fetch and checkpoint; or in any, with crashes between them."""
        size = len(log)
        while self.state.next is not None and self.state.next < len(log):
            begin = self.state.next
            if rng is not None:
                size = rng.choice((1, 3, 20, 200))
            self.state.apply(batch_of(log, begin, min(begin + size, len(log))))
            roll = rng.random() if rng is not None else 1.0
            if roll < 0.6:
                self.checkpoint()
            if roll < 0.3 or (roll < 0.7 and self.store):
                self.state = self.load()
        self.checkpoint()
        return self


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(("trades", "quotes")),
    row=st.sampled_from((1, 3, WAITING_PER_ROW)),
)
def test_fetches_checkpoints_and_crashes_change_nothing(seed: int, kind: str, row: int) -> None:
    rng = random.Random(seed)
    log = log_of(kind, seed, rng.choice((1, 40, 250)))
    features = features_of(max_pending=rng.choice((2, 20, 1000)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WAITING_PER_ROW", row)
        whole = Run(kind, features).feed(log)
        split = Run(kind, features).feed(log, rng)
    assert split.published == whole.published
    assert split.store == whole.store
    assert split.state.counts == whole.state.counts
    assert sum(whole.state.counts.values()) == len(log)


@pytest.mark.parametrize("kind", ["trades", "quotes"])
def test_outputs_are_those_of_the_features_alone(kind: str) -> None:
    log = log_of(kind, 8, 400)
    run = Run(kind, features_of()).feed(log)
    alone = KINDS[kind](features_of(), 0, day_of)
    alone.apply(batch_of(log, 0, len(log)))
    assert run.published == {name: records for name, records in alone.outputs.items() if records}
    assert set(run.published) == {"features", "late", "dead"}
    assert run.state.counts == alone.counts
    assert run.state.maximum == alone.maximum


def test_what_is_pending_and_why_records_are_dead_is_counted() -> None:
    state = Run("trades", features_of()).state
    assert (state.pending_outputs, state.pending_bytes, state.maximum) == (0, 0, None)
    trade = b'{"symbol":"A","price":1,"size":1,"event_time":%d}' % START
    log = [(value, START) for value in (trade, b"", b"{", None, b"{", FLUSH)]
    state.apply(batch_of(log, 0, 6))
    assert state.dead_reasons == {"empty": 1, "malformed": 2, "null": 1}
    assert state.counts["dead"] == 4
    assert (state.maximum, state.rows, state.next) == (START, 1, 6)
    taken = state.take("topic")
    written = [record for records in taken.outputs.values() for record in records]
    # Five sliding windows, a session, a day, and the dead.
    assert len(written) == 7 + 4
    assert (state.pending_outputs, state.pending_bytes) == (0, 0)
    state.apply(batch_of([*log, (b"{", START)], 6, 7))
    assert (state.pending_outputs, state.pending_bytes) == (1, 101)


def test_many_records_of_one_grace_are_many_small_rows_which_go_again() -> None:
    run = Run("trades", features_of())
    value = b'{"symbol":"A","price":1,"size":1,"event_time":%d,"trade_id":"%061d"}'
    log = [(value % (START + number, number), START) for number in range(3_000)]
    log.append((b'{"type":"clock","event_time":%d}' % (START + 2 * SECOND), START + 2 * SECOND))
    run.feed(log[:-1])
    assert sum(key[:1] == b"w" for key in run.store) == 3_000 / WAITING_PER_ROW - 1
    assert max(map(len, run.store.values())) < 50_000
    run.state = run.load()
    run.feed(log)
    assert sorted(run.store) == [HEADER_KEY, MARKER_KEY, b"sA"]
    assert run.store == Run("trades", features_of()).feed(log).store


def test_state_of_other_settings_versions_and_batches_is_refused() -> None:
    run = Run("trades", features_of()).feed(log_of("trades", 3, 40))
    with pytest.raises(ValueError, match="batch begins at 0, the state at"):
        run.state.apply(batch_of([(FLUSH, START)], 0, 1))
    with pytest.raises(StateRefusedError, match=r"\(features, markets, bars, .* differ\)"):
        run.load(replace(DEPLOYMENT, results_hash="other"))
    run.store[HEADER_KEY] = b"\x96\x09\x00\x00\xc0\x80\x90"
    with pytest.raises(StateRefusedError, match="features of version 9, this code reads 1"):
        run.load()


def test_records_are_those_of_the_contract() -> None:
    assert FeatureRecord.__struct_fields__ == tuple(Features.model_fields)
    for kind in KINDS:
        for record in Run(kind, features_of()).feed(log_of(kind, 5, 250)).published["features"]:
            value = record.value or b""
            found = Features.model_validate_json(value).model_dump()
            assert found == json.loads(value)
            assert found["kind"] == kind
            assert record.key == found["symbol"].encode()
            names = " ".join((Features.__doc__ or "").split())
            assert all(f"`{name}`" in names for name in found["values"])


def test_trading_days_are_those_of_the_market_in_any_order() -> None:
    hour = 3_600 * SECOND
    # Each opens the evening before, in New York.
    evening = START // DAY * DAY
    market = SessionMarket(
        "M",
        "America/New_York",
        [(date(2023, 11, 15), [(evening, evening + 12 * hour)]),
         (date(2023, 11, 16), [(evening + 24 * hour, evening + 40 * hour)])],
    )  # fmt: skip
    days, rng = TradingDays(market), random.Random(1)
    found = set()
    for _ in range(2_000):
        time = evening + rng.randrange(-60 * hour, 90 * hour)
        assert days(time) == market.session_of(time)
        found.add(days(time))
    assert len(found) > 5
