"""The quotes' state machine against the independent reference, on random logs.

`tests/oracle` shares no code with the engine; here both read the same log, and every publication,
late and dead record and every count must agree, in order, however the log is split.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch
from app.contracts.forms import pack
from tables.configuration import BarsConfiguration
from tables.policies import policy_of
from tables.quotes import QuotesPartition
from tests.oracle.quotes_reference import QuotesReference
from tests.oracle.reference import Settings as ReferenceSettings
from tests.oracle.rules import partition_of

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
BASE = 1_399_248_000 * SECOND
INTERVALS = (
    (SECOND, 60 * SECOND),
    (SECOND, 10 * SECOND, 60 * SECOND, 300 * SECOND),
    (60 * SECOND,),
    (2 * SECOND, 3 * SECOND, 120 * SECOND),
)
#: Partitions of the made-up topic; the engine under test has the first one.
PARTITIONS = 2
SYMBOLS = ("A", "B", "C", "D", "E", "F/X", "G", *(f"X{number}" for number in range(9)))
OWN = [name for name in SYMBOLS if partition_of(name.encode(), PARTITIONS) == 0]
#: The usual ones, one that comes rarely and may be one too many, and those of the other partition.
MINE, RARE = OWN[:3], OWN[3:]
OTHER = [name for name in SYMBOLS if name not in OWN]
MOST_SYMBOLS = len(MINE) + 1
REASONS = {
    "null", "empty", "too_large", "malformed", "bad_symbol", "event_time_too_early",
    "event_time_too_late", "wrong_partition", "too_many_symbols", "too_many_sources",
}  # fmt: skip
LogEntry = tuple[int, int, bytes | None]
#: Price of a bid: what traders see, and what rounds badly.
BIDS: tuple[Callable[[random.Random], float], ...] = (
    lambda rng: round(rng.uniform(1.3, 1.4), 5),
    lambda rng: rng.uniform(-200, 200),
    lambda rng: rng.choice((1e12 - 1, -1e12, 5e-324, -5e-324, 1, 0.1)),
    lambda rng: rng.choice((0, 0.0, -0.0)),
)
#: What is added to a bid for the ask: half grid units, nothing, a crossed market.
SPREADS: tuple[Callable[[random.Random], float], ...] = (
    lambda rng: round(rng.uniform(0, 0.001), 5),
    lambda rng: rng.randrange(8) * 2.0**-41,
    lambda rng: 0.0,
    lambda rng: rng.uniform(0, 100),
    lambda rng: -rng.random(),
)


def bad_value(rng: random.Random, now: int) -> bytes | None:
    """A record that must be dead."""
    good = {"symbol": MINE[0], "bid": 1, "ask": 2, "event_time": now}
    choices: tuple[dict[str, object], ...] = (
        {"symbol": "*"},
        {"symbol": ""},
        {"symbol": OTHER[0]},
        {"symbol": rng.choice(OTHER), "event_time": 5},
        {"event_time": 5},
        {"event_time": now + 10**18, "symbol": "*"},
        {"event_time": now + 10**18},
        {"event_time": float(now)},
        {"bid": "1"},
        {"ask": None},
        {"bid": True},
        {"ask": 1e13},
        {"ask_size": -1},
        {"bid_size": 1e13},
        {"sequence": -1},
        {"price": 1},
        {"size": 1},
        {"trade_id": "x"},
        {"conditions": []},
        {"type": "trade"},
        {"source": "a\0b"},
        {"venue": ""},
    )
    texts = (
        None,
        b"",
        b"{}",
        b"[]",
        b" " * (64 * 1024 + 1),
        b'{"type":"quote","bid":1,"ask":2,"event_time":%d}' % now,
        b'{"symbol":"A","bid":NaN,"ask":1,"event_time":%d}' % now,
        json.dumps(good).encode() * 2,
    )
    if rng.random() < 0.25:
        return rng.choice(texts)
    return json.dumps(good | rng.choice(choices)).encode()


def random_quote(rng: random.Random, now: int, with_sources: bool) -> bytes:
    """A quote up to 100 s before now; one in ten has a side of zero or is crossed."""
    behind = rng.choice((0, 0, 0, rng.randrange(3 * SECOND)))
    if rng.random() < 0.06:
        behind = rng.randrange(100 * SECOND)
    bid = rng.choices(BIDS, (60, 20, 5, 5))[0](rng)
    record: dict[str, object] = {
        "symbol": rng.choice(MINE),
        "bid": bid,
        "ask": bid + rng.choices(SPREADS, (50, 20, 10, 15, 5))[0](rng),
        "event_time": now - behind,
    }
    if rng.random() < 0.03:
        record["ask"] = rng.choice((0, -0.0))
    if rng.random() < 0.5:
        record["bid_size"] = rng.choice((0, -0.0, 1, 0.1, 1e12))
    if rng.random() < 0.5:
        record["ask_size"] = rng.choice((0, -0.0, 100, rng.random()))
    if rng.random() < 0.5:
        record["sequence"] = rng.choice((rng.randrange(5), None, 2**63 - 1))
    if rng.random() < 0.3:
        record["type"] = "quote"
    if rng.random() < 0.1:
        record["venue"] = "V"
    if with_sources:
        record["source"] = rng.choice(("s1", "s2", "s3", None))
    return json.dumps(record).encode()


def random_log(rng: random.Random, length: int, flushes: float) -> list[LogEntry]:
    """Quotes in disorder with gaps, controls, bad values, clocks that differ; holes in offsets."""
    log: list[LogEntry] = []
    now, offset = BASE + rng.randrange(600 * SECOND), rng.randrange(3)
    with_sources, with_holes = rng.random() < 0.5, rng.random() < 0.2
    for _ in range(length):
        append = (now + rng.choice((0, 0, -3 * SECOND, 5 * SECOND, 10**15))) // MILLISECOND
        dice = rng.random()
        value: bytes | None
        if dice < flushes:
            value = b'{"type":"flush"}'
        elif dice < flushes + 0.01:
            moment = now + rng.randrange(3 * SECOND)
            value = json.dumps({"type": "clock", "event_time": moment}).encode()
        elif dice < flushes + 0.013:
            value = b'{"type":"historical"}'
        elif dice < flushes + 0.04:
            value = bad_value(rng, now)
        elif dice < flushes + 0.08:
            rare = {"symbol": rng.choice(RARE + MINE), "source": f"t{rng.randrange(1_000)}"}
            value = json.dumps(rare | {"bid": 1, "ask": 2, "event_time": now}).encode()
        else:
            now += rng.choice((0, 0, rng.randrange(SECOND), rng.randrange(5 * SECOND)))
            if rng.random() < 0.1:
                now += rng.randrange(200 * SECOND)
            value = random_quote(rng, now, with_sources)
        log.append((offset, append, value))
        offset += 1 + (with_holes and rng.random() < 0.05)
    return log


def engine(
    configuration: BarsConfiguration, log: list[LogEntry], sizes: Callable[[], int]
) -> QuotesPartition:
    """The log through the state machine, in batches of these sizes."""
    state = QuotesPartition(configuration, 0, lambda key: None)
    begin = 0
    while begin < len(log):
        part = log[begin : begin + sizes()]
        begin += len(part)
        following = log[begin][0] if begin < len(log) else part[-1][0] + 1
        state.apply(
            RecordBatch(
                "quotes",
                0,
                part[0][0],
                following,
                [value for _, _, value in part],
                np.array([offset for offset, _, _ in part], dtype=np.int64),
                np.array([append * MILLISECOND for _, append, _ in part], dtype=np.int64),
            )
        )
    return state


def configurations(
    intervals: tuple[int, ...], horizon: int
) -> tuple[BarsConfiguration, ReferenceSettings]:
    """The same settings for both."""
    ours = BarsConfiguration(
        intervals,
        SECOND,
        horizon,
        policy_of("all"),
        PARTITIONS,
        "test",
        max_symbols=MOST_SYMBOLS,
        max_value_bytes=64 * 1024,
    )
    theirs = ReferenceSettings(
        intervals=intervals,
        correction_horizon=horizon,
        max_symbols=MOST_SYMBOLS,
        max_message_bytes=128 * 1024,
    )
    return ours, theirs


def assert_equal(state: QuotesPartition, reference: QuotesReference, records: int) -> None:
    """Publications, late and dead records and counts, in order."""
    outputs = state.publisher.outputs
    # Compared as text, which tells 0.0 from -0.0 and 1 from 1.0, and shows the fields' order.
    found = [
        (record.key, repr(list(json.loads(record.value or b"").items())))
        for record in outputs["bars"]
    ]
    expected = []
    for bar in reference.bars:
        fields = asdict(bar)
        fields["sources"] = list(fields["sources"])
        expected.append((bar.symbol.encode(), repr(list(fields.items()))))
    assert found == expected
    assert [(dict(record.headers)["reason"], record.value) for record in outputs["dead"]] == [
        (dead.reason.encode(), dead.value) for dead in reference.dead
    ]
    assert [(dict(record.headers)["offset"], record.value) for record in outputs["late"]] == [
        (b"%d" % late.offset, late.value) for late in reference.late
    ]
    counts = {outcome: count for outcome, count in state.counts.items() if count}
    assert counts == dict(reference.outcomes)
    assert sum(counts.values()) == records
    details = {reason: count for reason, count in state.details.items() if count}
    assert details == dict(reference.ignored)
    assert state.historical == reference.historical


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_publication_agrees_with_the_reference(seed: int) -> None:
    rng = random.Random(seed)
    horizon = rng.choice((10, 60, 900)) * SECOND
    ours, theirs = configurations(rng.choice(INTERVALS), horizon)
    log = random_log(rng, rng.choice((50, 300, 600)), rng.choice((0, 0, 0.01)))
    share = rng.choice((0.0, 0.5, 1.0))
    log = [
        (offset, append, pack(value) if value and rng.random() < share else value)
        for offset, append, value in log
    ]
    reference = QuotesReference(0, PARTITIONS, theirs)
    reference.feed_all(log)
    state = engine(ours, log, lambda: rng.choice((1, 7, 100, 1000)))
    assert_equal(state, reference, len(log))


@pytest.mark.parametrize("size", [1, 2, 13, 5_000])
def test_a_long_log_agrees_in_batches_of_one_size(size: int) -> None:
    rng = random.Random(5)
    ours, theirs = configurations(INTERVALS[1], 60 * SECOND)
    log = random_log(rng, 5_000, 0.002)
    reference = QuotesReference(0, PARTITIONS, theirs)
    reference.feed_all(log)
    # The log holds what the reference is to judge.
    assert min(reference.ignored[reason] for reason in ("zero", "crossed")) > 10
    assert set(reference.outcomes) == {
        "applied", "revised", "late", "ignored", "dead", "control",
    }  # fmt: skip
    assert {dead.reason for dead in reference.dead} == REASONS
    assert_equal(engine(ours, log, lambda: size), reference, len(log))
