"""Cancels and corrections by hand: small logs whose every publication is written down here.

Random ones are held against the reference in `tests/checks`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.bars import TradesState
from app.contracts.batch import RecordBatch
from app.contracts.wire import encoder
from tables.anchors import Anchors
from tables.identifiers import MINUTE
from tables.policies import policy_of
from tables.rows import ANCHOR_PREFIX, MARKER_KEY, ROW_VERSION, decode_marker, encode_marker
from tables.snapshot import StateRefusedError
from tests.unit.bars_log import SECOND, START, Run, batch, configuration, trade
from tests.unit.recalling import apply_all

APPEND = START + 3600 * 24 * SECOND
FLUSH = b'{"type":"flush"}'
ONE_SECOND = {"intervals": (SECOND,)}


def at(seconds: float) -> int:
    """Event time in ns."""
    return START + round(seconds * SECOND)


def cancel(symbol: str = "AAA", **fields: object) -> bytes:
    """A cancel, of the trade that the fields name."""
    record = {"type": "correction", "action": "cancel", "symbol": symbol, "event_time": at(0)}
    return encoder.encode(record | fields)


def correct(symbol: str = "AAA", **fields: object) -> bytes:
    """A correction, of the trade that the fields name."""
    return cancel(symbol, action="correct", **fields)


class Told(Run):
    """A partition that is told one value after the other, each in a batch of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.log: list[tuple[bytes | None, int]] = []
        self.stretches: list[tuple[int, int]] = []

    def _read(self, first: int, end: int) -> Iterator[RecordBatch]:
        self.stretches.append((first, end))
        yield batch(self.log, first, end)

    def tell(self, *values: bytes) -> Told:
        """Take the values, and checkpoint."""
        for value in values:
            self.log.append((value, APPEND))
            apply_all(self.state, batch(self.log, len(self.log) - 1, len(self.log)), self._read)
        self.checkpoint()
        return self

    def bars(self, *fields: str) -> list[tuple[Any, ...]]:
        """Chosen fields of what was published since the last call; starts after `START`."""
        rows = []
        for record in self.published["bars"]:
            bar = json.loads(record.value or b"")
            bar["start"] = (bar["start"] - START) / SECOND
            rows.append(tuple(bar[name] for name in fields))
        self.published["bars"].clear()
        return rows

    def reasons(self) -> list[str]:
        """Why records were dead."""
        return [dict(record.headers)["reason"].decode() for record in self.published["dead"]]


def test_a_cancel_takes_the_high_out_of_a_closed_bar() -> None:
    told = Told(configuration(**ONE_SECOND)).tell(
        trade("AAA", 10, 1, at(0.1), trade_id="a"),
        trade("AAA", 99, 2, at(0.2), trade_id="b"),
        trade("AAA", 11, 3, at(0.3), trade_id="c"),
        trade("AAA", 12, 1, at(5)),
    )
    assert told.bars("start", "high", "volume", "revision") == [(0, 99, 6, 0)]
    told.tell(cancel(trade_id="b"))
    fields = ("start", "open", "high", "low", "close", "volume", "trades", "revision", "filled")
    assert told.bars(*fields) == [(0, 10, 11, 10, 11, 4, 2, 1, False)]
    assert told.state.counts["control"] == 1


def test_a_bar_without_a_trade_left_goes_out_empty_and_comes_back_with_the_next() -> None:
    told = Told(configuration(**ONE_SECOND)).tell(
        trade("AAA", 10, 1, at(0.1), sequence=7), trade("AAA", 12, 1, at(5))
    )
    told.bars()
    told.tell(cancel(original_event_time=at(0.1), original_sequence=7))
    fields = ("start", "open", "close", "volume", "vwap", "trades", "revision", "filled", "sources")
    assert told.bars(*fields) == [(0, 10, 10, 0, None, 0, 1, True, [])]
    told.tell(trade("AAA", 20, 2, at(0.5)))
    assert told.bars(*fields) == [(0, 20, 20, 2, 20, 1, 2, False, [])]


