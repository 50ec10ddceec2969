"""What `tests.bench.latency` and `tests.bench.scale` compute: schedules, percentiles, growth."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from aiokafka.errors import KafkaTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from app.contracts.wire import TradeRecord
from app.observe.latency import Runs
from app.setting_groups import BarSettings
from tables.partitioning import partition_of
from tests.bench import latency_load, latency_readers, latency_worker
from tests.bench.latency_figures import (
    MILLISECOND,
    NEVER,
    SECOND,
    Load,
    Sightings,
    begin_within,
    closing,
    covered,
    figures,
    first_holding,
    make_load,
    published,
    run_bounds,
    window_counts,
)
from tests.bench.latency_results import as_text, evaluate
from tests.bench.scale_state import trade
from tests.bench.scale_tables import growth, verdict
from tests.bench.ticks import chunks

BARS = BarSettings(intervals="1s,10s")  # type: ignore[arg-type]
BEGIN = 1_700_000_000 * SECOND


def ns(*values: int) -> Any:
    """A column."""
    return np.array(values, dtype=np.int64)


def test_a_schedule_is_the_same_each_time_and_has_its_rate() -> None:
    one, other = make_load(2_000, 5, 50, 4), make_load(2_000, 5, 50, 4)
    assert one.due.tolist() == other.due.tolist()
    assert len(one) == 10_000
    assert (np.diff(one.due) >= 0).all()
    # Of 10,000 exponential gaps the sum is within 5 % of its mean, by five standard deviations.
    assert one.due[-1] == pytest.approx(5 * SECOND, rel=0.05)
    # A Poisson process: the gaps' deviation is their mean.
    assert np.diff(one.due).std() == pytest.approx(SECOND / 2_000, rel=0.1)


def test_a_trade_goes_to_the_partition_of_its_symbol() -> None:
    load = make_load(1_000, 1, 20, 3)
    for symbol, partition in zip(load.symbol.tolist(), load.partition.tolist(), strict=True):
        assert partition == partition_of(load.ticks.symbols[symbol].encode(), 3)


def test_a_run_that_a_windows_end_would_cut_begins_with_the_next_one() -> None:
    assert begin_within(130, 50, 100) == 130
    assert begin_within(130, 70, 100) == 200
    assert begin_within(130, 170, 100) == 130


def test_percentiles_are_latencies_that_were_measured() -> None:
    since = ns(*range(100)) * SECOND
    found = figures(since + ns(*range(1, 101)) * MILLISECOND, since)
    assert found == (50.0, 95.0, 99.0, 100.0, 100, 0)


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=300))
def test_percentiles_are_those_of_the_nearest_rank(taken: list[int]) -> None:
    found = figures(ns(*taken), ns(*[0] * len(taken)))
    ranks = [sorted(taken)[math.ceil(len(taken) * share) - 1] for share in (0.5, 0.95, 0.99)]
    assert found[:3] == tuple(each / MILLISECOND for each in ranks)


def test_what_never_came_is_counted_apart() -> None:
    found = figures(ns(5 * MILLISECOND, NEVER), ns(0, 0))
    assert (found.p50, found.came, found.missing) == (5.0, 1, 1)
    assert math.isnan(figures(ns(NEVER), ns(0)).worst)


def test_a_stall_of_the_load_counts_for_each_trade_that_was_due_in_it() -> None:
    due = ns(*range(1_000)) * MILLISECOND
    # The load stands still for 100 ms and sends the rest at once; each takes 1 ms from then on.
    stalled = (due >= 300 * MILLISECOND) & (due < 400 * MILLISECOND)
    sent = np.where(stalled, 400 * MILLISECOND, due)
    seen = sent + MILLISECOND
    assert figures(seen, sent).worst == 1.0
    assert figures(seen, due).p99 == 91.0
    assert figures(seen, due).worst == 101.0


def test_an_offset_has_the_time_of_the_first_batch_that_holds_it() -> None:
    found = covered(ns(0, 2, 1), ns(2, 4, 5), ns(10, 20, 30), 6)
    assert found.tolist() == [10, 10, 20, 20, 30, NEVER]


def test_the_nth_trade_is_published_by_the_first_bar_with_n_trades() -> None:
    assert first_holding(ns(2, 2, 5), ns(10, 20, 30), 6).tolist() == [10, 10, 30, 30, 30, NEVER]
    assert first_holding(ns(), ns(), 2).tolist() == [NEVER, NEVER]


def test_trades_are_found_in_the_bars_of_their_own_symbol_and_window() -> None:
    symbol, window = ns(7, 8, 7, 7), ns(1, 1, 1, 2)
    seen = {(7, 1): Sightings(ns(10, 20), ns(1, 2)), (8, 1): Sightings(ns(15), ns(1))}
    assert published(symbol, window, seen).tolist() == [10, 15, 20, NEVER]
    assert window_counts(symbol, window) == {(7, 1): 2, (7, 2): 1, (8, 1): 1}


def test_a_bar_is_closed_by_the_first_trade_that_is_the_grace_behind_its_end() -> None:
    times = ns(0, 500, 1_999, 2_000, 2_500)
    assert closing(ns(1_000, 1_400, 9_000), times, 1_000).tolist() == [3, 4, 5]


def test_runs_of_append_times_lie_where_their_batches_do() -> None:
    first, end = run_bounds(ns(10, 40), ns(15, 42), ns(2, 1), ns(3, 2, 2))
    assert (first.tolist(), end.tolist()) == ([10, 13, 40], [13, 15, 42])
    with pytest.raises(ValueError, match="5 offsets, 4 records"):
        run_bounds(ns(10), ns(15), ns(1), ns(4))


def test_a_sent_trade_is_the_benchs_but_for_time_sequence_and_id() -> None:
    load = make_load(100, 1, 5, 2)
    parts = latency_load.split_values(load.ticks)
    (originals,) = next(iter(chunks(load.ticks, 1, 100)))
    for number, original in enumerate(originals):
        known = msgspec.json.decode(original, type=TradeRecord)
        sent = msgspec.json.decode(
            latency_load.value_of(parts[number], BEGIN, number), type=TradeRecord
        )
        assert sent == msgspec.structs.replace(
            known,
            event_time=BEGIN,
            sequence=number,
            trade_id=str(latency_load.FIRST_ID + number),
        )


def test_what_the_worker_noted_is_read_as_it_was(tmp_path: Path) -> None:
    notes = [(7, 1, 10, 15), (9, 0, 40, 42)]
    runs = [Runs(ns(1, 2), ns(3, 2)), Runs(ns(4), ns(2))]
    latency_worker.write(tmp_path / "some.npz", notes, runs)
    with np.load(tmp_path / "some.npz") as file:
        assert file["time"].tolist() == [7, 9]
        bounds = run_bounds(file["begin"], file["end"], file["runs"], file["run_count"])
        assert [each.tolist() for each in bounds] == [[10, 13, 40], [13, 15, 42]]
        assert file["run_time"].tolist() == [1, 2, 4]
    latency_worker.write(tmp_path / "none.npz", [], [])
    with np.load(tmp_path / "none.npz") as file:
        assert {name: len(file[name]) for name in file.files} == dict.fromkeys(file.files, 0)


class Batch:
    """An aiokafka batch."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.is_built = False

    def append(self, *, key: bytes | None, value: bytes, timestamp: int) -> object:
        """Take a record."""
        assert key is None
        assert not self.is_built
        self.values.append(value)
        return timestamp

    def _build(self) -> None:
        self.is_built = True


