"""Routing and pairs as stages: any split and restart gives the same bytes; what is bad is dead."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch
from app.contracts.outputs import OutputRecord, RoutedRecord
from app.contracts.wire import bar_decoder, encoder
from tables.crossing import LegRecord, PairsBook, ProgressRecord, Router, input_decoder
from tables.crossing.partition import (
    PAIR_PREFIX,
    ROUTER_PREFIX,
    BarRouter,
    PairsPartition,
    RoutingPartition,
    row_bytes,
)
from tables.derived import DerivedConfiguration, DerivedPartition, load
from tables.rows import MARKER_KEY, Marker, decode_marker
from tests.unit.test_crossing import (
    MINUTE,
    PAIRS,
    SOURCES,
    bar,
    configuration,
    random_bars,
    routed,
    source_of,
)

#: Where the bars of the tests are long over.
APPENDED = 1_000 * MINUTE
AHEAD = 10_000_000_000
DERIVED = DerivedConfiguration(SOURCES, "hash", 10_000, 100)
LENGTHS = {"1s": 1_000_000_000, "1m": MINUTE}
Value = bytes | None
Make = Callable[[], DerivedPartition]


def routing(partition: int) -> RoutingPartition:
    """Routes to as many partitions as it reads from."""
    routers = {"legs": Router(configuration(SOURCES), partition)}
    return RoutingPartition(DERIVED, partition, routers, LENGTHS, AHEAD)


def pairs(partition: int) -> PairsPartition:
    return PairsPartition(DERIVED, partition, configuration(SOURCES), AHEAD)


def batch(values: Sequence[Value], base: int, appended: int = APPENDED) -> RecordBatch:
    offsets = np.arange(base, base + len(values), dtype=np.int64)
    times = np.full(len(values), appended, dtype=np.int64)
    return RecordBatch("log", 0, base, base + len(values), values, offsets, times)


@dataclass
class Run:
    """What a partition has published and stored."""

    outputs: dict[str, list[OutputRecord | RoutedRecord]] = field(default_factory=dict)
    store: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def marker(self) -> Marker:
        return decode_marker(self.store[MARKER_KEY])


def run(
    make: Make, values: Sequence[Value], cuts: Sequence[int] = (), restart: bool = False
) -> Run:
    """Take a log in the parts that the cuts make; with a checkpoint, or a restart, after each."""
    done = Run()
    state: DerivedPartition | None = None
    edges = [0, *sorted(cuts), len(values)]
    for begin, end in pairwise(edges):
        if state is None or restart:
            rows = [(key, row) for key, row in done.store.items() if key != MARKER_KEY]
            state = load(make(), "id", done.store.get, rows)
            if state.next is None:
                state.begin(0)
        state.apply(batch(values[begin:end], begin))
        taken = state.take("id")
        for output, records in taken.outputs.items():
            done.outputs.setdefault(output, []).extend(records)
        for key, row in taken.rows:
            assert row is not None
            done.store[key] = row
        state.stored()
        assert state.pending_outputs == state.pending_bytes == 0
    return done


BAD_BARS: list[tuple[Value, str]] = [
    (None, "null"),
    (b"", "empty"),
    (b"{}", "malformed"),
    (b'{"type":' + b"[" * 5_000, "malformed"),
    (encoder.encode(bar("A", 1, 1.0)).replace(b'"A"', b'"\xff"'), "malformed"),
    (encoder.encode(bar("A", 1, 1.0)).replace(b'"close":1.0', b'"close":NaN'), "malformed"),
    (encoder.encode(msgspec.structs.replace(bar("A", 1, 1.0), start=MINUTE + 1)), "malformed"),
    (b" " * 10_001, "too_large"),
    (encoder.encode(bar("A B", 1, 1.0)), "bad_symbol"),
    (encoder.encode(bar("B", 1, 1.0)), "wrong_partition"),
    (encoder.encode(msgspec.structs.replace(bar("A", 1, 1.0), interval="7m")), "unknown_interval"),
    (encoder.encode(bar("A", 1_001, 1.0)), "event_time_too_late"),
    (encoder.encode(bar("A", 2**63 // MINUTE - 1, 1.0)), "event_time_too_late"),
]


def leg(pair: str, symbol: str, minute: int, **changes: Any) -> LegRecord:
    fields = {"interval": "1m", "close": 1.0, "revision": 0, "partition": source_of(symbol)}
    return LegRecord(pair, symbol, start=minute * MINUTE, position=0, **{**fields, **changes})


def mark(symbol: str, minute: int, interval: str = "1m") -> ProgressRecord:
    return ProgressRecord(source_of(symbol), interval, minute * MINUTE)


#: The pair of these lies in partition `OWN`.
PAIR = PAIRS[0]
OWN = next(each for each in configuration(SOURCES).pairs if each.name == PAIR).partition(SOURCES)
OTHER = next(each.name for each in configuration(SOURCES).pairs if each.partition(SOURCES) != OWN)
#: A symbol of a pair, whose partition has no leg of a pair in `OWN`.
ELSEWHERE = next(
    symbol
    for symbol in "ABCD"
    if source_of(symbol)
    not in {
        source_of(each)
        for pair in configuration(SOURCES).pairs
        if pair.partition(SOURCES) == OWN
        for each in pair.legs
    }
)
BAD_LEGS: list[tuple[Value, str]] = [
    (None, "null"),
    (b"", "empty"),
    (b"[]", "malformed"),
    (encoder.encode(bar("A", 1, 1.0)), "malformed"),
    (b'{"type":' + b"[" * 5_000, "malformed"),
    (encoder.encode(leg(PAIR, "A", 1)).replace(b'"leg"', b'"\xff"'), "malformed"),
    (encoder.encode(leg(PAIR, "A", 1, close=1e13)), "malformed"),
    (encoder.encode(leg(PAIR, "A", 1, revision=-1)), "malformed"),
    (encoder.encode(msgspec.structs.replace(leg(PAIR, "A", 1), start=7)), "malformed"),
    (b" " * 10_001, "too_large"),
    (encoder.encode(leg("A/Z@1m", "A", 1)), "unknown_pair"),
    (encoder.encode(leg(OTHER, OTHER[0], 1)), "wrong_partition"),
    (encoder.encode(leg(PAIR, "C", 1)), "not_of_pair"),
    (encoder.encode(leg(PAIR, "A", 1, interval="1s")), "not_of_pair"),
    (encoder.encode(leg(PAIR, "A", 1, partition=source_of("B"))), "not_of_pair"),
    (encoder.encode(leg(PAIR, "A", 1_001)), "event_time_too_late"),
    (encoder.encode(mark("A", 1, "1s")), "not_of_pair"),
    # Of a partition that has legs, but of pairs elsewhere.
    (encoder.encode(mark(ELSEWHERE, 1)), "not_of_pair"),
    (encoder.encode(ProgressRecord(SOURCES, "1m", MINUTE)), "not_of_pair"),
    (encoder.encode(ProgressRecord(source_of("A"), "1m", MINUTE + 1)), "malformed"),
    (encoder.encode(ProgressRecord(source_of("A"), "1m", 0)), "malformed"),
    (encoder.encode(mark("A", 1_002)), "event_time_too_late"),
    (encoder.encode(mark("A", 2**63 // MINUTE - 1)), "event_time_too_late"),
]


def with_bad(rng: random.Random, values: list[bytes], bad: list[tuple[Value, str]]) -> list[Value]:
    """Bad records put among others by chance."""
    mixed: list[Value] = list(values)
    for value, _ in bad:
        mixed.insert(rng.randrange(len(mixed) + 1), value)
    return mixed


def check_same(make: Make, values: list[Value], rng: random.Random) -> Run:
    """The same outputs and rows, byte for byte, however the log is cut; those of one pass."""
    whole = run(make, values)
    some = [rng.randrange(len(values) + 1) for _ in range(rng.randrange(1, 8))]
    for cuts, restart in ((some, True), (some, False), (list(range(1, len(values))), True)):
        parts = run(make, values, cuts, restart)
        assert parts.outputs == whole.outputs
        assert parts.store == whole.store
    assert sum(whole.marker.counts.values()) == whole.marker.next == len(values)
    return whole


def legs_of(logs: dict[int, list[Any]], rng: random.Random, partition: int) -> list[bytes]:
    """The pairs' input of a partition: what all routers write, interleaved by chance."""
    streams = [
        [each.record for each in stream if each.partition == partition]
        for stream in routed(logs, configuration(SOURCES))
    ]
    left = [list(reversed(stream)) for stream in streams]
    values = []
    while any(left):
        chosen = rng.choice([stream for stream in left if stream])
        values.append(encoder.encode(chosen.pop()))
    return values


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_routers_records_are_the_same_bytes_however_its_log_is_cut(seed: int) -> None:
    rng = random.Random(seed)
    logs = random_bars(rng)
    streams = dict(zip(logs, routed(logs, configuration(SOURCES)), strict=True))
    for source in (source_of("A"), source_of("B")):
        values = [encoder.encode(each) for each in logs[source]]
        whole = check_same(partial(routing, source), list(values), rng)
        assert [
            (each.partition, input_decoder.decode(each.value or b""))
            for each in whole.outputs["legs"]
            if isinstance(each, RoutedRecord)
        ] == [(each.partition, each.record) for each in streams[source]]
        assert {key[:1] for key in whole.store} == {MARKER_KEY, ROUTER_PREFIX}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_pairs_partition_publishes_the_same_bytes_however_its_log_is_cut(seed: int) -> None:
    rng = random.Random(seed)
    logs = random_bars(rng)
    for partition in range(SOURCES):
        values = legs_of(logs, rng, partition)
        if not values:
            continue
        whole = check_same(partial(pairs, partition), list(values), rng)
        book = PairsBook(configuration(SOURCES), partition)
        wanted = [each for value in values for each in book.take(input_decoder.decode(value))]
        published = whole.outputs.get("pairs", [])
        assert [each.value for each in published] == [encoder.encode(each) for each in wanted]
        assert [each.key for each in published] == [each.pair.encode() for each in wanted]
        assert {key[:1] for key in whole.store} <= {MARKER_KEY, PAIR_PREFIX}
        counts = whole.marker.counts
        names = {"applied": "taken", "control": "progress"}
        assert counts == {
            each: book.counts[names.get(each, each)] if each != "dead" else 0 for each in counts
        }