def test_an_open_window_is_made_anew_and_published_once() -> None:
    told = Told(configuration(**ONE_SECOND)).tell(
        trade("AAA", 10, 1, at(0.1), trade_id="a"),
        trade("AAA", 30, 1, at(0.2), trade_id="b"),
        correct(trade_id="b", new_price=20),
        correct(trade_id="b", original_price=20, new_size=4),
    )
    assert told.bars("start") == []
    told.tell(trade("AAA", 1, 1, at(5)))
    assert told.bars("high", "close", "volume", "revision") == [(20, 20, 5, 0)]


def test_a_window_whose_every_trade_is_cancelled_while_open_is_never_published() -> None:
    told = Told(configuration(**ONE_SECOND)).tell(
        trade("AAA", 10, 1, at(0.1), trade_id="a"), cancel(trade_id="a"), FLUSH
    )
    assert told.bars("start") == []
    # The flush closed nothing: this one is applied, not a revision.
    told.tell(trade("AAA", 11, 1, at(0.2)), FLUSH)
    assert told.bars("start", "open", "revision") == [(0, 11, 0)]
    assert told.state.counts["revised"] == 0


def test_each_interval_has_its_revision_shortest_first() -> None:
    told = Told(configuration()).tell(
        trade("AAA", 10, 1, at(0.1), trade_id="a"),
        trade("AAA", 11, 1, at(0.2)),
        trade("AAA", 12, 1, at(100)),
    )
    told.bars()
    told.tell(cancel(trade_id="a"))
    assert told.bars("interval", "open", "revision") == [
        ("1s", 11, 1), ("10s", 11, 1), ("1m", 11, 1),
    ]  # fmt: skip


def test_hours_later_the_revision_is_known_from_the_log_and_then_from_the_state() -> None:
    """The ring has long been overwritten; the log says how often the bar was published."""
    told = Told(configuration(**ONE_SECOND)).tell(
        trade("AAA", 10, 1, at(0.1), trade_id="a"),
        trade("AAA", 11, 1, at(5), trade_id="b"),
        trade("AAA", 12, 1, at(0.2), trade_id="c"),
        trade("AAA", 13, 1, at(0.3), trade_id="d"),
        *(trade("AAA", 14, 1, at(60 * minute)) for minute in range(1, 600)),
    )
    assert [row for row in told.bars("start", "close", "revision") if row[0] == 0] == [
        (0, 10, 0), (0, 12, 1), (0, 13, 2),
    ]  # fmt: skip
    told.crash()
    told.tell(cancel(trade_id="d", original_event_time=at(0.3)))
    assert told.bars("start", "close", "volume", "revision") == [(0, 12, 2, 3)]
    # Only what may hold records of the window is read again.
    (first, end) = told.stretches[-1]
    assert first == 0
    assert end < 10
    told.crash()
    told.tell(cancel(trade_id="c"))
    assert told.bars("start", "close", "volume", "revision") == [(0, 10, 1, 4)]


@pytest.mark.parametrize(
    ("correction", "reason"),
    [
        (cancel(trade_id="z"), "unknown_trade"),
        (cancel(trade_id="a", venue="P"), "unknown_trade"),
        (cancel(trade_id="a", original_price=10.5), "unknown_trade"),
        (cancel(trade_id="a", original_event_time=at(0.2)), "unknown_trade"),
        (cancel(original_sequence=1), "unknown_trade"),
        (cancel(original_event_time=at(0.1), original_sequence=1), "unknown_trade"),
        (cancel("BBB", trade_id="a"), "unknown_trade"),
        (cancel("?", trade_id="a"), "bad_symbol"),
        (cancel(trade_id="a\0"), "malformed"),
        (cancel(trade_id="a", more=1), "malformed"),
        (correct(trade_id="a", new_price=1e12, new_size=1e12), "notional_too_large"),
    ],
)
def test_what_cannot_be_followed_is_dead_and_changes_nothing(
    correction: bytes, reason: str
) -> None:
    told = Told(configuration(**ONE_SECOND)).tell(
        trade("AAA", 10, 1, at(0.1), trade_id="a"), trade("AAA", 12, 1, at(5))
    )
    told.bars()
    told.tell(correction, trade("AAA", 12, 1, at(5.1)))
    assert told.reasons() == [reason]
    assert told.published["dead"][0].value == correction
    assert told.bars("start") == []
    assert told.state.counts["dead"] == 1
    assert told.state.counts["applied"] == 3


