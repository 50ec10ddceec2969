"""The simulated accounts: the same seed gives the same records, which the portfolio stage takes."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.portfolio import PortfolioUpdateRecord, TransactionRecord
from app.feeds.columns import Vocabulary
from app.feeds.corrupt import Corruption, Limits
from app.feeds.mangle import Delays
from app.feeds.market import BLOCK, SECOND, Market, MarketOptions
from app.feeds.partitioning import partition_of
from app.feeds.transactions import AccountRecord, TransactionOptions, Transactions
from app.feeds.transactions_sending import CORRUPTIONS, AccountCorrupter, TransactionStream
from tables.portfolio.configuration import PortfolioConfiguration
from tables.portfolio.intake import BadRecordError, decode
from tables.portfolio.partition import Outcome, PortfolioPartition
from tables.portfolio.remembered import name_of

START = 1_700_000_000 * SECOND
PARTITIONS = 3
Sent = list[tuple[int, bytes | None]]


class Topic:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.partitions = PARTITIONS
        self.records: Sent = []

    async def send(self, partition: int, records: list[tuple[bytes | None, bytes | None]]) -> None:
        for key, value in records:
            assert key is not None
            assert partition == partition_of(key.decode(), PARTITIONS)
            self.records.append((partition, value))


def blocks(options: TransactionOptions, seconds: float) -> list[list[AccountRecord]]:
    """The accounts' records of each block of a market."""
    vocabulary = Vocabulary()
    market = Market(MarketOptions(rate=400.0, seed=options.seed), START, vocabulary)
    accounts = Transactions(options, START, vocabulary)
    found = []
    for _ in range(int(seconds * SECOND / BLOCK)):
        trades, _quotes = market.block()
        found.append(accounts.block(trades, market.time))
    return found


async def sent(
    seconds: float, delays: Delays, duplicates: float = 0.0, corrupt: float = 0.0
) -> tuple[Sent, TransactionStream]:
    """What a stream sends of so many seconds."""
    vocabulary, topic = Vocabulary(), Topic()
    market = Market(MarketOptions(rate=400.0, seed=5), START, vocabulary)
    options = TransactionOptions(update_every=0.5, share=0.2, seed=5)
    accounts = Transactions(options, START, vocabulary)
    stream = TransactionStream(topic, accounts, delays, duplicates, corrupt)
    for _ in range(int(seconds * SECOND / BLOCK)):
        trades, _quotes = market.block()
        await stream.send(trades, market.time)
    await stream.finish()
    return topic.records, stream


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), accounts=st.integers(1, 200))
def test_the_same_seed_gives_the_same_records_in_the_time_of_their_blocks(
    seed: int, accounts: int
) -> None:
    options = TransactionOptions(accounts, update_every=0.2, seed=seed)
    first = blocks(options, 2)
    assert first == blocks(options, 2)
    for number, block in enumerate(first):
        times = [record.event_time for record in block]
        assert times == sorted(times)
        assert all(START + number * BLOCK <= time < START + (number + 1) * BLOCK for time in times)


def test_another_seed_gives_others() -> None:
    assert blocks(TransactionOptions(seed=1), 2) != blocks(TransactionOptions(seed=2), 2)


def test_every_record_is_within_the_contract_and_every_account_begins_with_a_deposit() -> None:
    found = [
        record for block in blocks(TransactionOptions(update_every=0.1), 20) for record in block
    ]
    records = [decode(record.value) for record in found]
    kinds: Counter[str] = Counter()
    firsts: dict[str, str] = {}
    identifiers: set[str] = set()
    for record in records:
        assert isinstance(record, TransactionRecord | PortfolioUpdateRecord)
        kind = record.side if isinstance(record, TransactionRecord) else record.action
        firsts.setdefault(record.account, kind)
        kinds[kind] += 1
        identifiers.add(name_of(record))
    assert set(firsts.values()) == {"deposit"}
    assert len(firsts) == 10
    assert set(kinds) == {"buy", "sell", "deposit", "withdraw", "dividend", "fee", "set_limit"}
    assert len(identifiers) == len(records)


async def test_disorder_and_repeats_change_the_order_and_nothing_else() -> None:
    plain, _ = await sent(10, Delays())
    mixed, stream = await sent(10, Delays(disorder=2 * SECOND, seed=5), duplicates=0.1)
    assert set(mixed) == set(plain)
    assert [value for value in mixed if value in set(plain)] != plain
    assert len(plain) < len(mixed) == stream.records
    again, _ = await sent(10, Delays(disorder=2 * SECOND, seed=5), duplicates=0.1)
    assert again == mixed


async def test_the_stage_takes_the_good_and_turns_away_the_bad() -> None:
    plain, _ = await sent(20, Delays())
    records, stream = await sent(20, Delays(disorder=SECOND, seed=5), 0.05, 0.1)
    assert stream.corrupt > 20
    results = []
    for log in (plain, records):
        values: list[object] = []
        for partition in range(PARTITIONS):
            stage = PortfolioPartition(
                PortfolioConfiguration({"transactions": 1}, PARTITIONS), partition
            )
            for offset, (where, value) in enumerate(log):
                if where == partition:
                    _take(stage, value, offset)
            mark = b'{"type":"progress","input":"transactions","partition":0,"watermark":%d,%b}'
            stage.take(decode(mark % (START, b'"idle":true')), len(log), START + 60 * SECOND)
            values += stage.outputs
        results.append(values)
    assert len(results[0]) > 100
    assert results[0] == results[1]


def _take(stage: PortfolioPartition, value: bytes | None, offset: int) -> Outcome | None:
    try:
        record = decode(value)
    except BadRecordError:
        return None
    return stage.take(record, offset, START + 60 * SECOND)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
def test_every_kind_of_bad_record_is_turned_away_with_its_reason(corruption: Corruption) -> None:
    good = TransactionRecord("ACC-01", "SIM-01", "buy", 5.0, 10.0, START, "T-1")
    fields = {key: value for key, value in msgspec.to_builtins(good).items() if value is not None}
    partition = partition_of("ACC-01", PARTITIONS)
    stage = PortfolioPartition(PortfolioConfiguration({"transactions": 1}, PARTITIONS), partition)
    assert stage.take(decode(msgspec.json.encode(fields)), 0, START + SECOND) == Outcome("applied")
    for value in corruption.make(msgspec.json.encode(fields), Limits(1 << 20, PARTITIONS)):
        try:
            reason = stage.take(decode(value), 1, START + SECOND).reason
        except BadRecordError as error:
            reason = error.reason
        assert reason == corruption.reason
    assert len(stage.held) == 1


def test_bad_records_are_a_share_by_a_seed() -> None:
    value = b'{"type":"transaction","account":"A","price":1,"fee":0}'
    made = [AccountCorrupter(0.2, Limits(1 << 20, 1), 3) for _ in range(2)]
    one, other = ([each.after(value) for _ in range(1_000)] for each in made)
    assert one == other
    assert 130 < sum(map(bool, one)) < 270
    assert all(AccountCorrupter(1.0, Limits(1, 1), 1).after(b"{}") == () for _ in range(5))


@pytest.mark.parametrize(
    "changes",
    [{"accounts": 0}, {"share": 1.5}, {"update_every": 0}, {"deposit": -1.0}],
)
def test_options_that_cannot_be_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        TransactionOptions(**changes)  # type: ignore[arg-type]
