"""Pairs of symbols: joined by start, whatever the interleaving; statistics against numpy."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.wire import BarRecord
from tables.crossing import (
    LegRecord,
    Pair,
    PairRecord,
    PairsBook,
    PairsConfiguration,
    ProgressRecord,
    Routed,
    Router,
    input_decoder,
)
from tables.crossing.statistics import Comovement, SpreadScore
from tables.learning import StateVersionError
from tables.partitioning import partition_of

MINUTE = 60_000_000_000
#: A, B, C and D lie in partitions 2, 0, 0 and 1 of so many.
SOURCES = 4
PAIRS = ("A/B@1m", "A/C@1m", "D/B@1m", "B/C@1m")
SYMBOLS = ("A", "B", "C", "D", "E", "F")
WINDOW = 4


def configuration(partitions: int = 2, **changes: int) -> PairsConfiguration:
    """Four pairs with a short window."""
    pairs = tuple(Pair.parse(name) for name in PAIRS)
    return PairsConfiguration(pairs, partitions, SOURCES, window=WINDOW, **changes)


def bar(
    symbol: str, minute: int, close: float, revision: int = 0, empty: bool = False
) -> BarRecord:
    """A bar of one minute; an empty one is filled."""
    return BarRecord(
        symbol, "1m", minute * MINUTE, close, close, close, close, 1.0, close, 0 if empty else 1,
        revision, True, empty, (),
    )  # fmt: skip


def source_of(symbol: str) -> int:
    return partition_of(symbol.encode(), SOURCES)


def random_bars(rng: random.Random) -> dict[int, list[BarRecord]]:
    """Of each source partition its bars: gaps, revisions, late bars, emptied and filled ones."""
    logs: dict[int, list[BarRecord]] = {source: [] for source in range(SOURCES)}
    revisions: dict[tuple[str, int], int] = {}
    price = dict.fromkeys(SYMBOLS, 100.0)
    for minute in range(9, rng.choice((15, 50))):
        for symbol in SYMBOLS:
            if rng.random() < 0.2:
                continue
            price[symbol] *= math.exp(rng.gauss(0, 0.01)) if rng.random() < 0.8 else 1.0
            log, late = logs[source_of(symbol)], rng.random() < 0.1
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                when = minute - rng.randrange(3) if late else minute
                revision = revisions.get((symbol, when), -1) + 1
                revisions[symbol, when] = revision
                empty = rng.random() < 0.1
                log.append(bar(symbol, when, price[symbol] + revision, revision, empty))
    return logs


def routed(logs: dict[int, list[BarRecord]], config: PairsConfiguration) -> list[list[Routed]]:
    """What each source partition's router writes, with a restart in the middle."""
    streams = []
    for source, log in logs.items():
        router = Router(config, source)
        stream: list[Routed] = []
        for position, each in enumerate(log):
            if position == len(log) // 2:
                state = json.loads(json.dumps(router.state()))
                router = Router(config, source)
                router.restore(state)
            stream += router.take(each, position)
        streams.append(stream)
    return streams


def run(
    streams: Sequence[list[Routed]], config: PairsConfiguration, rng: random.Random
) -> tuple[list[PairRecord], list[PairsBook]]:
    """The streams interleaved by chance, each in its order; with restarts."""
    books = [PairsBook(config, partition) for partition in range(config.partitions)]
    stores: list[dict[str, bytes]] = [{} for _ in books]
    left = [list(reversed(stream)) for stream in streams]
    found: list[PairRecord] = []
    weights = [rng.random() ** 4 for _ in left]
    while any(left):
        chosen = [index for index, stream in enumerate(left) if stream]
        (index,) = rng.choices(chosen, [weights[each] + 1e-9 for each in chosen])
        partition, _, record = left[index].pop()
        record = input_decoder.decode(msgspec.json.encode(record))
        found += books[partition].take(record)
        if rng.random() < 0.1:
            rows = books[partition].take_changes()
            stores[partition] |= {key: msgspec.msgpack.encode(row) for key, row in rows}
            counts = books[partition].counts
            books[partition] = PairsBook(config, partition)
            books[partition].counts = counts
            for key, row in stores[partition].items():
                books[partition].restore(key, msgspec.msgpack.decode(row))
    return found, books


def held(found: list[PairRecord]) -> dict[tuple[str, int], PairRecord]:
    """Each pair at its highest revision, but for the void ones."""
    newest: dict[tuple[str, int], PairRecord] = {}
    for each in found:
        key = (each.pair, each.start)
        assert key not in newest or each.revision > newest[key].revision
        newest[key] = each
    return {key: each for key, each in newest.items() if not each.void}


@dataclass
class Accepted:
    """A leg's bars by the rules of tables/crossing/joining.py: start to close and left out."""

    closes: dict[int, tuple[float | None, int, int]]


