"""Bars by hand: small logs whose every publication is written down here.

Times are seconds after `START`; prices and sizes are small, so that the numbers can be followed.
"""

from __future__ import annotations

import json
from typing import Any

from tables.policies import policy_of
from tests.unit.bars_log import SECOND, START, Run, configuration, run_whole, trade

#: Between two records the wall clock stands still, far ahead of the data.
APPEND = START + 3600 * SECOND


def at(seconds: float) -> int:
    """Event time in ns."""
    return START + round(seconds * SECOND)


def log(*values: bytes) -> list[tuple[bytes | None, int]]:
    """Values with an append time that bounds nothing."""
    return [(value, APPEND) for value in values]


def published(run: Run, *fields: str) -> list[tuple[Any, ...]]:
    """Chosen fields of each published bar, in order; starts in seconds after `START`."""
    rows = []
    for record in run.published["bars"]:
        bar = json.loads(record.value or b"")
        bar["start"] = (bar["start"] - START) / SECOND
        rows.append(tuple(bar[name] for name in fields))
    return rows


ONE_SECOND = {"intervals": (SECOND,)}
FLUSH = b'{"type":"flush"}'


def test_a_bar_is_published_when_the_watermark_reaches_its_end() -> None:
    # |--- bar 0 ---|--- bar 1 ---|      grace 1 s: 2.0 moves the watermark to 1.0
    #   0.2    0.9     1.5   2.0
    run = run_whole(
        configuration(**ONE_SECOND),
        log(
            trade("AAA", 10, 1, at(0.2)),
            trade("AAA", 12, 2, at(0.9)),
            trade("AAA", 11, 3, at(1.5)),
        ),
    )
    assert published(run, "start") == []
    run.feed(
        log(
            trade("AAA", 10, 1, at(0.2)),
            trade("AAA", 12, 2, at(0.9)),
            trade("AAA", 11, 3, at(1.5)),
            trade("AAA", 9, 1, at(2.0)),
        ),
        [],
    )
    run.checkpoint()
    fields = ("start", "open", "high", "low", "close", "volume", "trades", "revision")
    assert published(run, *fields) == [(0.0, 10.0, 12.0, 10.0, 12.0, 3.0, 2, 0)]


def test_open_and_close_go_by_event_time_then_sequence_then_offset() -> None:
    run = run_whole(
        configuration(**ONE_SECOND),
        log(
            trade("AAA", 3, 1, at(0.5), sequence=2),
            trade("AAA", 2, 1, at(0.5), sequence=1),
            trade("AAA", 1, 1, at(0.5)),
            trade("AAA", 4, 1, at(0.5), sequence=2),
            FLUSH,
        ),
    )
    # No sequence comes before any; of two equal ones the later offset closes.
    assert published(run, "open", "close") == [(1.0, 4.0)]


def test_vwap_is_notional_over_size_and_null_without_size() -> None:
    run = run_whole(
        configuration(**ONE_SECOND),
        log(
            trade("AAA", 10, 1, at(0.1)),
            trade("AAA", 20, 3, at(0.2)),
            trade("BBB", 7, 0, at(0.3)),
            FLUSH,
        ),
    )
    assert published(run, "symbol", "vwap", "volume", "trades") == [
        ("AAA", 17.5, 4.0, 2),
        ("BBB", None, 0.0, 1),
    ]


def test_a_late_trade_within_the_horizon_revises_and_beyond_it_goes_to_the_late_topic() -> None:
    config = configuration(correction_horizon=10 * SECOND, **ONE_SECOND)
    run = run_whole(
        config,
        log(
            trade("AAA", 10, 1, at(0.5)),
            trade("AAA", 11, 1, at(5.0)),
            trade("AAA", 15, 2, at(0.7)),
            trade("AAA", 12, 1, at(20.0)),
            trade("AAA", 99, 1, at(0.8)),
        ),
    )
    assert published(run, "start", "high", "volume", "revision") == [
        (0.0, 10.0, 1.0, 0),
        (0.0, 15.0, 3.0, 1),
        (5.0, 11.0, 1.0, 0),
    ]
    assert [record.value for record in run.published["late"]] == [trade("AAA", 99, 1, at(0.8))]
    assert run.state.counts["revised"] == 1
    assert run.state.counts["late"] == 1


def test_a_late_trade_in_an_empty_closed_window_is_revision_zero() -> None:
    run = run_whole(
        configuration(**ONE_SECOND),
        log(trade("AAA", 10, 1, at(5.0)), trade("AAA", 9, 1, at(1.5))),
    )
    assert published(run, "start", "close", "revision") == [(1.0, 9.0, 0)]


