"""Indicators of a partition: what is in memory, and what was refused, changes no byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch
from app.contracts.wire import BarRecord, encoder
from tables.derived import DerivedConfiguration, load
from tables.indicating import IndicatorsPartition
from tables.indicators.registry import parse_indicators
from tests.unit.partition_feeding import Kept

SECOND = 1_000_000_000
MAX_AHEAD = 5 * SECOND
REQUESTS = {
    "1s": parse_indicators("SMA(2),EMA(3),SESSION_VWAP,RSI(2)"),
    "2s": parse_indicators("STOCHASTIC(2),MOMENTUM(1)"),
    "5s": (),
}
SYMBOLS = ("AAPL", "IBM", "SPY")
#: What becomes of a bar that is no good, by its change.
BAD: Mapping[str, dict[str, Any]] = {
    "unknown_interval": {"interval": "3s"},
    "bad_symbol": {"symbol": "no symbol"},
    "event_time_too_late": {"start": 10_000 * SECOND},
    "malformed": {"start": 1},
}


class Held(Kept):
    """A partition with a store, and at most `entries` in memory that the store has, too."""

    def __init__(self, entries: int) -> None:
        super().__init__()
        self.entries = entries
        self.open()
        self.state.begin(0)

    def open(self) -> None:
        """Own the partition anew."""
        configuration = DerivedConfiguration(1, "hash", 10_000, max_entries=self.entries)
        new = IndicatorsPartition(configuration, 0, self.rows.get, REQUESTS, MAX_AHEAD)
        self.state: IndicatorsPartition = load(new, "topic", self.rows.get, ())

    def rows_of(self, prefixes: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Rows of the store with these prefixes."""
        return ((key, row) for key, row in sorted(self.rows.items()) if key[:1] in prefixes)

    def take(self, values: Sequence[bytes], base: int) -> None:
        """Take values, appended 1,000 s after the epoch."""
        count = len(values)
        offsets = np.arange(base, base + count)
        times = np.full(count, 1_000 * SECOND)
        self.state.apply(RecordBatch("bars", 0, base, base + count, list(values), offsets, times))


def bar(symbol: str, interval: str, number: int, revision: int) -> BarRecord:
    """A bar whose price says which it is."""
    price = 100.0 + number * 7 % 5 + revision / 8
    length = int(interval[0]) * SECOND
    return BarRecord(
        symbol=symbol,
        interval=interval,
        start=number * length,
        open=price,
        high=price + 1,
        low=price - 1,
        close=price,
        volume=10.0,
        vwap=price,
        trades=1,
        revision=revision,
        is_final=True,
        filled=False,
        sources=("a", "b")[: number % 3],
    )


BARS = st.builds(
    bar,
    st.sampled_from(SYMBOLS),
    st.sampled_from(["1s", "1s", "2s", "5s"]),
    st.integers(0, 8),
    st.integers(0, 2),
)
VALUES = st.one_of(
    BARS,
    BARS,
    BARS,
    st.tuples(BARS, st.sampled_from(sorted(BAD))).map(
        lambda one: msgspec.structs.replace(one[0], **BAD[one[1]])
    ),
).map(encoder.encode)


@given(
    st.lists(st.tuples(st.lists(VALUES, max_size=30), st.booleans(), st.integers(0, 6)), max_size=8)
)
def test_entries_that_are_forgotten_or_read_ahead_and_new_owners_change_nothing(
    batches: list[tuple[list[bytes], bool, int]],
) -> None:
    few, ahead, all_of_them = Held(1), Held(3), Held(100)
    base = 0
    for values, moved, steps in batches:
        for each in (few, ahead, all_of_them):
            each.take(values, base)
            each.checkpoint()
        base += len(values)
        # At most the one, or those that were not stored.
        assert few.state.rows <= 1
        if moved:
            few.open()
            ahead.open()
            list(islice(ahead.state.read_ahead(ahead.rows_of), steps))
            assert ahead.state.rows <= min(steps, 3)
        assert few.state.counts == ahead.state.counts == all_of_them.state.counts
    assert few.published == ahead.published == all_of_them.published
    assert few.rows == ahead.rows == all_of_them.rows


def test_entries_of_the_shortest_interval_are_read_ahead() -> None:
    held = Held(100)
    for number in range(20):
        values = [encoder.encode(bar(symbol, "1s", number, 0)) for symbol in SYMBOLS]
        held.take([*values, encoder.encode(bar("SPY", "2s", number, 0))], 4 * number)
        held.checkpoint()
    held.open()
    assert held.state.rows == 0
    list(held.state.read_ahead(held.rows_of))
    assert held.state.rows == len(SYMBOLS)


@given(BARS, st.sampled_from(sorted(BAD)), st.booleans())
def test_what_is_refused_is_dead_for_its_reason_and_loads_nothing(
    good: BarRecord, reason: str, known: bool
) -> None:
    held, value = Held(100), encoder.encode(msgspec.structs.replace(good, **BAD[reason]))
    held.take([encoder.encode(good)] * known, 0)
    before, counts = held.state.rows, dict(held.state.counts)
    held.take([value], int(known))
    assert held.state.dead_reasons == {reason: 1}
    assert held.state.rows == before <= 1
    assert held.state.counts == counts | {"dead": 1}
    held.checkpoint()
    assert [each.value for each in held.published["dead"]] == [value]


def test_each_outcome_of_a_bar_is_counted() -> None:
    held = Held(100)
    bars = [
        bar("IBM", "1s", 3, 0),
        bar("IBM", "1s", 3, 2),
        bar("IBM", "1s", 3, 1),
        bar("IBM", "1s", 2, 0),
        bar("IBM", "5s", 0, 0),
        # Its last trade was taken back.
        msgspec.structs.replace(bar("IBM", "1s", 3, 3), filled=True, trades=0),
    ]
    held.take([encoder.encode(each) for each in bars], 0)
    assert held.state.counts == {
        "applied": 1, "revised": 2, "repeated": 1, "older": 1, "ignored": 1, "dead": 0,
    }  # fmt: skip
    held.checkpoint()
    found = [msgspec.json.decode(each.value) for each in held.published["indicators"]]
    assert [(each["revision"], each["exact"]) for each in found] == [
        (0, True), (2, True), (3, False),
    ]  # fmt: skip
    assert set(found[2]["values"].values()) == {None}
