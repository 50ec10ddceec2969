"""Corrections in batch: the bars that the independent reference publishes, and cases by hand.

The reference (tests/oracle) follows the page record by record, so that neither the engine nor the
code under test is what they are compared with.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.wire import encoder
from app.reconcile.batch import FIELDS, Values
from app.reconcile.compare import compare
from app.reconcile.corrections import Naming
from app.reconcile.judging import Key, Span
from app.reconcile.windows import LogPartition, Recomputed
from tables.configuration import BarsConfiguration
from tables.policies import EXTREMES, LAST, SIP_MATRIX, VOLUME, policy_of
from tests.oracle.reference import Reference
from tests.oracle.reference import Settings as ReferenceSettings
from tests.oracle.rules import Flags
from tests.unit.bars_log import SECOND, START, Log, batch, configuration, random_log, trade

FLUSH = b'{"type":"flush"}'
MATRIX = {
    name: Flags(bool(flags & EXTREMES), bool(flags & LAST), bool(flags & VOLUME))
    for name, flags in SIP_MATRIX.items()
}


def cancel(**fields: Any) -> bytes:
    """A cancel of symbol AAA."""
    given = {"type": "correction", "action": "cancel", "symbol": "AAA", "event_time": START}
    return encoder.encode(given | fields)


def correct(**fields: Any) -> bytes:
    """A correct of symbol AAA."""
    return cancel(action="correct", **fields)


def published(
    config: BarsConfiguration, policy: str, log: Log, span: Span | None = None
) -> dict[Key, Values]:
    """The highest revisions that the reference has at the end of a log."""
    reference = Reference(
        0,
        1,
        ReferenceSettings(
            intervals=config.intervals,
            policy=policy,
            grace=config.grace,
            correction_horizon=config.correction_horizon,
            recall_horizon=config.recall_horizon,
            max_ahead=config.max_ahead,
            max_message_bytes=2 * config.max_value_bytes,
            sip_matrix=MATRIX,
        ),
    )
    reference.feed_all(
        (offset, append // 1_000_000, value) for offset, (value, append) in enumerate(log)
    )
    return {
        (bar.symbol, bar.interval, bar.start): {name: getattr(bar, name) for name in FIELDS["bars"]}
        for bar in reference.bars
        if span is None or span.holds(bar.start)
    }


def recomputed(
    config: BarsConfiguration,
    log: Log,
    seed: int = 0,
    span: Span | None = None,
    border: int | None = None,
    first: int = 0,
) -> Recomputed:
    """The log as it is read from a broker, in other chunks each time; moving from `border` on."""
    rng = random.Random(seed)

    def read(reader: LogPartition | Naming) -> None:
        begin = first
        while begin < len(log):
            end = min(len(log), begin + rng.choice((1, 3, 20, 100)))
            if border is not None and begin < border:
                end = min(end, border)
            elif border is not None:
                reader.mark()
            reader.take(batch(log, begin, end))
            begin = end

    chosen = span or Span()
    partition = LogPartition(config, "bars", 0, chosen, whole=not first)
    read(partition)
    if not partition.corrections:
        return partition.result()
    naming = Naming(config, 0, partition.corrections)
    read(naming)
    partition = LogPartition(config, "bars", 0, chosen, whole=not first, changes=naming.changes)
    read(partition)
    return partition.result()


def make_log(seed: int, corrections: float = 0.1) -> Log:
    """A random log with corrections."""
    rng = random.Random(seed)
    length, historical = rng.randrange(1, 250), rng.random() < 0.3
    return random_log(seed, length, historical=historical, corrections=corrections)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    policy=st.sampled_from(("all", "sip")),
    share=st.sampled_from((0.03, 0.1, 0.4)),
    recall=st.sampled_from((10, 60, 86_400)),
)
def test_bars_in_batch_are_those_of_the_reference(
    seed: int, policy: str, share: float, recall: int
) -> None:
    config = configuration(policy=policy_of(policy), recall_horizon=recall * SECOND)
    log = make_log(seed, share)
    assert recomputed(config, log, seed).bars == published(config, policy, log)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_span_holds_the_bars_that_start_in_it(seed: int) -> None:
    span = Span(START + 20 * SECOND, START + 90 * SECOND)
    log = make_log(seed)
    found = recomputed(configuration(), log, seed, span)
    assert found.bars == published(configuration(), "all", log, span)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_worker_that_goes_on_meanwhile_causes_no_drift(seed: int) -> None:
    """Bars are read at any moment between two markers; what changes between them is left out."""
    log = make_log(seed, 0.2)
    rng = random.Random(seed)
    before, read, after = sorted(rng.randrange(len(log) + 1) for _ in range(3))
    found = recomputed(configuration(), log[:after], seed, border=before)
    drift = compare("bars", found, published(configuration(), "all", log[:read]))
    assert drift.above(0.0) == []
    assert (drift.missing, drift.extra) == (0, 0)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_cut_log_causes_no_drift(seed: int) -> None:
    """Windows that may hold a trade that is gone are left out, corrected or not.

    Ids are left out of the log: a duplicate of a trade that is gone looks like a first one.
    """
    config = configuration(max_ahead=SECOND)
    log = [
        (None if value is not None and b"trade_id" in value else value, append)
        for value, append in make_log(seed, 0.2)
    ]
    first = random.Random(seed).randrange(len(log))
    found = recomputed(config, log, seed, first=first)
    after = log[first][1] + config.max_ahead
    bars = published(config, "all", log)
    assert found.bars == {key: bar for key, bar in bars.items() if not first or key[2] > after}


# --- by hand ----------------------------------------------------------------------------------

ONE_SECOND = configuration(intervals=(SECOND,))
#: Its bar is closed by the last trade.
THREE = [
    trade("AAA", 10.0, 1, START, trade_id="a"),
    trade("AAA", 30.0, 2, START + 1, trade_id="b"),
    trade("AAA", 20.0, 4, START + 2, trade_id="c"),
    trade("AAA", 11.0, 1, START + 5 * SECOND),
]


def found_of(*values: bytes) -> Recomputed:
    """What is recomputed of a log, which is what the reference has."""
    log = [(value, START + 60 * SECOND) for value in values]
    found = recomputed(ONE_SECOND, log)
    assert found.bars == published(ONE_SECOND, "all", log)
    return found


def first_bar(*values: bytes) -> tuple[Any, ...]:
    """Fields of the first second's bar."""
    return tuple(found_of(*values).bars["AAA", "1s", START].values())


