"""The reference of quote bars itself, by hand-computed cases: base time 2014-05-05 10:00 UTC."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.oracle.quotes_reference import QuotePublication, QuotesReference
from tests.oracle.reference import Settings
from tests.oracle.rules import SECOND, partition_of

TEN = 1_399_284_000 * SECOND
#: Append times that bound nothing.
FAR_MS = 4_000_000_000_000


class Log:
    """Feeds a reference of one partition, offset by offset."""

    def __init__(self, **settings: Any) -> None:
        self.reference = QuotesReference(0, 1, Settings(**{"intervals": (SECOND,), **settings}))
        self.next = 0

    def value(self, value: bytes | None, append_ms: int = FAR_MS) -> str:
        self.next += 1
        return self.reference.feed(self.next - 1, append_ms, value)

    def quote(self, at: float, bid: float = 1.0, ask: float = 2.0, **fields: Any) -> str:
        """A quote `at` seconds after ten."""
        record = {"symbol": "A", "bid": bid, "ask": ask, "event_time": TEN + round(at * SECOND)}
        return self.value(json.dumps(record | fields).encode())

    def flush(self) -> list[QuotePublication]:
        self.value(b'{"type":"flush"}')
        return self.reference.bars


def test_every_side_has_its_own_open_high_low_and_close() -> None:
    log = Log()
    for at, bid, ask in ((0.1, 1.0, 1.5), (0.2, 0.5, 4.0), (0.3, 1.25, 1.25), (0.4, 1.0, 2.0)):
        assert log.quote(at, bid, ask, bid_size=at, source="s") == "applied"
    (bar,) = log.flush()
    assert (bar.bid_open, bar.bid_high, bar.bid_low, bar.bid_close) == (1.0, 1.25, 0.5, 1.0)
    assert (bar.ask_open, bar.ask_high, bar.ask_low, bar.ask_close) == (1.5, 4.0, 1.25, 2.0)
    # 1.25, 2.25, 1.25, 1.5: its high is no mean of highs.
    assert (bar.mid_open, bar.mid_high, bar.mid_low, bar.mid_close) == (1.25, 2.25, 1.25, 1.5)
    assert (bar.bid_size, bar.ask_size, bar.quotes, bar.spread) == (0.4, 0.0, 4, 1.25)
    assert (bar.interval, bar.start, bar.revision, bar.is_final) == ("1s", TEN, 0, True)
    assert bar.sources == ("s",)


def test_open_and_close_go_by_time_sequence_and_offset() -> None:
    log = Log()
    for bid, more in ((1, {"sequence": 7}), (2, {"sequence": 0}), (3, {}), (4, {}), (5, {})):
        log.quote(0.5, bid, 10, **more)
    log.quote(0.5, 6, 10, sequence=7)
    (bar,) = log.flush()
    assert (bar.bid_open, bar.bid_close) == (3, 6)


def test_zero_and_crossed_quotes_are_ignored_and_move_the_watermark() -> None:
    log = Log()
    log.quote(0.5)
    for bid, ask in ((0, 1), (1, 0), (-0.0, -1), (0, 0)):
        assert log.quote(0.6, bid, ask) == "ignored"
    assert log.quote(0.6, 2.0, 1.9) == "ignored"
    assert log.reference.ignored == {"zero": 4, "crossed": 1}
    assert log.reference.bars == []
    assert log.quote(2.0, 2.0, 1.0) == "ignored"
    assert [bar.quotes for bar in log.reference.bars] == [1]


def test_a_locked_market_and_negative_prices_count() -> None:
    log = Log()
    assert log.quote(0.1, 1.5, 1.5) == "applied"
    assert log.quote(0.2, -3.0, -2.0) == "applied"
    (bar,) = log.flush()
    assert (bar.quotes, bar.spread, bar.bid_low, bar.mid_close) == (2, 0.5, -3.0, -2.5)


def test_a_spread_is_put_on_the_grid_half_to_even_and_rounded_once() -> None:
    log = Log()
    # 1/2 and 3/2 units of 2^-40: none, and two.
    log.quote(0.1, 1.0, 1.0 + 2.0**-41)
    log.quote(0.2, 1.0, 1.0 + 3 * 2.0**-41)
    (bar,) = log.flush()
    assert bar.spread == 2.0**-40


def test_a_quote_in_a_closed_window_is_a_revision_of_each_interval_shortest_first() -> None:
    log = Log(intervals=(3 * SECOND, 2 * SECOND))
    log.quote(2.5)
    log.quote(9.0)
    assert log.quote(2.6, 1.5) == "revised"
    # The window of two seconds ends after that of three.
    assert log.quote(2.7, 1.25) == "revised"
    found = [(bar.interval, bar.revision, bar.quotes) for bar in log.reference.bars]
    assert found == [
        ("3s", 0, 1), ("2s", 0, 1), ("2s", 1, 2), ("3s", 1, 2), ("2s", 2, 3), ("3s", 2, 3),
    ]  # fmt: skip
    assert log.quote(5.0) == "revised"
    assert [bar.revision for bar in log.reference.bars[-2:]] == [0, 0]


def test_late_is_beyond_the_horizon_before_the_watermark() -> None:
    log = Log(correction_horizon=60 * SECOND)
    log.quote(100)
    assert log.quote(39) == "revised"
    assert log.quote(38.999, 0, 0) == "late"
    assert [(late.offset, late.symbol) for late in log.reference.late] == [(2, "A")]


def test_there_are_no_identities() -> None:
    log = Log()
    assert [log.quote(0.5, sequence=1) for _ in range(2)] == ["applied", "applied"]
    assert log.flush()[0].quotes == 2


GOOD = b'{"symbol":"A","bid":1,"ask":2,"event_time":1399284000000000000'


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "null"),
        (b"", "empty"),
        (b" " * (512 * 1024 + 1), "too_large"),
        (b" ", "malformed"),
        (GOOD, "malformed"),
        (GOOD + b',"type":"trade"}', "malformed"),
        (GOOD + b',"price":1}', "malformed"),
        (GOOD + b',"conditions":[]}', "malformed"),
        (GOOD + b',"trade_id":"x"}', "malformed"),
        (GOOD + b',"bid_size":-1}', "malformed"),
        (GOOD + b',"ask":null}', "malformed"),
        (b'{"symbol":"A","bid":1,"event_time":1399284000000000000}', "malformed"),
        (GOOD + b',"symbol":"*"}', "bad_symbol"),
        (GOOD + b',"event_time":5}', "event_time_too_early"),
        (b'{"type":"clock","event_time":5}', "event_time_too_early"),
        (GOOD + b',"event_time":4000000010000000001}', "event_time_too_late"),
        (GOOD + b',"symbol":"B"}', "too_many_symbols"),
    ],
)
def test_a_bad_record_is_dead_and_changes_nothing(value: bytes | None, reason: str) -> None:
    log = Log(max_symbols=1)
    log.value(GOOD + b"}")
    before = log.reference.maximum
    assert log.value(value) == "dead"
    assert [(dead.reason, dead.value) for dead in log.reference.dead] == [(reason, value)]
    assert log.reference.maximum == before
    assert log.value(GOOD + b',"type":"quote","bid_size":-0.0}') == "applied"
    assert repr(log.flush()[0].bid_size) == "0.0"


def test_a_symbol_of_another_partition_is_dead() -> None:
    mine = partition_of(b"A", 2)
    other = QuotesReference(1 - mine, 2, Settings())
    assert other.feed(0, FAR_MS, GOOD + b"}") == "dead"
    assert other.dead[0].reason == "wrong_partition"