def test_a_trade_beyond_the_recall_horizon_is_unknown() -> None:
    told = Told(configuration(**ONE_SECOND, recall_horizon=60 * SECOND)).tell(
        trade("AAA", 10, 1, at(0.1), trade_id="a"), trade("AAA", 12, 1, at(61.2))
    )
    told.tell(cancel(trade_id="a"), cancel(trade_id="a", original_event_time=at(0.1)))
    assert told.reasons() == ["unknown_trade", "unknown_trade"]


@pytest.mark.parametrize("changes", [{"policy": policy_of("algoseek")}, {"fill_forward": True}])
def test_where_bars_depend_on_each_other_corrections_are_dead(changes: dict[str, object]) -> None:
    told = Told(configuration(**ONE_SECOND, **changes)).tell(
        trade("AAA", 10, 1, at(0.1), trade_id="a"), cancel(trade_id="a")
    )
    assert told.reasons() == ["policy_without_corrections"]


def test_the_rest_of_the_batch_goes_on_after_a_correction() -> None:
    log = [
        (trade("AAA", 10, 1, at(0.1), trade_id="a"), APPEND),
        (b"broken", APPEND),
        (cancel(trade_id="a"), APPEND),
        (b"broken, too", APPEND),
        (trade("AAA", 11, 1, at(0.2)), APPEND),
        (cancel(trade_id="never"), APPEND),
        (FLUSH, APPEND),
    ]
    run = Run(configuration(**ONE_SECOND))
    stretches = apply_all(run.state, batch(log, 0, 7), lambda first, end: [batch(log, first, end)])
    run.checkpoint()
    assert stretches == 2
    (bar,) = (json.loads(record.value or b"") for record in run.published["bars"])
    assert (bar["open"], bar["trades"], bar["revision"]) == (11, 1, 0)
    offsets = [dict(record.headers)["offset"] for record in run.published["dead"]]
    assert offsets == [b"1", b"3", b"5"]
    assert sum(run.state.counts.values()) == len(log)


def test_an_anchor_is_where_the_batch_stopped_and_not_where_it_ends() -> None:
    """It stops three times; what the last correction reads begins where it stopped first."""
    log = [
        (trade("AAA", 10, 1, at(0.1), trade_id="a"), APPEND),
        (trade("AAA", 10, 1, at(70)), APPEND),
        (cancel(trade_id="a"), APPEND),
        (trade("AAA", 10, 1, at(200), trade_id="b"), APPEND),
        (cancel(trade_id="b"), APPEND),
        (trade("AAA", 10, 1, at(400), trade_id="c"), APPEND),
        (cancel(trade_id="c", original_event_time=at(400)), APPEND),
    ]
    run = Run(configuration(**ONE_SECOND))
    stretches: list[tuple[int, int]] = []

    def read(first: int, end: int) -> list[RecordBatch]:
        stretches.append((first, end))
        return [batch(log, first, end)]

    apply_all(run.state, batch(log, 0, 7), read)
    assert (run.state.counts["control"], run.state.counts["dead"]) == (3, 0)
    assert stretches[-1] == (2, 6)


def test_an_id_of_before_the_stretch_is_looked_for_further_back() -> None:
    """The second trade with the id is a duplicate of one that the first stretch does not hold.

    The chain is the point: the middle one is a duplicate, too, so it keeps the id no longer.
    """
    config = configuration(intervals=(SECOND,), correction_horizon=300 * SECOND)
    told = Told(config)
    told.tell(trade("AAA", 1, 1, at(0.1), trade_id="x"))
    for minute in range(1, 12):
        told.tell(trade("AAA", 2, 1, at(60 * minute)))
        if minute == 5:
            told.tell(trade("AAA", 3, 1, at(60 * minute + 0.5), trade_id="x"))
        if minute == 8:
            told.tell(trade("AAA", 4, 1, at(60 * minute + 0.5), trade_id="x"))
    assert told.state.counts["duplicate"] == 1
    told.bars()
    told.tell(cancel(trade_id="x", original_event_time=at(60 * 8 + 0.5)))
    assert told.bars("start", "open", "volume", "revision") == [(480, 2, 1, 1)]
    assert len(told.stretches) > 1


