"""`candlewick simulate --accounts`: accounts that trade on the simulated market."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.broker import EmbeddedBroker
from app.contracts.portfolio import TransactionRecord, portfolio_decoder
from app.contracts.wire import trade_decoder
from app.run.environment import settings_environment
from app.settings import Settings
from app.topics import source_topic
from tables.partitioning import partition_of
from tests.broker.worker import worker_settings
from tests.chaos.deployment import FLUSH, HISTORICAL, read_topic
from tests.command import candlewick

pytestmark = pytest.mark.broker

HISTORY = ("--start", "2023-11-14T12:00:00Z", "--duration", "20s", "--unpaced", "--json")
CHOICES = ("--accounts", "7", "--transaction-share", "20%", "--account-updates", "1s")
Log = dict[int, list[bytes | None]]


def settings_of(kafka: EmbeddedBroker, unique: str, folder: Path, name: str) -> Settings:
    settings = worker_settings(kafka, f"{unique}-{name}", folder, portfolio={"enabled": True})
    return settings.model_copy(update={"agents": ("bars", "portfolio", "transactions")})


async def simulated(settings: Settings, folder: Path, *options: str) -> tuple[dict[str, int], Log]:
    """The records by kind, as the command says, and the transactions' topic."""
    environment = settings_environment(settings)
    done = candlewick(folder, "simulate", *HISTORY, *options, settings=environment)
    assert done.code == 0, done.errors
    records = await read_topic(settings, source_topic(settings, "transactions"))
    kinds: dict[str, int] = json.loads(done.output)["records"]
    return kinds, {number: [each.value for each in found] for number, found in records.items()}


async def test_accounts_trade_on_the_market_as_seed_and_rate_say(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    one = settings_of(kafka, unique, tmp_path, "one")
    kinds, first = await simulated(one, tmp_path, *CHOICES, "--seed", "5")
    two = settings_of(kafka, unique, tmp_path, "two")
    assert await simulated(two, tmp_path, *CHOICES, "--seed", "5") == (kinds, first)
    three = settings_of(kafka, unique, tmp_path, "three")
    assert (await simulated(three, tmp_path, *CHOICES, "--seed", "6"))[1] != first
    accounts, traded, count = set(), set(), 0
    for number, (begin, *values, end) in first.items():
        assert (begin, end) == (HISTORICAL, FLUSH)
        count += len(values)
        for value in values:
            record = portfolio_decoder.decode(value or b"")
            assert not hasattr(record, "interval")
            account = getattr(record, "account", "")
            assert partition_of(account.encode(), len(first)) == number
            accounts.add(account)
            if isinstance(record, TransactionRecord):
                traded.add((record.symbol, record.event_time, record.price))
    assert accounts == {f"ACC-0{number}" for number in range(1, 8)}
    assert kinds["transactions"] == count
    assert 0.15 < len(traded) / kinds["trades"] < 0.25
    market = set()
    for records in (await read_topic(one, source_topic(one, "bars"))).values():
        for each in records[1:-1]:
            trade = trade_decoder.decode(each.value or b"")
            market.add((trade.symbol, trade.event_time, trade.price))
    assert traded <= market


async def test_without_the_agent_there_is_no_topic_for_them(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = worker_settings(kafka, unique, tmp_path)
    environment = settings_environment(settings)
    done = candlewick(tmp_path, "simulate", *HISTORY, *CHOICES, settings=environment)
    assert done.code == 2
    assert "--accounts needs the agent transactions in CANDLEWICK_AGENTS" in done.errors
