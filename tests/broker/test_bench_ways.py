"""The bench's own ways: each reads all that was written, and ours makes the bars of the trades."""

from __future__ import annotations

import pytest

from app.broker import EmbeddedBroker
from tests.bench import ways
from tests.bench.inputs import Input, Plan
from tests.bench.stages import REST, SOCKETS, UNPACK
from tests.bench.ticks import FOUR, FULL

pytestmark = [pytest.mark.broker, pytest.mark.slow]

TRADES = 20_000
PARTITIONS = 4
#: And what a replay writes before and after, in each partition.
RECORDS = TRADES + 2 * PARTITIONS


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers write nothing beside their topics."""
    monkeypatch.setenv("CANDLEWICK_SINKS__DRIVERS", "none")


def prepared(
    kafka: EmbeddedBroker,
    factory: pytest.TempPathFactory,
    record: str,
    count: int = TRADES,
    fetch_bytes: int = 1024 * 1024,
) -> Input:
    plan = Plan(
        kafka.url, factory.mktemp("bench"), count, record, PARTITIONS, 0, fetch_bytes=fetch_bytes
    )
    trades = Input(plan, 20, ())
    trades.prepare()
    return trades


@pytest.fixture(scope="module")
def trades(kafka: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Input:
    """What all of these read."""
    return prepared(kafka, tmp_path_factory, FULL)


@pytest.mark.parametrize("way", ["bare", "slim", "confluent"])
def test_a_bare_client_reads_every_record(trades: Input, way: str) -> None:
    measured = trades.measure(way, 1)
    assert measured.records == RECORDS
    assert measured.rate > 0
    assert measured.memory > 0


def test_two_workers_make_the_bars_of_the_trades(trades: Input) -> None:
    measured = trades.measure("ours2", 1)
    assert measured.records == RECORDS
    assert measured.cpu > 0


def test_four_fields_make_bars_of_a_second(
    kafka: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    four = prepared(kafka, tmp_path_factory, FOUR)
    assert four.measure("ours", 1).records == RECORDS
    assert {interval for _, interval, _ in four.expected} == {"1s"}


def test_a_bar_that_is_not_that_of_the_trades_is_found(trades: Input) -> None:
    assert trades.measure("ours", 1).records == RECORDS
    settings = trades.settings(deployment="bench-1-1")
    key, bar = next(iter(trades.expected.items()))
    with pytest.raises(ways.WrongBarsError, match="close is"):
        ways.check(settings, {**trades.expected, key: {**bar, "close": bar["close"] + 1}})
    symbol, interval, start = key
    with pytest.raises(ways.WrongBarsError, match="missing"):
        ways.check(settings, {**trades.expected, (symbol, interval, start + 10**15): bar})


def test_the_stages_are_what_the_process_has_spent(
    kafka: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Of one fetch alone all is unpacked before the first batch, from which on is counted.
    many = prepared(kafka, tmp_path_factory, FULL, count=4 * TRADES, fetch_bytes=64 * 1024)
    costs = many.stage_costs()
    decoding = "decode: JSON to columns"
    stages = {UNPACK, SOCKETS, REST, decoding, "group and merge", "publish: batches"}
    assert stages <= costs.keys()
    assert all(costs[stage] > 0 for stage in stages)
