"""Transactions and portfolio as stages: any split and restart gives the same; the bad is dead."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch
from app.contracts.outputs import OutputRecord, RoutedRecord
from app.contracts.portfolio import (
    PortfolioUpdateRecord,
    ProgressRecord,
    TransactionRecord,
    portfolio_decoder,
)
from app.contracts.reasons import REASONS
from tables.derived import DerivedConfiguration, DerivedPartition, load
from tables.partitioning import partition_of
from tables.portfolio.arriving import STATE_PREFIX, ArrivalTimes, TransactionsPartition
from tables.portfolio.book import Refused
from tables.portfolio.configuration import PortfolioConfiguration
from tables.portfolio.intake import BadRecordError, decode
from tables.portfolio.partition import PortfolioPartition
from tables.portfolio.stage import OUTPUTS, ROW_PREFIX, AccountsPartition, row_bytes
from tables.rows import MARKER_KEY, Marker, decode_marker
from tests.oracle.portfolio_log import interleaved, streams
from tests.unit.portfolio_stage import BASE, DAY, MINUTE, SECOND
from tests.unit.test_portfolio_stage import configuration as rules

#: Of the input; the account below is of partition 1.
PARTITIONS = 2
HERE = 1
ACCOUNT = next(name for name in "abcdefgh" if partition_of(name.encode(), PARTITIONS) == HERE)
ELSEWHERE = next(name for name in "abcdefgh" if partition_of(name.encode(), PARTITIONS) != HERE)
DERIVED = DerivedConfiguration(PARTITIONS, "hash", 10_000, 100)
TIMES = ArrivalTimes(
    earliest=1, max_ahead=10 * SECOND, clock_ahead=SECOND, grace=2 * SECOND, mark_interval=SECOND
)
#: A minute after all that happens.
APPENDED = BASE + 10 * MINUTE
Value = bytes | None
Placed = tuple[Value, int]
Make = Callable[[], DerivedPartition]


def arriving() -> TransactionsPartition:
    return TransactionsPartition(DERIVED, HERE, TIMES)


def trade(second: float, number: int = 0, **changes: Any) -> bytes:
    """A transaction of the account, `second` after `BASE`."""
    fields: dict[str, Any] = {
        "type": "transaction",
        "account": ACCOUNT,
        "symbol": "AAA",
        "side": "buy",
        "quantity": 1.0,
        "price": 10.0,
        "event_time": BASE + int(second * SECOND),
        "transaction_id": f"t{number}",
    }
    return msgspec.json.encode(fields | changes)


def deposit(second: float, number: int = 0) -> bytes:
    update = PortfolioUpdateRecord(
        account=ACCOUNT,
        action="deposit",
        event_time=BASE + int(second * SECOND),
        update_id=f"u{number}",
        amount=5.0,
    )
    return msgspec.json.encode(update)


def clock(second: float) -> bytes:
    return b'{"type":"clock","event_time":%d}' % (BASE + int(second * SECOND))


HISTORICAL, FLUSH = b'{"type":"historical"}', b'{"type":"flush"}'
BAD: list[tuple[Value, str]] = [
    (None, "null"),
    (b"", "empty"),
    (b"{}", "malformed"),
    (b"[" * 5_000, "malformed"),
    (b" " * 10_001, "too_large"),
    (trade(1).replace(b"10.0", b"NaN"), "malformed"),
    (trade(1).replace(b'"AAA"', b'"\xff"'), "malformed"),
    (trade(1, colour="red"), "malformed"),
    (trade(1, account="a\x00b"), "malformed"),
    (msgspec.json.encode(ProgressRecord("transactions", HERE, BASE)), "malformed"),
    (deposit(1).replace(b"5.0", b"-5.0"), "malformed"),
    (trade(1, symbol="no good"), "bad_symbol"),
    (trade(1, price=1e12, quantity=1e12), "notional_too_large"),
    (trade(1, account=ELSEWHERE), "wrong_partition"),
    (trade(1, event_time=0), "event_time_too_early"),
    (trade(660), "event_time_too_late"),
    (clock(660), "event_time_too_late"),
]


def batch(records: Sequence[Placed], base: int) -> RecordBatch:
    offsets = np.arange(base, base + len(records), dtype=np.int64)
    times = np.array([time for _, time in records], dtype=np.int64)
    values = [value for value, _ in records]
    return RecordBatch("log", HERE, base, base + len(records), values, offsets, times)


@dataclass
class Run:
    """What a partition has published and stored."""

    outputs: dict[str, list[OutputRecord | RoutedRecord]] = field(default_factory=dict)
    store: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def marker(self) -> Marker:
        return decode_marker(self.store[MARKER_KEY])

    def values(self, output: str) -> list[Value]:
        return [each.value for each in self.outputs.get(output, [])]


def run(
    make: Make, records: Sequence[Placed], cuts: Sequence[int] = (), restart: bool = False
) -> Run:
    """Take a log in the parts that the cuts make; with a checkpoint, or a restart, after each."""
    done = Run()
    state: DerivedPartition | None = None
    for begin, end in pairwise([0, *sorted(cuts), len(records)]):
        if state is None or restart:
            rows = [(key, row) for key, row in sorted(done.store.items()) if key != MARKER_KEY]
            state = load(make(), "id", done.store.get, rows)
            if state.next is None:
                state.begin(0)
        state.apply(batch(records[begin:end], begin))
        taken = state.take("id")
        for output, found in taken.outputs.items():
            done.outputs.setdefault(output, []).extend(found)
        for key, row in taken.rows:
            if row is None:
                done.store.pop(key, None)
            else:
                done.store[key] = row
        state.stored()
        assert state.pending_outputs == state.pending_bytes == 0
    return done


def check_same(make: Make, records: Sequence[Placed], rng: random.Random) -> Run:
    """The same outputs and rows, byte for byte, however the log is cut; those of one pass."""
    whole = run(make, records)
    some = [rng.randrange(len(records) + 1) for _ in range(rng.randrange(1, 8))]
    for cuts, restart in ((some, True), (some, False), (list(range(1, len(records))), True)):
        parts = run(make, records, cuts, restart)
        assert parts.outputs == whole.outputs
        assert parts.store == whole.store
    assert sum(whole.marker.counts.values()) == whole.marker.next == len(records)
    return whole


# --- transactions --------------------------------------------------------------------------

arrivals = st.lists(
    st.one_of(
        st.builds(trade, st.integers(0, 500), st.integers(0, 99)),
        st.builds(deposit, st.integers(0, 500), st.integers(0, 99)),
        st.builds(clock, st.integers(0, 500)),
        st.sampled_from([HISTORICAL, FLUSH]),
        st.sampled_from([value for value, _ in BAD]),
    ),
    min_size=1,
    max_size=60,
)


@given(values=arrivals, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_any_cut_and_restart_sends_the_same_records_and_marks(
    values: list[Value], seed: int
) -> None:
    done = check_same(arriving, [(value, APPENDED) for value in values], random.Random(seed))
    reached, told = 0, -1
    taken = iter([value for value in values if value and b'"account"' in value])
    passed: list[Value] = []
    for value in done.values("portfolio"):
        record = decode(value)
        if isinstance(record, ProgressRecord):
            # A clock may move the time, nothing else but a record does; and no mark goes back.
            times = [reached, *(msgspec.json.decode(v)["event_time"] for v in clocks_of(values))]
            assert told <= record.watermark <= max(0, *(t - TIMES.grace for t in times))
            told = record.watermark
            continue
        assert isinstance(record, TransactionRecord | PortfolioUpdateRecord)
        assert record.partition == HERE
        original = msgspec.structs.replace(record, partition=None)
        assert any(_same(each, original) for each in taken)
        passed.append(value)
        reached = max(reached, record.event_time)
    assert len(passed) == done.marker.counts["applied"]


def clocks_of(values: Sequence[Value]) -> list[bytes]:
    return [value for value in values if value and b'"clock"' in value]


def _same(value: bytes, record: Any) -> bool:
    try:
        return bool(decode(value) == record)
    except BadRecordError:
        return False


@pytest.mark.parametrize(("value", "reason"), BAD)
def test_what_is_bad_is_dead_with_its_reason_and_moves_no_mark(value: Value, reason: str) -> None:
    good = [(trade(1), APPENDED), (trade(9), APPENDED)]
    whole = run(arriving, [good[0], (value, APPENDED), good[1]])
    assert whole.values("portfolio") == run(arriving, good).values("portfolio")
    (letter,) = whole.outputs["dead"]
    assert letter.value == value
    assert dict(letter.headers)["reason"] == reason.encode()
    assert reason in REASONS


def progress(done: Run) -> list[ProgressRecord]:
    records = [portfolio_decoder.decode(value or b"") for value in done.values("portfolio")]
    return [each for each in records if isinstance(each, ProgressRecord)]


def test_marks_are_the_grace_behind_and_told_once_an_interval() -> None:
    values = [trade(second / 10, second) for second in range(100, 160)]
    told = progress(run(arriving, [(value, APPENDED) for value in values]))
    assert [(each.watermark - BASE) / SECOND for each in told] == [
        *(8.0, 8.1, 9.1, 10.1, 11.1, 12.1, 13.1),
    ]
    assert {(each.input, each.partition, each.idle) for each in told} == {
        ("transactions", HERE, False)
    }


def test_a_record_ahead_moves_the_time_no_further_than_clocks_may_be_ahead() -> None:
    told = progress(run(arriving, [(trade(609), APPENDED)]))
    assert [each.watermark for each in told] == [APPENDED + SECOND - 2 * SECOND]


def test_a_quiet_partition_asks_for_one_clock_and_is_idle_until_its_next_record() -> None:
    state = arriving()
    state.begin(0)
    assert state.clock_due(DAY) is None
    state.apply(batch([(trade(10), APPENDED)], 0))
    assert state.clock_due(2 * SECOND) is None
    assert state.clock_due(3 * SECOND) == BASE + 13 * SECOND
    state.apply(batch([(clock(13), APPENDED)], 1))
    assert state.clock_due(DAY) is None
    state.apply(batch([(trade(14, 1), APPENDED)], 2))
    outputs = state.take("id").outputs["portfolio"]
    values = [portfolio_decoder.decode(each.value or b"") for each in outputs]
    assert [
        (type(each).__name__, (each.watermark - BASE) // SECOND, each.idle)
        if isinstance(each, ProgressRecord)
        else each.transaction_id
        for each in values
    ] == [
        "t0",
        ("ProgressRecord", 8, False),
        ("ProgressRecord", 11, True),
        # Waited for before the record can be left behind.
        ("ProgressRecord", 11, False),
        "t1",
        ("ProgressRecord", 12, False),
    ]
    assert state.clock_due(3 * SECOND) == BASE + 17 * SECOND


def test_a_replay_keeps_clocks_away_until_its_flush_which_makes_idle() -> None:
    state = arriving()
    state.begin(0)
    state.apply(batch([(HISTORICAL, APPENDED), (trade(10), APPENDED)], 0))
    assert state.clock_due(DAY) is None
    state.apply(batch([(FLUSH, APPENDED)], 2))
    assert state.clock_due(DAY) is None
    taken = Run({"portfolio": list(state.take("id").outputs["portfolio"])})
    told = [(each.watermark, each.idle, each.historical) for each in progress(taken)]
    assert told == [
        (0, False, True),
        (BASE + 8 * SECOND, False, True),
        (BASE + 8 * SECOND, True, False),
    ]


def test_rows_of_another_kind_or_version_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown row"):
        arriving().restore_row(b"x", b"[1]")
    with pytest.raises(ValueError, match="version 9"):
        arriving().restore_row(STATE_PREFIX, b"[9,false,0,false]")
    done = run(arriving, [(trade(1), APPENDED)])
    with pytest.raises(ValueError, match="unknown row"):
        load(accounts(), "id", done.store.get, [(b"x", b"[]")])


# --- portfolio -----------------------------------------------------------------------------


def accounts(**changes: Any) -> AccountsPartition:
    return AccountsPartition(DERIVED, 0, portfolio(**changes))


def portfolio(**changes: Any) -> PortfolioConfiguration:
    """Of the oracle's logs, with a patience that is sometimes at its end."""
    return rules("fifo", patience=30 * SECOND, **changes)


