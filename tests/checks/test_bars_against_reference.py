"""The engine's state machine against the independent reference, on random logs.

`tests/oracle` shares no code with the engine; here both read the same log, and every publication,
late and dead record and every count must agree, in order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch
from app.contracts.forms import pack
from tables.bars import BarsPartition
from tables.configuration import BarsConfiguration
from tables.policies import EXTREMES, LAST, SIP_MATRIX, VOLUME, policy_of
from tests.oracle.reference import Reference
from tests.oracle.reference import Settings as ReferenceSettings
from tests.oracle.rules import Flags
from tests.unit.bars_log import random_log as corrections_log
from tests.unit.recalling import apply_all
from tests.unit.test_parsing import TIME
from tests.unit.test_parsing_packed import make_packed

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
#: 2013-10-07 15:59:50 and 10:00:00 in New York.
BEFORE_THE_CLOSE = 1_381_175_990 * SECOND
IN_THE_MORNING = 1_381_154_400 * SECOND
MATRIX = {
    name: Flags(bool(flags & EXTREMES), bool(flags & LAST), bool(flags & VOLUME))
    for name, flags in SIP_MATRIX.items()
}
CONDITIONS = (
    "iso", "closing_print", "opening_print", "odd_lot", "extended_hours", "suspicious",
    "market_center_official_close", "derivatively_priced", "regular", "corrected_close",
)  # fmt: skip
INTERVALS = (
    (SECOND, 60 * SECOND),
    (SECOND, 10 * SECOND, 60 * SECOND, 300 * SECOND),
    (60 * SECOND,),
    (2 * SECOND, 3 * SECOND, 120 * SECOND),
)
LogEntry = tuple[int, int, bytes | None]


def bad_values(rng: random.Random, now: int) -> bytes | None:
    """A record that must be dead."""
    good = {"symbol": "A", "price": 1, "size": 1, "event_time": now}
    return rng.choice(
        (
            None,
            b"",
            b"{}",
            b"[]",
            b'{"symbol":"A","price":NaN,"size":1,"event_time":%d}' % now,
            json.dumps(good | {"symbol": "*"}).encode(),
            json.dumps(good | {"conditions": ["unheard_of"]}).encode(),
            json.dumps(good | {"event_time": 5}).encode(),
            json.dumps(good | {"price": 1e12, "size": 1e12}).encode(),
            json.dumps(good | {"event_time": now + 10**18}).encode(),
            json.dumps(good | {"source": "a\0b", "conditions": ["unheard_of"]}).encode(),
        )
    )


def random_log(rng: random.Random, length: int, flushes: float) -> list[LogEntry]:
    """Trades in disorder with gaps, controls, duplicates, bad values, clocks that differ."""
    log: list[LogEntry] = []
    now = rng.choice((BEFORE_THE_CLOSE, IN_THE_MORNING))
    with_ids, with_sources = rng.random() < 0.5, rng.random() < 0.5
    for offset in range(length):
        append = (now + rng.choice((0, 0, -3 * SECOND, 5 * SECOND, 10**15))) // MILLISECOND
        dice = rng.random()
        value: bytes | None
        if dice < flushes:
            value = b'{"type":"flush"}'
        elif dice < flushes + 0.01:
            moment = now + rng.randrange(3 * SECOND)
            value = json.dumps({"type": "clock", "event_time": moment}).encode()
        elif dice < flushes + 0.03:
            value = bad_values(rng, now)
        else:
            now += rng.choice((0, 0, rng.randrange(SECOND), rng.randrange(5 * SECOND)))
            if rng.random() < 0.1:
                now += rng.randrange(200 * SECOND)
            value = random_trade(rng, now, with_ids, with_sources)
        log.append((offset, append, value))
    return log


def random_trade(rng: random.Random, now: int, with_ids: bool, with_sources: bool) -> bytes:
    """A trade up to 100 s before now."""
    behind = rng.choice((0, 0, 0, rng.randrange(3 * SECOND)))
    if rng.random() < 0.06:
        behind = rng.randrange(100 * SECOND)
    record: dict[str, object] = {
        "symbol": rng.choice("ABC"),
        "price": rng.choice((round(rng.uniform(-5, 200), 2), rng.randrange(100), -0.0)),
        "size": rng.choice((0, 1, 100, rng.random() * 3)),
        "event_time": now - behind,
    }
    if rng.random() < 0.5:
        record["sequence"] = rng.randrange(5)
    if with_ids and rng.random() < 0.5:
        record["trade_id"] = str(rng.randrange(30))
    if with_ids and rng.random() < 0.3:
        record["venue"] = rng.choice("XY")
    if rng.random() < 0.6:
        record["conditions"] = rng.sample(CONDITIONS, rng.randrange(3))
    if with_sources:
        record["source"] = rng.choice(("s1", "s2", "s3"))
    return json.dumps(record).encode()


def in_any_form(log: Sequence[LogEntry], rng: random.Random) -> list[LogEntry]:
    """The log as JSON, or with some of its values as MessagePack, or all of them."""
    share = rng.choice((0.0, 0.5, 1.0))
    return [
        (offset, append, pack(value) if value and rng.random() < share else value)
        for offset, append, value in log
    ]


def in_batches(log: Sequence[LogEntry], rng: random.Random) -> list[RecordBatch]:
    """The log in batches of random sizes."""
    batches = []
    begin = 0
    while begin < len(log):
        part = log[begin : begin + rng.choice((1, 7, 100, 1000))]
        batches.append(
            RecordBatch(
                "ticks",
                0,
                begin,
                begin + len(part),
                [value for _, _, value in part],
                np.array([offset for offset, _, _ in part], dtype=np.int64),
                np.array([append * MILLISECOND for _, append, _ in part], dtype=np.int64),
            )
        )
        begin += len(part)
    return batches


def run_engine(configuration: BarsConfiguration, batches: list[RecordBatch]) -> BarsPartition:
    """Apply batches in their order; a correction reads them again."""

    def read(first: int, end: int) -> Iterator[RecordBatch]:
        return (each for each in batches if each.next > first and each.base < end)

    state = BarsPartition(configuration, 0, lambda key: None)
    for batch in batches:
        apply_all(state, batch, read)
    return state


def check(reference: Reference, state: BarsPartition, log: Sequence[LogEntry]) -> None:
    """Every publication, late and dead record and count of the engine is the reference's."""
    outputs = state.publisher.outputs
    # Compared as text, which tells 0.0 from -0.0.
    found = [repr(list(json.loads(record.value or b"").items())) for record in outputs["bars"]]
    expected = []
    for bar in reference.bars:
        fields = asdict(bar)
        fields["sources"] = list(fields["sources"])
        expected.append(repr(list(fields.items())))
    assert found == expected
    assert [(dict(record.headers)["reason"], record.value) for record in outputs["dead"]] == [
        (dead.reason.encode(), dead.value) for dead in reference.dead
    ]
    assert [(dict(record.headers)["offset"], record.value) for record in outputs["late"]] == [
        (b"%d" % late.offset, late.value) for late in reference.late
    ]
    counts = {outcome: count for outcome, count in state.counts.items() if count}
    assert counts == dict(reference.outcomes)
    assert sum(counts.values()) == len(log)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), policy=st.sampled_from(("all", "sip", "algoseek", "algoseek")))