class Broker:
    """A producer whose broker refuses the third batch."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int, Batch]] = []

    def create_batch(self) -> Batch:
        """Return an empty one."""
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> Awaitable[Any]:
        """Take a batch that is encoded already."""
        assert topic == "ticks"
        assert batch.is_built
        self.sent.append((time.time_ns(), partition, batch))
        answer = asyncio.get_running_loop().create_future()
        if len(self.sent) == 3:
            answer.set_exception(KafkaTimeoutError())
        else:
            answer.set_result(None)
        return answer


async def test_the_load_sends_every_trade_once_in_order_at_the_end_of_its_slot() -> None:
    load, producer, linger = make_load(5_000, 0.05, 5, 2), Broker(), 5 * MILLISECOND
    begin = time.time_ns()
    parcels = latency_load.encode(producer, load, begin, linger)
    assert {len(each) for each in parcels} <= {9, 10, 11}
    begun = time.time_ns()
    late, left = await latency_load.send(producer, "ticks", parcels, begin, len(load))
    for partition in range(2):
        mine = [each for each in producer.sent if each[1] == partition]
        records = [
            (moment, msgspec.json.decode(value, type=TradeRecord))
            for moment, _, batch in mine
            for value in batch.values
        ]
        places = np.flatnonzero(load.partition == partition)
        assert [record.event_time for _, record in records] == (begin + load.due[places]).tolist()
        assert [record.sequence for _, record in records] == (places + 1).tolist()
        for moment, record in records:
            end = ((record.event_time - begin) // linger + 1) * linger
            assert moment >= begin + end - MILLISECOND
        # Late by what passed since its slot's end; encoding took longer than the first slots.
        slot = (load.due[places] // linger + 1) * linger
        assert (late[places] >= np.maximum(0, begun - begin - slot)).all()
    assert left == len(producer.sent[2][2].values)


def test_a_slot_that_is_too_large_for_a_batch_is_told() -> None:
    class Full(Batch):
        def append(self, *, key: bytes | None, value: bytes, timestamp: int) -> object:
            return None

    class Small(Broker):
        def create_batch(self) -> Batch:
            return Full()

    with pytest.raises(ValueError, match="trades of a slot are more than"):
        latency_load.encode(Small(), make_load(5_000, 0.01, 5, 2), BEGIN, 5 * MILLISECOND)


def noted_run(folder: Path, load: Load) -> None:
    """Files as the processes of a run leave them.

    Each trade is sent when it is due, appended 1 ms later, with a bare consumer 2 ms, in memory
    3 ms and in a forming bar 4 ms later; bars are readable 5 ms after the trade that closes them.
    """
    for name in ("load", "worker", "readers"):
        (folder / name).mkdir()
    due = BEGIN + load.due
    at_once = np.zeros(len(load), dtype=np.int64)
    np.savez(folder / "load" / latency_load.FILE, begin=BEGIN, late=at_once, left=0)
    places = [np.flatnonzero(load.partition == each) for each in range(2)]
    order = np.concatenate(places)
    offsets = np.concatenate([np.arange(len(each)) for each in places])
    single = np.ones(len(load), dtype=np.int64)
    np.savez(
        folder / "worker" / latency_worker.FILE,
        time=due[order] + 3 * MILLISECOND,
        partition=load.partition[order], begin=offsets, end=offsets + 1,
        runs=single, run_time=due[order] + MILLISECOND, run_count=single,
    )  # fmt: skip
    begins = np.arange(len(places[0]))
    np.savez(
        folder / "readers" / latency_readers.FLOOR_FILE,
        time=due[places[0]] + 2 * MILLISECOND, begin=begins, end=begins + 1,
    )  # fmt: skip
    names = np.array(load.ticks.symbols)
    before: dict[int, int] = {}
    trades = []
    for symbol in load.symbol.tolist():
        before[symbol] = before.get(symbol, 0) + 1
        trades.append(before[symbol])
    np.savez(
        folder / "readers" / latency_readers.FORMING_FILE,
        time=due + 4 * MILLISECOND, symbol=names[load.symbol], trades=ns(*trades),
        start=due // (10 * SECOND) * (10 * SECOND),
    )  # fmt: skip
    closed = []
    for (symbol, window), count in window_counts(load.symbol, due // SECOND).items():
        mine = due[places[partition_of(load.ticks.symbols[symbol].encode(), 2)]]
        cause = int(closing(ns((window + 1) * SECOND), mine, BARS.grace)[0])
        if cause < len(mine):
            closed.append((int(mine[cause]) + 5 * MILLISECOND, symbol, window * SECOND, count))
    moments, symbols, starts, counts = (ns(*each) for each in zip(*closed, strict=True))
    np.savez(
        folder / "readers" / latency_readers.CLOSED_FILE,
        time=moments, symbol=names[symbols], start=starts, trades=counts,
        interval=np.array(["1s"] * len(closed)), revision=counts * 0,
    )  # fmt: skip


def test_a_runs_figures_are_told_from_due_time_and_from_append(tmp_path: Path) -> None:
    load = make_load(1_000, 4, 8, 2)
    noted_run(tmp_path, load)
    result = evaluate(tmp_path, load, 10_000, 1.0, BARS, {"worker": 0.25})
    assert result.faults == []
    assert result.trades == int((load.due >= SECOND).sum())
    worst = {name: each.worst for name, each in result.due.items()}
    assert worst == {
        "late": 0.0, "append": 1.0, "floor": 2.0, "row": 3.0, "forming": 4.0, "closed": 5.0,
    }  # fmt: skip
    assert {name: each.p50 for name, each in result.appended.items()} == {
        "floor": 1.0, "row": 2.0, "forming": 3.0, "closed": 4.0,
    }  # fmt: skip
    assert [each.missing for each in result.due.values()] == [0] * 6
    # Bars that the warm-up has closed do not count: of some four seconds, those of one or two do.
    assert 0 < result.due["closed"].came < 4 * 8
    text = "\n".join(as_text(result))
    assert "10: met" in text
    assert "NOT met" not in text
    assert "the load itself was late" not in text


def test_a_load_that_lags_behind_its_schedule_is_told(tmp_path: Path) -> None:
    load = make_load(1_000, 4, 8, 2)
    noted_run(tmp_path, load)
    behind = np.full(len(load), 5 * MILLISECOND)
    np.savez(tmp_path / "load" / latency_load.FILE, begin=BEGIN, late=behind, left=3)
    result = evaluate(tmp_path, load, 10_000, 1.0, BARS, {})
    assert "the load itself was late, P95 5.0 ms" in "\n".join(as_text(result))
    assert result.faults == ["3 trades were not acknowledged"]


def test_a_bar_with_another_number_of_trades_is_a_fault(tmp_path: Path) -> None:
    load = make_load(1_000, 4, 8, 2)
    noted_run(tmp_path, load)
    path = tmp_path / "readers" / latency_readers.CLOSED_FILE
    with np.load(path) as file:
        columns = {name: file[name] for name in file.files}
    columns["trades"][0] += 1
    # One bar is not there, and one is twice.
    keep = [0, *range(2, len(columns["trades"])), 3]
    np.savez(path, **{name: each[keep] for name, each in columns.items()})
    result = evaluate(tmp_path, load, 1_000, 1.0, BARS, {})
    assert len(result.faults) == 3
    assert "published twice" in "\n".join(result.faults)
    assert "None trades, expected" in "\n".join(result.faults)
    assert result.goal("row") is None
    assert result.as_json()["milliseconds_from_due"]["row"]["p95"] == 3.0


def test_growth_is_the_power_of_the_size() -> None:
    assert growth([1, 10, 100], [5, 50, 5_000]) == pytest.approx([1.0, 2.0])
    assert growth([8, 500], [3, 3]) == [0.0]
    assert verdict(1.5, 1.5) == "at most 1.5 asked for: met"
    assert verdict(1.51, 1.5) == "at most 1.5 asked for: NOT met"


@pytest.mark.parametrize("identified", [False, True])
def test_the_trades_of_the_memory_bench_have_all_fields_but_for_an_id(identified: bool) -> None:
    sent = msgspec.json.decode(trade(7, BEGIN, 12, identified=identified), type=TradeRecord)
    assert (sent.trade_id is not None) is identified
    assert (sent.symbol, sent.event_time, sent.sequence) == ("S000007", BEGIN, 12)
    assert sent.venue is not None
    assert sent.source is not None
    assert sent.conditions