def test_a_cancelled_high_leaves_the_second_highest() -> None:
    assert first_bar(*THREE) == (10, 30, 10, 20, 7, 150 / 7, 3)
    assert first_bar(*THREE, cancel(trade_id="b")) == (10, 20, 10, 20, 5, 18, 2)


def test_a_corrected_price_and_size_count_in_their_place() -> None:
    values = (correct(trade_id="a", new_price=8.0), correct(trade_id="a", new_size=3))
    assert first_bar(*THREE, *values) == (8, 30, 8, 20, 9, (24 + 60 + 80) / 9, 3)


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
def test_what_is_left_of_a_bar_without_trades_is_its_last_close(order: str) -> None:
    values = [cancel(trade_id=each) for each in order]
    close = {"a": 10.0, "b": 30.0, "c": 20.0}[order[-1]]
    assert first_bar(*THREE, *values) == (close, close, close, close, 0, None, 0)
    # As it was published last: corrected before it was cancelled.
    values.insert(2, correct(trade_id=order[-1], new_price=40.0))
    assert first_bar(*THREE, *values) == (40, 40, 40, 40, 0, None, 0)


def test_a_bar_comes_back_with_a_later_trade() -> None:
    values = [cancel(trade_id=each) for each in "abc"]
    assert first_bar(*THREE, *values, trade("AAA", 7.0, 1, START + 9)) == (7, 7, 7, 7, 1, 7, 1)


def test_what_was_cancelled_before_its_window_closed_left_no_bar() -> None:
    values = [*THREE[:3], *(cancel(trade_id=each) for each in "abc"), *THREE[3:]]
    found = found_of(*values)
    assert (found.bars, found.left_out) == ({}, {"open": 1, "moving": 0, "cut": 0})


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        # Open when the flush came, so its last close is left.
        ([THREE[0], FLUSH, cancel(trade_id="a")], 1),
        # Not opened any more when the flush came.
        ([THREE[0], cancel(trade_id="a"), FLUSH], 0),
        ([THREE[0], cancel(trade_id="a"), FLUSH, THREE[1]], 0),
        ([THREE[0], cancel(trade_id="a"), THREE[1], FLUSH], 1),
        # Closed by the flush for good: the last trade is a revision.
        ([THREE[0], FLUSH, cancel(trade_id="a"), THREE[1]], 1),
    ],
)
def test_a_flush_closes_what_has_a_trade_at_that_moment(values: list[bytes], bars: int) -> None:
    assert len(found_of(*values).bars) == bars


def test_a_refused_correction_changes_nothing() -> None:
    log = [(value, START + 60 * SECOND) for value in [*THREE, cancel(trade_id="b")]]
    naming = Naming(ONE_SECOND, 0, [])
    naming.take(batch(log, 0, len(log)))
    assert naming.changes == {}


def test_trades_that_no_correction_may_mean_are_not_kept() -> None:
    values = [trade("AAA", 1.0, 1, START + each, trade_id=str(each)) for each in range(1000)]
    log = [(value, START) for value in [*values, cancel(trade_id="5")]]
    partition = LogPartition(ONE_SECOND, "bars", 0, Span())
    partition.take(batch(log, 0, len(log)))
    naming = Naming(ONE_SECOND, 0, partition.corrections)
    naming.take(batch(log, 0, len(log)))
    assert list(naming.changes) == [5]
    assert sum(map(len, naming._by_place.values())) == 1