@pytest.mark.parametrize("seed", range(3))
def test_bad_bars_go_to_dead_and_change_nothing_else(seed: int) -> None:
    rng, source = random.Random(seed), source_of("A")
    good = [encoder.encode(each) for each in random_bars(rng)[source]]
    check_bad(lambda: routing(source), good, BAD_BARS, rng)


@pytest.mark.parametrize("seed", range(3))
def test_bad_legs_and_marks_go_to_dead_and_change_nothing_else(seed: int) -> None:
    rng = random.Random(seed)
    check_bad(lambda: pairs(OWN), legs_of(random_bars(rng), rng, OWN), BAD_LEGS, rng)


def check_bad(
    make: Make, good: list[bytes], bad: list[tuple[Value, str]], rng: random.Random
) -> None:
    whole = check_same(make, with_bad(rng, good, bad), rng)
    clean = run(make, list(good))
    (output,) = clean.outputs
    # Legs tell the offset of their bar, which the bad ones move.
    strip = {"position": 0} if output == "legs" else {}
    assert [
        (*each[:1], *each[2:], stripped(each.value, strip)) for each in whole.outputs[output]
    ] == [(*each[:1], *each[2:], stripped(each.value, strip)) for each in clean.outputs[output]]
    dead = whole.outputs["dead"]
    assert sorted(reason_of(each) for each in dead) == sorted(reason for _, reason in bad)
    reasons = dict(bad)
    for each in dead:
        assert reason_of(each) == reasons[each.value]
    assert whole.marker.counts == clean.marker.counts | {"dead": len(bad)}
    rows = {key: row for key, row in whole.store.items() if key != MARKER_KEY}
    assert rows == {key: row for key, row in clean.store.items() if key != MARKER_KEY}