def test_every_publication_agrees_with_the_reference(seed: int, policy: str) -> None:
    rng = random.Random(seed)
    horizon = rng.choice((10, 60, 900)) * SECOND
    intervals = rng.choice(INTERVALS)
    log = in_any_form(random_log(rng, rng.choice((50, 300, 600)), rng.choice((0, 0, 0.01))), rng)
    reference = Reference(
        0,
        1,
        ReferenceSettings(
            intervals=intervals, policy=policy, correction_horizon=horizon, sip_matrix=MATRIX
        ),
    )
    reference.feed_all(log)
    configuration = BarsConfiguration(intervals, SECOND, horizon, policy_of(policy), 1, "test")
    check(reference, run_engine(configuration, in_batches(log, rng)), log)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), policy=st.sampled_from(("all", "sip", "sip", "algoseek")))
def test_corrections_agree_with_the_reference(seed: int, policy: str) -> None:
    """Cancels and corrects of trades in open and closed windows, within the horizons and beyond."""
    rng = random.Random(seed)
    horizon, recall = rng.choice((10, 60)) * SECOND, rng.choice((15, 60, 86_400)) * SECOND
    intervals = rng.choice(INTERVALS)
    made = corrections_log(
        rng.randrange(2**32),
        rng.choice((20, 60, 150)),
        historical=rng.random() < 0.3,
        corrections=rng.choice((0.03, 0.1, 0.2)),
    )
    log = [(offset, append // MILLISECOND, value) for offset, (value, append) in enumerate(made)]
    log = in_any_form(log, rng)
    reference = Reference(
        0,
        1,
        ReferenceSettings(
            intervals=intervals,
            policy=policy,
            correction_horizon=horizon,
            recall_horizon=recall,
            sip_matrix=MATRIX,
        ),
    )
    reference.feed_all(log)
    configuration = BarsConfiguration(
        intervals, SECOND, horizon, policy_of(policy), 1, "test", recall_horizon=recall
    )
    check(reference, run_engine(configuration, in_batches(log, rng)), log)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_odd_and_broken_messagepack_is_judged_as_the_reference_judges_it(seed: int) -> None:
    rng = random.Random(seed)
    log: list[LogEntry] = [(offset, TIME // MILLISECOND, make_packed(rng)) for offset in range(120)]
    reference = Reference(0, 1, ReferenceSettings(policy="sip", sip_matrix=MATRIX))
    reference.feed_all(log)
    configuration = BarsConfiguration(
        tuple(each * SECOND for each in (1, 10, 60, 300, 900)),
        SECOND,
        900 * SECOND,
        policy_of("sip"),
        1,
        "test",
    )
    check(reference, run_engine(configuration, in_batches(log, rng)), log)
    assert reference.outcomes["dead"] > 10
    assert reference.outcomes.total() > reference.outcomes["dead"] + 10
