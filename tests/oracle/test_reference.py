"""The reference itself, by hand-computed cases: base time 2013-10-08 10:00:00 New York."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.oracle.compare import TopicComparison, compare_partition, found_bar
from tests.oracle.log import LogRecord
from tests.oracle.reference import Reference, Settings
from tests.oracle.rules import MINUTE, SECOND, Flags, murmur2, off_grid, on_grid, partition_of
from tests.oracle.window import interval_label

TEN = 1_381_240_800 * SECOND
SIXTEEN = TEN + 360 * MINUTE
#: Append times that bound nothing.
FAR_MS = 4_000_000_000_000


class Log:
    """Feeds a reference of one partition, offset by offset."""

    def __init__(self, **settings: Any) -> None:
        settings = {"intervals": (SECOND,), **settings}
        self.reference = Reference(0, 1, Settings(**settings))
        self.next = 0

    def value(self, value: bytes | None, append_ms: int = FAR_MS) -> str:
        self.next += 1
        return self.reference.feed(self.next - 1, append_ms, value)

    def send(self, append_ms: int = FAR_MS, **fields: Any) -> str:
        return self.value(json.dumps(fields).encode(), append_ms)

    def trade(self, at: float, price: float = 10.0, size: float = 1.0, **fields: Any) -> str:
        """A trade `at` seconds after ten, unless `event_time` says otherwise."""
        return self.send(
            **{
                "symbol": "A",
                "price": price,
                "size": size,
                "event_time": TEN + round(at * SECOND),
                **fields,
            }
        )

    @property
    def bars(self) -> list[tuple[Any, ...]]:
        """(seconds after ten, revision, open, high, low, close, volume, trades)."""
        return [
            (
                (bar.start - TEN) / SECOND,
                bar.revision,
                bar.open,
                bar.high,
                bar.low,
                bar.close,
                bar.volume,
                bar.trades,
            )
            for bar in self.reference.bars
        ]


def test_murmur2_is_kafkas() -> None:
    # From Kafka's own UtilsTest.
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    for key, signed in known.items():
        assert murmur2(key) == signed % 2**32
    assert partition_of(b"21", 7) == (-973932308 & 0x7FFFFFFF) % 7


def test_sums_are_rounded_half_to_even_once_in_and_once_out() -> None:
    assert on_grid(1.0) == 2**40
    assert [on_grid(units * 2.0**-41) for units in (1, 3, 5, -1, -3)] == [0, 2, 2, 0, -2]
    assert off_grid(sum(on_grid(0.1) for _ in range(10))) == pytest.approx(1.0, abs=1e-11)
    # 2^53 + 1 whole units are half way between two doubles.
    assert off_grid((2**53 + 1) * 2**40) == 2.0**53


def test_a_window_closes_when_the_watermark_reaches_its_end() -> None:
    log = Log()
    log.trade(0.1, 10, 2)
    log.trade(0.9, 12, 1)
    assert log.trade(1.999, 11) == "applied"
    assert log.bars == []
    log.trade(2.0, 13)
    assert log.bars == [(0, 0, 10, 12, 10, 12, 3, 2)]
    assert log.reference.bars[0].vwap == 32 / 3


def test_open_and_close_go_by_time_sequence_offset_and_a_missing_sequence_is_first() -> None:
    log = Log()
    log.trade(0.5, 1, sequence=7)
    log.trade(0.5, 2, sequence=0)
    log.trade(0.5, 3)
    log.trade(0.5, 4)
    log.trade(0.5, 5, sequence=7)
    log.value(b'{"type":"flush"}')
    assert log.bars == [(0, 0, 3, 5, 1, 5, 5, 5)]


def test_a_record_in_a_closed_window_is_a_revision_of_each_interval_shortest_first() -> None:
    log = Log(intervals=(10 * SECOND, SECOND))
    log.trade(5.5, 10)
    log.trade(12.0, 11)
    assert log.trade(5.6, 9) == "revised"
    assert log.trade(5.1, 8) == "revised"
    identities = [(bar.interval, bar.revision) for bar in log.reference.bars]
    assert identities == [(label, revision) for revision in range(3) for label in ("1s", "10s")]
    assert log.bars[-1] == (0, 2, 8, 10, 8, 9, 3, 3)


def test_a_closed_window_without_a_bar_gets_revision_0() -> None:
    log = Log()
    log.trade(10)
    assert log.trade(5, 7) == "revised"
    assert log.bars == [(5, 0, 7, 7, 7, 7, 1, 1)]


def test_late_is_beyond_the_horizon_before_the_watermark_and_registers_nothing() -> None:
    log = Log(correction_horizon=60 * SECOND)
    log.trade(100)
    assert log.trade(39) == "revised"
    assert log.trade(38.999, trade_id="x") == "late"
    assert log.trade(39, trade_id="x") == "revised"
    assert [(late.offset, late.symbol) for late in log.reference.late] == [(2, "A")]


def test_a_trade_id_is_remembered_to_the_end_of_its_minute_plus_grace_and_horizon() -> None:
    log = Log(correction_horizon=60 * SECOND)
    assert log.trade(30, trade_id="x") == "applied"
    assert log.trade(31, trade_id="x") == "duplicate"
    assert log.trade(31, trade_id="x", venue="V") == "applied"
    # Forgotten once the watermark is at 60 + 1 + 60 s: the maximum at 122 s.
    assert log.trade(121.999, trade_id="x") == "duplicate"
    assert log.trade(122) == "applied"
    assert log.trade(122, trade_id="x") == "applied"
    assert log.trade(122, trade_id="x") == "duplicate"


def test_a_duplicate_moves_the_watermark() -> None:
    log = Log()
    log.trade(0, trade_id="x")
    assert log.trade(5, trade_id="x") == "duplicate"
    assert log.bars == [(0, 0, 10, 10, 10, 10, 1, 1)]


def test_flush_closes_what_is_open_and_moves_no_watermark() -> None:
    log = Log()
    log.trade(5.5)
    assert log.value(b'{"type":"flush"}') == "control"
    assert log.trade(5.6) == "revised"
    assert log.trade(5.0 - 0.5) == "applied"
    assert [(bar[0], bar[1]) for bar in log.bars] == [(5, 0), (5, 1)]


def test_a_clock_record_closes_and_is_bounded_by_its_append_time() -> None:
    log = Log()
    append_ms = (TEN + SECOND) // 1_000_000
    log.trade(0.5)
    assert log.send(type="clock", event_time=TEN + 9 * SECOND, append_ms=append_ms) == "control"
    assert log.reference.maximum == TEN + 2 * SECOND
    assert len(log.bars) == 1
    assert log.send(type="clock", event_time=TEN + 12 * SECOND, append_ms=append_ms) == "dead"


def test_closes_go_by_end_then_interval_then_symbol() -> None:
    log = Log(intervals=(SECOND, 2 * SECOND))
    log.trade(1.5, symbol="B")
    log.trade(0.5, symbol="C")
    log.trade(1.5, symbol="A")
    log.trade(9)
    order = [(bar.interval, bar.start // SECOND % 60, bar.symbol) for bar in log.reference.bars]
    assert order == [
        ("1s", 0, "C"),
        ("1s", 1, "A"),
        ("1s", 1, "B"),
        ("2s", 0, "A"),
        ("2s", 0, "B"),
        ("2s", 0, "C"),
    ]


GOOD = b'{"symbol":"A","price":1,"size":1,"event_time":1381240800000000000'


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "null"),
        (b"", "empty"),
        (b" " * (512 * 1024 + 1), "too_large"),
        (b" ", "malformed"),
        (GOOD, "malformed"),
        (GOOD + b"}" + GOOD + b"}", "malformed"),
        (b"[" + GOOD + b"}]", "malformed"),
        (b"\xef\xbb\xbf" + GOOD + b"}", "malformed"),
        (GOOD + b',"more":1}', "malformed"),
        (GOOD + b',"price":NaN}', "malformed"),
        (GOOD + b',"price":1e999}', "malformed"),
        (GOOD + b',"price":true}', "malformed"),
        (GOOD + b',"price":"x","price":1}', "malformed"),
        (GOOD + b',"size":-1}', "malformed"),
        (GOOD + b',"size":' + b"9" * 5000 + b"}", "malformed"),
        (GOOD + b',"event_time":1.0}', "malformed"),
        (GOOD + b',"event_time":9223372036854775808}', "malformed"),
        (GOOD + b',"venue":"\\ud800"}', "malformed"),
        (GOOD + b',"venue":"a\\u0000"}', "malformed"),
        (GOOD + b',"trade_id":""}', "malformed"),
        (GOOD + b',"more":' + b"[" * 100_000 + b"}", "malformed"),
        (b'{"type":"flush","symbol":"A"}', "malformed"),
        (GOOD + b',"conditions":["weird"],"symbol":"*"}', "unknown_condition"),
        (GOOD + b',"symbol":"*"}', "bad_symbol"),
        (GOOD + b',"event_time":5}', "event_time_too_early"),
        (b'{"type":"clock","event_time":5}', "event_time_too_early"),
        (GOOD + b',"event_time":4000000010000000001}', "event_time_too_late"),
        (GOOD + b',"price":1e12,"size":101}', "notional_too_large"),
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
    assert log.value(GOOD + b',"price":-0.0,"size":100,"price":1e12}') == "applied"


def test_a_symbol_of_another_partition_is_dead() -> None:
    mine = partition_of(b"A", 2)
    other = Reference(1 - mine, 2, Settings())
    assert other.feed(0, FAR_MS, GOOD + b"}") == "dead"
    assert other.dead[0].reason == "wrong_partition"


def test_the_61st_source_is_dead() -> None:
    log = Log()
    outcomes = [log.trade(0, source=f"s{number}") for number in range(61)]
    assert outcomes == ["applied"] * 60 + ["dead"]
    assert log.reference.dead[0].reason == "too_many_sources"
    log.value(b'{"type":"flush"}')
    assert log.reference.bars[0].sources == tuple(sorted(f"s{number}" for number in range(60)))


def test_sip_takes_the_strictest_row_and_a_bar_needs_open_and_close() -> None:
    matrix = {"odd_lot": Flags(False, False, True), "sold": Flags(True, False, True)}
    matrix = {"odd_lot": matrix["odd_lot"], "sold_out_of_sequence": matrix["sold"]}
    log = Log(policy="sip", sip_matrix=matrix)
    log.trade(0.1, 1, 5, conditions=["odd_lot"])
    log.trade(0.2, 50, 6, conditions=["sold_out_of_sequence"])
    log.trade(9)
    assert log.bars == []
    # The closed window keeps what it had.
    log.trade(0.3, 20, 7)
    assert log.bars == [(0, 0, 20, 50, 20, 20, 18, 3)]


def test_algoseek_gives_volume_without_a_price_to_the_bar_before_as_a_revision() -> None:
    log = Log(policy="algoseek")
    log.trade(1, 10, 1)
    log.trade(2, 99, 5, conditions=["iso"])
    log.trade(3, 99, 7, conditions=["suspicious"])
    log.trade(5, 11, 1)
    # No revision by the record itself; one when its window closes.
    assert log.bars == [(1, 0, 10, 10, 10, 10, 1, 1), (1, 1, 10, 10, 10, 10, 6, 2)]
    # In a closed window: at once.
    assert log.trade(3, 99, 4, conditions=["iso"]) == "revised"
    assert log.bars[-1] == (1, 2, 10, 10, 10, 10, 10, 3)
    assert log.reference.outcomes["ignored"] == 1


def test_algoseek_never_carries_volume_across_a_date() -> None:
    log = Log(policy="algoseek")
    log.trade(0)
    log.trade(0, event_time=TEN + 86_400 * SECOND, conditions=["iso"])
    log.trade(0, event_time=TEN + 86_410 * SECOND)
    assert [bar[0] for bar in log.bars] == [0]


def test_algoseek_puts_the_closing_print_into_the_last_minute_when_its_own_closes() -> None:
    log = Log(policy="algoseek", intervals=(SECOND, MINUTE))
    last = (SIXTEEN - MINUTE - TEN) / SECOND
    log.trade(last + 59, 10, 1)
    log.trade(last + 104, 12, 100, conditions=["closing_print"])
    log.trade(last + 105, 11, 1, conditions=["extended_hours"])
    log.trade(last + 121, 11, 1, conditions=["extended_hours"])
    minutes = [
        row for row, bar in zip(log.bars, log.reference.bars, strict=True) if bar.interval == "1m"
    ]
    assert minutes == [
        (last, 0, 10, 10, 10, 10, 1, 1),
        (last, 1, 10, 12, 10, 12, 101, 2),
        (last + 60, 0, 11, 11, 11, 11, 1, 1),
    ]
    # Its own window is closed now: applied to the target at once.
    assert log.trade(last + 106, 13, 1, conditions=["closing_print"]) == "revised"
    assert log.bars[-1] == (last, 2, 10, 13, 10, 13, 102, 3)


def test_a_closing_print_without_a_bar_before_it_makes_revision_0() -> None:
    log = Log(policy="algoseek", intervals=(MINUTE,))
    log.trade(0, 12, 100, event_time=SIXTEEN, conditions=["closing_print"])
    log.value(b'{"type":"flush"}')
    assert log.bars == [((SIXTEEN - MINUTE - TEN) / SECOND, 0, 12, 12, 12, 12, 100, 1)]


def test_interval_labels() -> None:
    lengths = (SECOND // 10, SECOND, 90 * SECOND, 15 * MINUTE, 120 * MINUTE)
    assert [interval_label(length) for length in lengths] == ["100ms", "1s", "90s", "15m", "2h"]


def test_the_comparison_tells_lost_doubled_wrong_and_unexpected_apart() -> None:
    def record(revision: int, close: float) -> LogRecord:
        bar = {"symbol": "A", "interval": "1s", "start": 0, "open": 1.0, "high": 3.0, "low": 1.0}
        bar |= {"close": close, "volume": 1.0, "vwap": None, "trades": 1, "revision": revision}
        bar |= {"is_final": True, "filled": False, "sources": []}
        return LogRecord(0, 0, b"A", json.dumps(bar).encode(), {})

    def identified(*records: LogRecord) -> list[tuple[Any, Any]]:
        return [(found.identity, found.body) for found in map(found_bar, records)]

    expected = identified(*(record(revision, 2.0) for revision in range(4)))
    result = TopicComparison("bars")
    read = [record(0, 2.0), record(0, 2.0), record(2, 2.5), record(1, 2.0), record(9, 2.0)]
    compare_partition(result, 0, expected, map(found_bar, read))
    assert {kind: len(lines) for kind, lines in result.faults.items()} == {
        "lost": 1,
        "doubled": 1,
        "wrong": 1,
        "unexpected": 1,
        "disordered": 1,
    }
    assert not result.passes