def stripped(value: bytes | None, changes: dict[str, int]) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(value or b"")
    return {name: changes.get(name, each) for name, each in found.items()}


def reason_of(record: OutputRecord | RoutedRecord) -> str:
    return dict(record.headers)["reason"].decode()


def test_a_bar_as_late_as_the_log_allows_is_taken() -> None:
    state = routing(source_of("A"))
    state.begin(0)
    last = encoder.encode(bar("A", 1_000, 1.0))
    state.apply(batch([last, last], 0, 1_000 * MINUTE - AHEAD))
    state.apply(batch([last], 2, 1_000 * MINUTE - AHEAD - 1))
    assert (state.counts["applied"], state.counts["dead"]) == (2, 1)


def test_bars_of_no_pair_are_ignored() -> None:
    state = routing(source_of("E"))
    state.begin(0)
    one = bar("E", 1, 1.0)
    state.apply(batch([encoder.encode(msgspec.structs.replace(one, interval="1s"))], 0))
    assert (state.counts, state.pending_outputs) == (
        {"applied": 0, "ignored": 1, "dead": 0},
        0,
    )


def test_several_routers_write_to_outputs_of_their_own() -> None:
    """As the portfolio's will: each has a row of its own, and all see all bars."""

    class Closes:
        """Tells a bar's close to two partitions; its state is how many there were."""

        def __init__(self) -> None:
            self.seen = 0

        def take(self, bar: Any, position: int) -> list[tuple[int, bytes | None, Any]]:
            self.seen += 1
            return [(each, bar.symbol.encode(), [bar.close, self.seen]) for each in (0, 1)]

        def state(self) -> list[Any]:
            return [self.seen]

        def restore(self, state: list[Any]) -> None:
            (self.seen,) = state

    source = source_of("A")

    def make() -> RoutingPartition:
        routers: dict[str, BarRouter] = {
            "legs": Router(configuration(SOURCES), source),
            "prices": Closes(),
        }
        return RoutingPartition(DERIVED, source, routers, LENGTHS, AHEAD)

    rng = random.Random(1)
    bars = random_bars(rng)[source]
    whole = check_same(make, [encoder.encode(each) for each in bars], rng)
    assert (
        whole.outputs["legs"]
        == run(lambda: routing(source), [encoder.encode(each) for each in bars]).outputs["legs"]
    )
    assert whole.outputs["prices"] == [
        RoutedRecord(each.symbol.encode(), encoder.encode([each.close, number]), [], target)
        for number, each in enumerate(bars, 1)
        for target in (0, 1)
    ]
    assert bar_decoder.decode(encoder.encode(bars[0])) == bars[0]
    assert sorted(whole.store) == [MARKER_KEY, ROUTER_PREFIX + b"legs", ROUTER_PREFIX + b"prices"]