#: What the stage makes of them, at the oracle's times.
STAGED_BAD: list[tuple[Value, str]] = [
    *BAD[:5],
    (b'{"type":"flush"}', "malformed"),
    (trade(1, colour="red"), "malformed"),
    (trade(1, symbol="no good"), "bad_symbol"),
    (trade(1, event_time=0), "event_time_too_early"),
    (trade(10 * DAY // SECOND), "event_time_too_late"),
    (clock(10 * DAY // SECOND), "event_time_too_late"),
    (trade(1, currency="XTS"), "other_currency"),
    (trade(1, partition=9), "unknown_input"),
    (msgspec.json.encode(ProgressRecord("quotes", 0, BASE)), "unknown_input"),
]


@st.composite
def staged(draw: st.DrawFn) -> list[Placed]:
    """A log of the portfolio's input with clocks and bad records, appended at uneven times."""
    log = draw(interleaved(draw(streams())))
    values: list[Value] = [msgspec.json.encode(row) for row in log]
    for extra in draw(st.lists(st.sampled_from([value for value, _ in STAGED_BAD]), max_size=5)):
        values.insert(draw(st.integers(0, len(values))), extra)
    for time in draw(st.lists(st.integers(0, 700), max_size=4)):
        # The oracle begins at a time of its own.
        values.insert(draw(st.integers(0, len(values))), clock(time + 2 * DAY // SECOND))
    now = BASE + 5 * DAY
    placed: list[Placed] = []
    for value in values:
        now += draw(st.sampled_from((0, 1, 1, 5, 20, 31))) * SECOND
        placed.append((value, now))
    return placed


def pure(log: Sequence[Placed], configuration: PortfolioConfiguration) -> dict[str, list[Value]]:
    """What the pure partition says to a log, record by record; without its dead letters."""
    core = PortfolioPartition(configuration)
    found: dict[str, list[Value]] = {}
    for offset, (value, time) in enumerate(log):
        if value and value.startswith(b'{"type":"clock"'):
            core.take_clock(msgspec.json.decode(value)["event_time"], time)
        else:
            try:
                record = decode(value)
            except BadRecordError:
                continue
            if core.take(record, offset, time).name == "late":
                found.setdefault("late", []).append(value)
        for output in core.outputs:
            if not isinstance(output, Refused):
                found.setdefault(OUTPUTS[type(output)], []).append(msgspec.json.encode(output))
        core.outputs.clear()
    return found


@given(log=staged(), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_any_cut_and_restart_publishes_what_the_pure_partition_says(
    log: list[Placed], seed: int
) -> None:
    whole = check_same(accounts, log, random.Random(seed))
    wanted = pure(log, portfolio())
    for output in ("positions", "values", "limits", "late"):
        assert whole.values(output) == wanted.get(output, []), output


@pytest.mark.parametrize(("value", "reason"), STAGED_BAD)
def test_what_is_bad_is_dead_and_changes_no_account(value: Value, reason: str) -> None:
    now = BASE + DAY
    good: list[Placed] = [(trade(1), now), (msgspec.json.encode(mark("bars", 0, 60)), now)]
    good += [(msgspec.json.encode(mark(*each, 60)), now) for each in REST]
    whole = run(accounts, [good[0], (value, now), *good[1:]])
    without = run(accounts, good)
    assert whole.values("positions") == without.values("positions") != []
    (letter,) = whole.outputs["dead"]
    assert letter.value == value
    assert dict(letter.headers)["reason"] == reason.encode()
    assert reason in REASONS
    assert whole.marker.counts == without.marker.counts | {"dead": 1}


#: Input partitions of the oracle's rules, but for the first of bars.
REST = (("bars", 1), ("transactions", 0), ("transactions", 1), ("portfolio_updates", 0))


def mark(name: str, partition: int, second: float) -> ProgressRecord:
    return ProgressRecord(name, partition, BASE + int(second * SECOND))


def test_a_refused_record_is_a_letter_from_where_it_was() -> None:
    now = BASE + DAY
    cancel = PortfolioUpdateRecord(ACCOUNT, "cancel", BASE + SECOND, "u", transaction_id="none")
    log: list[Placed] = [(trade(1), now), (msgspec.json.encode(cancel), now)]
    log += [(msgspec.json.encode(mark(*each, 60)), now) for each in (("bars", 0), *REST)]
    done = run(accounts, log, [2, 4], restart=True)
    (letter,) = done.outputs["dead"]
    assert letter.value is not None
    assert decode(letter.value) == cancel
    assert dict(letter.headers) == {
        "reason": b"unknown_transaction",
        "topic": b"log",
        "partition": b"0",
        "offset": b"1",
    }
    assert done.marker.details == {"refused": 1}
    assert done.marker.counts["applied"] == 2
    assert done.marker.maximum == BASE + MINUTE
    assert "unknown_transaction" in REASONS


def test_a_record_beyond_the_horizon_is_late_with_its_place() -> None:
    now = BASE + DAY
    log: list[Placed] = [(msgspec.json.encode(mark(*each, 3600)), now) for each in REST]
    done = run(accounts, [*log, (trade(1), now)])
    (letter,) = done.outputs["late"]
    assert (letter.value, dict(letter.headers)["offset"]) == (trade(1), b"4")
    assert dict(letter.headers)["reason"] == b"beyond_horizon"
    assert done.marker.counts["late"] == 1


def test_a_limit_that_is_broken_raises_an_alert_and_ends_it_where_that_is_asked_for() -> None:
    now = BASE + DAY
    log: list[Placed] = [(trade(1, 1, quantity=50.0), now), (trade(2, 2, quantity=50.0), now)]
    log += [(trade(3, 3, quantity=90.0, side="sell"), now)]
    log += [(msgspec.json.encode(mark(*each, 60)), now) for each in (("bars", 0), *REST)]
    configuration = portfolio(limits={"max_position": 60.0})

    def raising() -> AccountsPartition:
        return AccountsPartition(DERIVED, 0, configuration, raises=True)

    done = run(raising, log)
    limits = [msgspec.json.decode(value or b"") for value in done.values("limits")]
    assert [each["state"] for each in limits] == ["breached", "cleared"]
    events = [msgspec.json.decode(each.value or b"") for each in done.outputs["alerts"]]
    assert [each["state"] for each in events] == ["firing", "resolved"]
    assert [each["event_time"] for each in events] == [each["time"] for each in limits]
    assert {each["alert_type"] for each in events} == {"portfolio.max_position"}
    assert len({each["key"] for each in events}) == 1
    quiet = run(lambda: AccountsPartition(DERIVED, 0, configuration), log)
    assert quiet.values("limits") == done.values("limits")
    assert "alerts" not in quiet.outputs


def test_no_row_is_longer_than_is_said() -> None:
    now, lots = BASE + DAY, 20
    log: list[Placed] = [
        (trade(1, number, price=1e12 / 3, quantity=number + 1 / 3), now) for number in range(lots)
    ]
    log += [(msgspec.json.encode(mark(*each, 60)), now) for each in (("bars", 0), *REST)]
    configuration = portfolio(max_lots=lots, max_positions=1)
    done = run(lambda: AccountsPartition(DERIVED, 0, configuration), log)
    rows = [row for key, row in done.store.items() if key.startswith(ROW_PREFIX)]
    assert 1_000 < max(map(len, rows)) < row_bytes(configuration)