def accepted(log: list[BarRecord], symbol: str) -> Accepted:
    """Read one partition's bars again, for one symbol."""
    progress, newest, revision, left_out = -1, -1, -1, 0
    closes: dict[int, tuple[float | None, int, int]] = {}
    for each in log:
        progress = max(progress, each.start + MINUTE)
        if each.symbol != symbol:
            continue
        close = None if each.filled else each.close
        if each.start > newest and each.start + MINUTE >= progress:
            newest, revision = each.start, each.revision
        elif each.start != newest or each.revision <= revision:
            left_out += 1
            continue
        else:
            revision = each.revision
        closes[newest] = (close, revision, left_out)
    return Accepted(closes)


def same(one: float | None, two: float | None) -> bool:
    if one is None or two is None:
        return one is two
    return math.isclose(one, two, rel_tol=1e-9, abs_tol=1e-9)


def check_pair(
    found: dict[tuple[str, int], PairRecord], pair: Pair, logs: dict[int, list[BarRecord]]
) -> None:
    """Every record of a pair against numpy over the joined closes."""
    first, second = (accepted(logs[source_of(symbol)], symbol).closes for symbol in pair.legs)
    starts = sorted(
        start for start in first.keys() & second.keys()
        if first[start][0] is not None and second[start][0] is not None
    )  # fmt: skip
    assert [start for name, start in sorted(found) if name == pair.name] == starts
    closes = np.array([[first[start][0], second[start][0]] for start in starts], dtype=np.float64)
    for place, start in enumerate(starts):
        record = found[pair.name, start]
        assert (record.first_close, record.second_close) == tuple(closes[place])
        assert record.revision == first[start][1] + second[start][1]
        assert record.left_out == first[start][2] + second[start][2]
        spreads = closes[: place + 1, 0] - closes[: place + 1, 1]
        assert record.spread == spreads[-1]
        assert record.ratio == closes[place, 0] / closes[place, 1]
        before = spreads[-WINDOW - 1 : -1]
        score = None
        if len(before) == WINDOW and len(set(before)) > 1:
            score = (spreads[-1] - before.mean()) / before.std(ddof=1)
        assert same(record.score, score)
        returns = np.diff(np.log(closes[: place + 1]), axis=0)[-WINDOW:]
        correlation = beta = None
        if len(returns) == WINDOW and all(len(set(side)) > 1 for side in returns.T):
            correlation = np.corrcoef(returns.T)[0, 1]
            beta = np.cov(returns.T)[0, 1] / np.var(returns[:, 1], ddof=1)
        assert same(record.correlation, correlation)
        assert same(record.beta, beta)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_interleaving_ends_with_the_pairs_that_numpy_finds(seed: int) -> None:
    rng = random.Random(seed)
    config, logs = configuration(), random_bars(rng)
    streams = routed(logs, config)
    found = held(run(streams, config, rng)[0])
    for pair in config.pairs:
        check_pair(found, pair, logs)
    assert held(run(streams, config, rng)[0]) == found