def test_what_is_given_up_is_told_in_the_details() -> None:
    config = configuration(SOURCES, max_waiting=5)
    values = [encoder.encode(leg(PAIR, "A", minute)) for minute in range(1, 21)]

    def make() -> PairsPartition:
        return PairsPartition(DERIVED, OWN, config, AHEAD)

    whole = check_same(make, list(values), random.Random(1))
    assert whole.marker.details == {"given_up": 15}
    assert whole.marker.counts["applied"] == 20


@pytest.mark.parametrize(("window", "max_waiting"), [(4, 50), (60, 1)])
def test_a_row_is_no_longer_than_is_told(window: int, max_waiting: int) -> None:
    """All numbers as long as they can be: those that wait, and both windows, twice each."""
    config = replace(configuration(SOURCES, max_waiting=max_waiting), window=window)
    state = PairsPartition(DERIVED, OWN, config, AHEAD)
    state.begin(0)
    begin, revision = 2**62 // MINUTE, 2**62
    rng, values = random.Random(1), []
    for minute in range(begin, begin + 200):
        for symbol in "AB" if minute < begin + 100 else "A":
            close = 1.0 + rng.random()
            values += [encoder.encode(leg(PAIR, symbol, minute, close=close, revision=revision))]
    state.apply(batch(values, 0, (begin + 200) * MINUTE))
    rows = dict(state.take("id").rows)
    size = len(rows[PAIR_PREFIX + PAIR.encode()] or b"")
    assert state.counts["applied"] == len(values) == 300
    assert state.details == {"given_up": 100 - max_waiting}
    assert size < row_bytes(config) < 1.6 * size + 600


def test_a_restored_router_writes_its_row_again_only_when_it_has_changed() -> None:
    done = run(lambda: routing(source_of("A")), [encoder.encode(bar("A", 5, 1.0))])
    state = load(routing(source_of("A")), "id", done.store.get, list(done.store.items())[:-1])
    state.apply(batch([encoder.encode(bar("A", 4, 1.0))], 1))
    assert [key for key, _ in state.take("id").rows] == [MARKER_KEY]
    state.apply(batch([encoder.encode(bar("A", 6, 1.0))], 2))
    assert [key for key, _ in state.take("id").rows] == [ROUTER_PREFIX + b"legs", MARKER_KEY]


@pytest.mark.parametrize("make", [lambda: routing(0), lambda: pairs(0)])
def test_rows_of_others_are_refused(make: Make) -> None:
    for key in (b"x", ROUTER_PREFIX + b"prices", PAIR_PREFIX + b"X/Y@1m"):
        with pytest.raises(ValueError, match=r"unknown row|no pair of this partition"):
            make().restore_row(key, msgspec.msgpack.encode([1, []]))
