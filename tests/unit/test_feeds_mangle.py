"""Disorder, lateness and bad records on purpose: by the seed, and never by the chunks."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch
from app.contracts.wire import TradeRecord, encoder
from app.feeds.columns import TradeColumns, concatenate
from app.feeds.corrupt import CORRUPTIONS, Corrupter, Corruption, Limits
from app.feeds.mangle import Delays, delayed
from app.feeds.partitioning import partition_of
from app.feeds.source import MemorySource
from tables.bars import BarsPartition
from tables.configuration import BarsConfiguration
from tables.policies import policy_of

T0 = 1_381_152_600_000_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
LIMITS = Limits(value_bytes=8_192, partitions=4)
TRADE = b'{"symbol":"SPY","price":167.41,"size":100,"event_time":1381152600000000000,"sequence":1}'


def stream(count: int, step: int, chunk: int) -> MemorySource:
    trades = [TradeRecord("A", 1.0, 1.0, T0 + number * step) for number in range(count)]
    return MemorySource(trades, chunk)


def sent(source: MemorySource, delays: Delays) -> TradeColumns:
    return concatenate(list(delayed(source.chunks(), delays)))


@given(st.integers(1, 200), st.integers(0, 3 * SECOND), st.integers(1, 50), st.integers(0, 9))
@settings(deadline=None)
def test_nothing_is_lost_and_chunks_do_not_matter(
    count: int, disorder: int, chunk: int, seed: int
) -> None:
    delays = Delays(disorder=disorder, late=0.2, horizon=MINUTE, seed=seed)
    one = sent(stream(count, SECOND // 10, count), delays)
    other = sent(stream(count, SECOND // 10, chunk), delays)
    assert sorted(one.sequence.tolist()) == list(range(count))
    assert one.sequence.tolist() == other.sequence.tolist()
    assert one.event_time.tolist() == [T0 + number * SECOND // 10 for number in one.sequence]


def test_disorder_stays_within_its_bound() -> None:
    bound = 900_000_000
    columns = sent(stream(5_000, SECOND // 100, 512), Delays(disorder=bound, seed=1))
    behind = np.maximum.accumulate(columns.event_time) - columns.event_time
    assert 0.5 * bound < behind.max() <= bound
    assert (behind > 0).mean() > 0.5


def test_another_seed_is_another_order_and_the_same_one_the_same() -> None:
    orders = [
        sent(stream(500, SECOND // 100, 100), Delays(disorder=SECOND, seed=seed)).sequence.tolist()
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_of_the_late_half_are_within_the_horizon_and_half_beyond() -> None:
    horizon = 15 * MINUTE
    columns = sent(stream(40_000, SECOND // 5, 1_000), Delays(late=0.05, horizon=horizon, seed=4))
    behind = np.maximum.accumulate(columns.event_time) - columns.event_time
    within = ((behind >= 2 * MINUTE - SECOND) & (behind <= 10 * MINUTE)).sum()
    beyond = ((behind >= 20 * MINUTE - SECOND) & (behind <= 30 * MINUTE)).sum()
    assert ((behind == 0) | (behind >= 2 * MINUTE - SECOND)).mean() > 0.99
    assert 700 < within < 1_300
    assert 700 < beyond < 1_300


def test_delays_of_nothing_change_nothing() -> None:
    assert not Delays()
    columns = sent(stream(50, SECOND, 7), Delays())
    assert columns.sequence.tolist() == list(range(50))


def reason_of(value: bytes | None) -> str | None:
    """The engine's own reason for a value sent to SPY's partition of four."""
    state = BarsPartition(
        BarsConfiguration(
            (1_000_000_000,),
            1_000_000_000,
            900_000_000_000,
            policy_of("all"),
            4,
            "test",
            max_value_bytes=LIMITS.value_bytes,
        ),
        partition_of("SPY", 4),
        lambda key: None,
    )
    append_time = np.array([2_000_000_000_000_000_000], dtype=np.int64)
    state.apply(RecordBatch("ticks", 0, 0, 1, [value], np.zeros(1, dtype=np.int64), append_time))
    dead = state.publisher.outputs["dead"]
    return dict(dead[0].headers)["reason"].decode() if dead else None


@pytest.mark.parametrize("kind", CORRUPTIONS, ids=lambda kind: kind.name)
def test_every_kind_of_bad_record_is_bad_for_its_reason(kind: Corruption) -> None:
    values = kind.make(TRADE, LIMITS)
    assert values
    assert [reason_of(value) for value in values] == [kind.reason] * len(values)
    assert reason_of(TRADE) is None


def test_the_kinds_have_names_of_their_own_and_cover_what_was_asked() -> None:
    names = [kind.name for kind in CORRUPTIONS]
    assert len(set(names)) == len(names)
    assert {"not_json", "halves", "two_objects", "negative_size", "nan", "infinity"} <= set(names)
    assert {"huge_integer", "missing_symbol", "too_early", "far_future"} <= set(names)
    assert {"other_partition", "unknown_condition", "empty", "null", "too_large"} <= set(names)


def test_halves_are_json_only_together() -> None:
    (halves,) = [kind.make(TRADE, LIMITS) for kind in CORRUPTIONS if kind.name == "halves"]
    first, second = halves
    assert (first or b"") + (second or b"") == TRADE
    for half in halves:
        with pytest.raises(ValueError, match=r".+"):
            json.loads(half or b"")


def test_bad_records_come_by_share_and_seed_whatever_the_chunks() -> None:
    values = [TRADE] * 20_000
    whole = Corrupter(0.05, LIMITS, seed=7).after(values)
    split = Corrupter(0.05, LIMITS, seed=7)
    parts = [
        (start + place, bad)
        for start in range(0, len(values), 333)
        for place, bad in split.after(values[start : start + 333])
    ]
    assert whole == parts
    assert 850 < len(whole) < 1_150
    assert all(one[0] < other[0] for one, other in pairwise(whole))
    assert whole != Corrupter(0.05, LIMITS, seed=8).after(values)
    lengths = {len(bad) for _, bad in whole}
    assert lengths == {1, 2}


def test_with_one_partition_no_symbol_is_anothers() -> None:
    inserted = Corrupter(1.0, Limits(8_192, 1), seed=1).after([TRADE] * 2_000)
    assert len(inserted) == 2_000
    assert not any(b"ELSEWHERE" in (value or b"") for _, bad in inserted for value in bad)


def test_a_trade_with_every_field_can_be_made_bad() -> None:
    whole = encoder.encode(TradeRecord("SPY", 1.5, 2.0, T0, 't"1', 5, "P", ("iso",), "é"))
    for kind in CORRUPTIONS:
        for value in kind.make(whole, LIMITS):
            assert reason_of(value) == kind.reason, kind.name