def test_what_the_log_does_not_hold_any_more_is_dead() -> None:
    told = Told(configuration(**ONE_SECOND)).tell(trade("AAA", 10, 1, at(0.1), trade_id="a"))
    told.log.append((cancel(trade_id="a"), APPEND))
    state = TradesState(told.state, 1024)
    state.apply(batch(told.log, 1, 2))
    assert state.next == 1
    assert state.recall is not None
    assert (state.recall.first, state.recall.end) == (0, 1)
    state.recalled(whole=False)
    assert state.recall is None
    state.apply(batch(told.log, 1, 2))
    assert state.next == 2
    told.checkpoint()
    assert told.reasons() == ["log_gone"]


def test_rows_of_corrected_trades_go_once_they_are_too_old() -> None:
    told = Told(configuration(**ONE_SECOND, recall_horizon=120 * SECOND)).tell(
        trade("AAA", 10, 1, at(0.1), trade_id="a"),
        trade("AAA", 12, 1, at(5)),
        cancel(trade_id="a"),
    )
    prefixes = [key[:1] for key in told.store]
    assert (prefixes.count(b"k"), prefixes.count(b"x")) == (1, 1)
    told.tell(*(trade("AAA", 14, 1, at(60 * minute)) for minute in range(1, 60)))
    prefixes = [key[:1] for key in told.store]
    assert (prefixes.count(b"k"), prefixes.count(b"x")) == (0, 0)
    assert prefixes.count(ANCHOR_PREFIX) < 10


# --- versions of the rows -----------------------------------------------------------------------


def test_rows_of_version_1_are_read_and_become_those_of_today() -> None:
    told = Told(configuration(**ONE_SECOND)).tell(
        trade("AAA", 10, 1, at(0.1), trade_id="a"), trade("AAA", 12, 1, at(5))
    )
    for key in [key for key in told.store if key[:1] == ANCHOR_PREFIX]:
        del told.store[key]
    marker = decode_marker(told.store[MARKER_KEY])
    told.store[MARKER_KEY] = encode_marker(type(marker)(**(_fields(marker) | {"version": 1})))
    assert told.crash() == 2
    told.bars()
    told.tell(cancel(trade_id="a"))
    assert told.bars("start", "filled", "revision") == [(0, True, 1)]
    assert decode_marker(told.store[MARKER_KEY]).version == ROW_VERSION


def test_rows_of_a_newer_version_are_refused_in_one_line() -> None:
    told = Told(configuration(**ONE_SECOND)).tell(trade("AAA", 10, 1, at(0.1)))
    marker = decode_marker(told.store[MARKER_KEY])
    told.store[MARKER_KEY] = encode_marker(type(marker)(**(_fields(marker) | {"version": 4})))
    with pytest.raises(
        StateRefusedError, match=r"row version 4, newer than .* \(1 to 3\)"
    ) as error:
        told.crash()
    assert "\n" not in str(error.value)


def _fields(marker: Any) -> dict[str, Any]:
    return {name: getattr(marker, name) for name in marker.__struct_fields__}


# --- anchors ------------------------------------------------------------------------------------


@given(
    steps=st.lists(st.integers(0, 3 * MINUTE), min_size=1, max_size=40),
    slack=st.integers(0, MINUTE),
    asked=st.integers(0, 60 * MINUTE),
    forgotten=st.integers(0, 60 * MINUTE),
)
def test_before_an_anchor_is_no_record_that_is_asked_for(
    steps: list[int], slack: int, asked: int, forgotten: int
) -> None:
    anchors = Anchors(slack)
    anchors.begin(0)
    maximum, maxima = 0, [0]
    for offset, step in enumerate(steps, start=1):
        maximum += step
        maxima.append(maximum)
        anchors.note(offset, maximum)
    anchors.forget(min(asked, forgotten))
    anchor = anchors.before(asked)
    # A record at offset n has an event time of at most maxima[n + 1] + slack.
    assert all(each + slack < asked for each in maxima[1 : anchor.offset + 1])
    assert anchors.earlier(anchor).offset <= anchor.offset
    passed = anchors.passed(asked)
    if passed is not None:
        assert maxima[passed.offset] >= asked