def test_a_quiet_leg_is_skipped_once_its_partition_moves_on() -> None:
    config = configuration(partitions=1)
    book = PairsBook(config, 0)
    source = source_of("B")
    for minute in (1, 2, 3):
        assert book.take(leg("A", minute, 10.0)) == []
    ((_, (_, row)),) = book.take_changes()
    assert len(row[0][0][3]) == 3
    book.take(ProgressRecord(source, "1m", 3 * MINUTE))
    rows = dict(book.take_changes())
    # The bar that ends with the mark may still come.
    assert [each[0] // MINUTE for each in rows["A/B@1m"][1][0][0][3]] == [2, 3]
    assert [each.start // MINUTE for each in book.take(leg("B", 3, 5.0))] == [3]
    assert book.take(leg("B", 2, 5.0)) == []
    assert book.counts["left_out"] == 1


def leg(symbol: str, minute: int, close: float | None, revision: int = 0) -> LegRecord:
    """A leg of A/B."""
    return LegRecord("A/B@1m", symbol, "1m", minute * MINUTE, close, revision, source_of(symbol), 0)


def test_a_leg_that_is_emptied_takes_the_pair_back_and_may_return() -> None:
    book = PairsBook(configuration(partitions=1), 0)
    book.take(leg("A", 1, 10.0))
    (whole,) = book.take(leg("B", 1, 4.0))
    assert (whole.spread, whole.revision, whole.void) == (6.0, 0, False)
    (void,) = book.take(leg("A", 1, None, 1))
    assert (void.spread, void.revision, void.void) == (None, 1, True)
    (again,) = book.take(leg("A", 1, 11.0, 2))
    assert (again.spread, again.revision, again.void) == (7.0, 2, False)
    assert book.take(leg("A", 1, 11.0, 2)) == []
    assert book.counts["repeated"] == 1


def test_what_waits_for_a_silent_partition_is_bounded_and_counted() -> None:
    book = PairsBook(configuration(partitions=1, max_waiting=5), 0)
    for minute in range(1, 21):
        book.take(leg("A", minute, float(minute)))
    assert book.counts["given_up"] == 15
    ((_, (_, row)),) = book.take_changes()
    assert [each[0] // MINUTE for each in row[0][0][3]] == [16, 17, 18, 19, 20]
    (record,) = book.take(leg("B", 18, 1.0))
    assert record.first_close == 18.0
    book.take(leg("A", 21, 21.0))
    (record,) = book.take(leg("B", 21, 1.0))
    assert record.left_out == 15


def test_records_of_other_pairs_and_partitions_change_nothing() -> None:
    book = PairsBook(configuration(partitions=1), 0)
    for pair, symbol, interval in (
        ("X/Y@1m", "X", "1m"),
        ("A/B@1m", "C", "1m"),
        ("A/B@1m", "A", "1s"),
    ):
        assert book.take(LegRecord(pair, symbol, interval, 0, 1.0, 0, 0, 0)) == []
    assert book.counts["unknown"] == 3
    book.take(ProgressRecord(99, "1m", MINUTE))
    assert book.take_changes() == []


def test_marks_go_only_where_a_leg_of_that_interval_is_joined() -> None:
    config = configuration(partitions=2)
    source = source_of("B")
    router = Router(config, source)
    other = next(f"S{n}" for n in range(100) if source_of(f"S{n}") == source)
    found = router.take(bar(other, 5, 1.0), 0)
    targets = {p.partition(2) for p in config.pairs if source in map(source_of, p.legs)}
    assert {each.partition for each in found} == targets
    assert {type(each.record) for each in found} == {ProgressRecord}
    assert router.take(bar(other, 4, 1.0), 1) == []
    assert router.take(msgspec.structs.replace(bar(other, 9, 1.0), interval="1s"), 2) == []


@pytest.mark.parametrize(
    ("name", "legs"),
    [("SPY/IBM@1m", ("SPY", "IBM")), ("BTC/USD//ETH/USD@1s", ("BTC/USD", "ETH/USD"))],
)
def test_a_pair_is_named_by_its_symbols(name: str, legs: tuple[str, str]) -> None:
    pair = Pair.parse(name)
    assert pair.legs == legs
    assert pair.label == name.rpartition("@")[2]


@pytest.mark.parametrize(
    "name", ["SPY@1m", "SPY/IBM", "SPY/SPY@1m", "A/B/C@1m", "A/*@1m", "A/B@0s", "A/B@x", "/B@1m"]
)
def test_what_is_no_pair_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"pair|symbols|duration|interval"):
        Pair.parse(name)


def test_a_symbol_that_does_not_move_has_no_correlation() -> None:
    learner = Comovement(3)
    for first in (1.0, 2.0, 3.0, 4.0):
        learner.update((first, 7.0))
    assert learner.value == (None, None)
    learner = Comovement(3)
    for first in (1.0, 2.0, 4.0, 0.0, 3.0, 4.0):
        learner.update((first, first))
    # A price of zero has no return: neither into it nor out of it.
    assert learner.value is not None
    assert len(learner.state()[3]) == 3


def test_a_state_of_a_longer_window_is_refused() -> None:
    for kind in (Comovement, SpreadScore):
        learner = kind(9)
        for item in kind.sample(1, 12):
            learner.update(item)
        with pytest.raises(StateVersionError, match="in a window of 3"):
            kind.from_state(learner.state(), 3)


@pytest.mark.parametrize("kind", [Comovement, SpreadScore])
def test_a_learner_takes_back_its_last_closes_and_goes_on_from_its_state(
    kind: type[Comovement] | type[SpreadScore],
) -> None:
    items = kind.sample(3, 40)
    for parameters in kind.examples():
        learner = kind(**parameters)
        for place, item in enumerate(items):
            learner.update((1.0, 1e12))
            learner = kind.from_state(json.loads(json.dumps(learner.state())), **parameters)
            learner.revert()
            learner.update(item)
            fresh = kind(**parameters)
            for each in items[: place + 1]:
                fresh.update(each)
            assert learner.value == fresh.value
            assert learner.ready == fresh.ready
        with pytest.raises(RuntimeError, match="no update to revert"):
            kind(**parameters).revert()


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_extreme_closes_never_give_nan_nor_infinity(seed: int) -> None:
    rng = random.Random(seed)
    closes = (5e-324, 1e-300, 1e12, -1e12, 0.0, 1.0, 1e-9)
    config = PairsConfiguration((Pair.parse("A/B@1m"),), 1, SOURCES, window=3, hedge=1e6)
    book = PairsBook(config, 0)
    for minute in range(30):
        book.take(leg("A", minute, rng.choice(closes)))
        (record,) = book.take(leg("B", minute, rng.choice(closes)))
        numbers = (record.spread, record.ratio, record.score, record.correlation, record.beta)
        assert all(each is None or math.isfinite(each) for each in numbers)
        assert record.correlation is None or abs(record.correlation) <= 1.0


@pytest.mark.parametrize(
    "changes", [{"window": 1}, {"max_waiting": 0}, {"partitions": 0}, {"source_partitions": 0}]
)
def test_settings_of_pairs_that_make_no_sense_are_refused(changes: dict[str, int]) -> None:
    values = {"partitions": 1, "source_partitions": 1} | changes
    with pytest.raises(ValueError, match="expected at least"):
        PairsConfiguration((), **values)
    with pytest.raises(ValueError, match="named twice"):
        PairsConfiguration((Pair.parse("A/B@1m"),) * 2, 1, 1)