def test_closes_come_by_end_then_interval_then_symbol() -> None:
    run = run_whole(
        configuration(),
        log(
            trade("BBB", 1, 1, at(0.5)),
            trade("AAA", 1, 1, at(0.5)),
            trade("AAA", 1, 1, at(9.5)),
            trade("AAA", 1, 1, at(100.0)),
        ),
    )
    # START is 20 s into a minute, so the minute's window began 20 s before.
    assert published(run, "interval", "symbol", "start") == [
        ("1s", "AAA", 0.0),
        ("1s", "BBB", 0.0),
        ("1s", "AAA", 9.0),
        ("10s", "AAA", 0.0),
        ("10s", "BBB", 0.0),
        ("1m", "AAA", -20.0),
        ("1m", "BBB", -20.0),
    ]


def test_an_id_is_a_duplicate_until_it_is_forgotten() -> None:
    config = configuration(correction_horizon=30 * SECOND, **ONE_SECOND)
    again = trade("AAA", 1, 1, at(0.5), trade_id="7", venue="X")
    run = run_whole(
        config,
        log(
            again,
            again,
            trade("AAA", 1, 1, at(0.5), trade_id="7", venue="Y"),
            trade("AAA", 1, 1, at(200.0)),
            trade("AAA", 1, 1, at(200.0), trade_id="7", venue="X"),
        ),
    )
    assert run.state.counts["duplicate"] == 1
    assert run.state.counts["applied"] == 4


def test_a_clock_record_closes_an_idle_window_and_a_flush_everything() -> None:
    clock = b'{"type":"clock","event_time":%d}' % at(2.0)
    run = run_whole(configuration(), log(trade("AAA", 1, 1, at(0.5)), clock, FLUSH))
    assert published(run, "interval", "start") == [("1s", 0.0), ("10s", 0.0), ("1m", -20.0)]
    assert run.state.counts["control"] == 2


def test_a_trade_after_a_flush_revises_the_window_that_it_closed() -> None:
    run = run_whole(
        configuration(**ONE_SECOND),
        log(trade("AAA", 1, 1, at(0.5)), FLUSH, trade("AAA", 2, 1, at(0.6)), FLUSH),
    )
    assert published(run, "close", "revision") == [(1.0, 0), (2.0, 1)]
    assert run.state.counts["revised"] == 1


def test_a_far_record_moves_the_clock_only_to_its_append_time_and_a_second() -> None:
    config = configuration(max_ahead=60 * SECOND, clock_ahead=SECOND, **ONE_SECOND)
    run = run_whole(
        config,
        [(trade("AAA", 1, 1, at(0.5)), at(0.5)), (trade("AAA", 1, 1, at(30.0)), at(0.6))],
    )
    assert run.state.maximum == at(1.6)


def test_fill_forward_publishes_flagged_bars_up_to_its_limit() -> None:
    config = configuration(fill_forward=True, fill_forward_limit=2, **ONE_SECOND)
    run = run_whole(
        config,
        log(
            trade("AAA", 5, 1, at(0.5)),
            trade("AAA", 6, 1, at(10.0)),
            trade("AAA", 7, 1, at(1.5)),
        ),
    )
    assert published(run, "start", "close", "volume", "filled", "revision") == [
        (0.0, 5.0, 1.0, False, 0),
        (1.0, 5.0, 0.0, True, 0),
        (2.0, 5.0, 0.0, True, 0),
        (1.0, 7.0, 1.0, False, 1),
    ]


def test_a_policy_ignores_what_it_uses_neither_for_price_nor_for_volume() -> None:
    run = run_whole(
        configuration(policy=policy_of("sip"), **ONE_SECOND),
        log(
            trade("AAA", 9, 5, at(0.1), conditions=["odd_lot"]),
            trade("AAA", 1, 1, at(0.2), conditions=["regular"]),
            trade("AAA", 7, 7, at(0.3), conditions=["market_center_official_open"]),
            FLUSH,
        ),
    )
    assert published(run, "open", "high", "volume", "trades") == [(1.0, 1.0, 6.0, 2)]
    assert run.state.counts["ignored"] == 1


def test_sources_of_a_bar_are_sorted_names() -> None:
    run = run_whole(
        configuration(**ONE_SECOND),
        log(
            trade("AAA", 1, 1, at(0.1), source="zeta"),
            trade("AAA", 1, 1, at(0.2), source="alpha"),
            trade("AAA", 1, 1, at(0.3)),
            FLUSH,
        ),
    )
    assert published(run, "sources") == [(["alpha", "zeta"],)]
