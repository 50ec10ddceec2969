"""Bars, routing, transactions and portfolio in one worker, killed on the way, with bad records.

What was published is compared with the pure classes over the committed logs, and positions and
values with a computation of their own here, in fractions.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agents.portfolio import make_stage as make_portfolio
from agents.routing import make_stage as make_routing
from agents.transactions import make_stage as make_transactions
from app.broker import EmbeddedBroker
from app.contracts.batch import RecordBatch
from app.contracts.portfolio import (
    PortfolioRecord,
    PortfolioUpdateRecord,
    PositionRecord,
    ProgressRecord,
    TransactionRecord,
    portfolio_decoder,
)
from app.contracts.wire import bar_decoder
from app.settings import Settings
from app.topics import output_topic, source_topic, ticks_topic
from tables.partitioning import partition_of
from tests.broker.test_derived_pairs import BAD_BARS, check_agent, fed, markers, wait_drained
from tests.broker.test_engine_quotes import append
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    SECOND,
    START,
    Value,
    market,
    read_topic,
    symbol_of,
    trade,
)

pytestmark = pytest.mark.broker

COUNT = 3_000
PARTITIONS = 2
DAY = 86_400 * SECOND
DEPOSIT = 50_000.0
BAD_TRANSACTIONS: list[Value] = [
    b"",
    None,
    b"{}",
    b"\xff",
    b'{"type":' + b"[" * 5_000,
    msgspec.json.encode(ProgressRecord("transactions", 0, START)),
    b'{"type":"transaction","account":"x","symbol":"A","side":"buy","quantity":NaN}',
]
#: To the portfolio's input itself, as nobody of ours does.
BAD_STAGED: list[Value] = [
    *BAD_TRANSACTIONS[:5],
    FLUSH,
    # It would leave behind all that comes after it.
    msgspec.json.encode(ProgressRecord("bars", 0, 2**62)),
    msgspec.json.encode(ProgressRecord("bars", PARTITIONS, START)),
    b'{"type":"clock","event_time":%d}' % 2**62,
]


def deployment(kafka: EmbeddedBroker, unique: str, folder: Path, **changes: Any) -> Settings:
    """All four agents; sorted, as settings that are read are."""
    chosen = {"enabled": True, "pricing_interval": "10s", "limits": {"max_leverage": 0.01}}
    settings = worker_settings(kafka, unique, folder, portfolio=chosen | changes)
    return settings.model_copy(update={"agents": ("bars", "portfolio", "routing", "transactions")})


def account_of(partition: int, number: int = 0) -> str:
    """The number-th account of a partition."""
    names = (name for name in map("ACC-{}".format, range(1_000)) if _at(name) == partition)
    return next(name for place, name in enumerate(names) if place == number)


def _at(name: str) -> int:
    return partition_of(name.encode(), PARTITIONS)


def transactions(partition: int, count: int) -> list[Value]:
    """Of three accounts in symbols of both partitions: in disorder, some late, some twice."""
    rng = random.Random(partition)
    accounts = [account_of(partition, number) for number in range(3)]
    symbols = [symbol_of(of, PARTITIONS, number) for of in range(PARTITIONS) for number in range(2)]
    values: list[Value] = [
        msgspec.json.encode(
            PortfolioUpdateRecord(name, "deposit", START, f"U-{name}", amount=DEPOSIT)
        )
        for name in accounts
    ]
    for number in range(count):
        time = START + SECOND + number * 300_000_000
        behind = 8 * SECOND if number % 37 == 36 else number % 3 * 500_000_000
        quantity = rng.choice((1.0, 5.0, 0.1, 7.25, 12.0))
        record = TransactionRecord(
            account=rng.choice(accounts),
            symbol=rng.choice(symbols),
            side=rng.choice(("buy", "sell")),
            quantity=quantity,
            price=round(rng.uniform(90, 110), 2),
            event_time=max(START, time - behind),
            transaction_id=f"T-{partition}-{number}",
            fee=rng.choice((0.0, 0.35, 1.0)),
        )
        values += [msgspec.json.encode(record)] * (2 if number % 41 == 40 else 1)
    elsewhere = TransactionRecord(account_of(1 - partition), "A", "buy", 1.0, 1.0, START, "T")
    cancel = PortfolioUpdateRecord(accounts[0], "cancel", START, "U", transaction_id="none")
    return [*values, msgspec.json.encode(elsewhere), msgspec.json.encode(cancel)]


async def wait_settled(settings: Settings, worker: WorkerProcess) -> None:
    """Wait until all is read, and no clock record, however late, would change anything."""
    stage, quiet = make_portfolio(settings), False

    async def settled() -> bool:
        nonlocal quiet
        await wait_drained(settings, worker)
        log = await read_topic(settings, stage.source)
        quiet = all(
            fed_state(stage, number, records).clock_due(DAY) is None
            for number, records in log.items()
        )
        return quiet

    await until(settled, lambda: f"quiet: {quiet} {worker.tail}", 120)


def fed_state(stage: Any, number: int, records: list[Any]) -> Any:
    """A state fed with its log in one batch."""
    state = stage.load(number, "id", lambda key: None, ())
    if records:
        state.begin(records[0].offset)
        offsets, times = zip(*((e.offset, e.timestamp * 1_000_000) for e in records), strict=True)
        state.apply(
            RecordBatch(
                stage.source,
                number,
                offsets[0],
                offsets[-1] + 1,
                [each.value for each in records],
                np.array(offsets, dtype=np.int64),
                np.array(times, dtype=np.int64),
            )
        )
    return state


async def check_input(settings: Settings) -> None:
    """What routers and transactions agents wrote to each partition is there once, in its order."""
    routing, arriving = make_routing(settings), make_transactions(settings)
    bars = await read_topic(settings, routing.source)
    sent = await read_topic(settings, arriving.source)
    prices = {number: fed(routing, number, records) for number, records in bars.items()}
    passed = {number: fed(arriving, number, records) for number, records in sent.items()}
    for number, records in (await read_topic(settings, make_portfolio(settings).source)).items():
        found: dict[tuple[str, int], list[tuple[Any, Any]]] = defaultdict(list)
        for each in records:
            if each.value in BAD_STAGED or b'"clock"' in (each.value or b""):
                continue
            record = portfolio_decoder.decode(each.value or b"")
            of_account = isinstance(record, TransactionRecord | PortfolioUpdateRecord)
            of_bars = not of_account and getattr(record, "input", "bars") == "bars"
            assert record.partition is not None
            found["bars" if of_bars else "transactions", record.partition].append(
                (each.key, each.value)
            )
        wanted = {
            ("bars", source): [
                (each.key, each.value)
                for each in taken.outputs["portfolio"]
                if each.partition == number
            ]
            for source, taken in prices.items()
        }
        wanted["transactions", number] = [
            (each.key, each.value) for each in passed[number].outputs["portfolio"]
        ]
        assert found == wanted


# --- computed once more ----------------------------------------------------------------------


def exact(number: float) -> Fraction:
    """The decimal number as written."""
    return Fraction(Decimal(repr(number)))


@dataclass
class Lots:
    """First in, first out: (signed quantity, price), the oldest first."""

    lots: list[tuple[Fraction, Fraction]] = field(default_factory=list)
    realised: Fraction = Fraction(0)
    fees: Fraction = Fraction(0)

    def take(self, record: TransactionRecord) -> None:
        left = exact(record.quantity) * (1 if record.side == "buy" else -1)
        price = exact(record.price)
        self.fees += exact(record.fee)
        while left and self.lots and self.lots[0][0] * left < 0:
            quantity, paid = self.lots[0]
            closed = min(abs(quantity), abs(left)) * (1 if quantity > 0 else -1)
            self.realised += closed * (price - paid)
            left += closed
            self.lots[0] = (quantity - closed, paid)
            if quantity == closed:
                del self.lots[0]
        if left:
            self.lots.append((left, price))

    @property
    def quantity(self) -> Fraction:
        return sum((quantity for quantity, _ in self.lots), Fraction(0))

    @property
    def cost(self) -> Fraction:
        return sum((quantity * price for quantity, price in self.lots), Fraction(0))


def check_positions(
    found: list[PositionRecord], sent: Mapping[str, TransactionRecord]
) -> dict[tuple[str, str], Lots]:
    """Each transaction once, at its time or, where late, after it; positions to the last bit."""
    taken = [each for each in found if each.cause == "transaction"]
    assert sorted(each.cause_id or "" for each in taken) == sorted(sent)
    assert [each.time for each in taken] == sorted(each.time for each in taken)
    held: dict[tuple[str, str], Lots] = defaultdict(Lots)
    late = 0
    for each in found:
        lots = held[each.account, each.symbol]
        if each.cause == "transaction":
            record = sent[each.cause_id or ""]
            assert each.time >= record.event_time
            late += each.time > record.event_time
            lots.take(record)
        assert (each.quantity, each.cost) == (float(lots.quantity), float(lots.cost))
        assert (each.realised, each.fees) == (float(lots.realised), float(lots.fees))
    assert 0 < late < len(taken) / 10
    return held


def check_values(
    values: list[PortfolioRecord],
    positions: list[PositionRecord],
    closes: Mapping[str, Mapping[int, set[float]]],
) -> int:
    """Valuations are at the last closes, and add up; how many positions they priced."""
    priced = 0
    shown: dict[tuple[str, int], list[PositionRecord]] = defaultdict(list)
    for each in positions:
        if each.cause != "valuation":
            continue
        shown[each.account, each.time].append(each)
        ends = [end for end in closes[each.symbol] if end <= each.time]
        assert each.price_time == max(ends, default=None)
        if each.price_time is not None:
            priced += 1
            assert each.price in closes[each.symbol][each.price_time]
    for total in values:
        assert total.net_contributions == DEPOSIT
        assert total.pnl == pytest.approx(
            total.realised + total.unrealised + total.income - total.fees, abs=1e-6
        )
        assert total.equity == pytest.approx(DEPOSIT + total.pnl, abs=1e-6)
        if total.cause == "valuation":
            parts = shown[total.account, total.time]
            market = sum(each.cost if each.market_value is None else each.market_value
                         for each in parts)  # fmt: skip
            assert total.market_value == pytest.approx(market, abs=1e-6)
            assert total.positions == len(parts)
    return priced


async def committed_closes(settings: Settings) -> dict[str, dict[int, set[float]]]:
    """Of each symbol the closes, of all revisions, of the bars of 10 s by their end."""
    found: dict[str, dict[int, set[float]]] = defaultdict(lambda: defaultdict(set))
    for records in (await read_topic(settings, output_topic(settings, "bars"))).values():
        for each in records:
            if each.value and each.value not in BAD_BARS:
                bar = bar_decoder.decode(each.value)
                if bar.interval == "10s":
                    found[bar.symbol][bar.start + 10 * SECOND].add(bar.close)
    return found


async def published(settings: Settings, output: str, kind: Any) -> dict[int, list[Any]]:
    """The records of an output, by partition."""
    records = await read_topic(settings, output_topic(settings, f"portfolio.{output}"))
    return {
        number: [msgspec.json.decode(each.value or b"", type=kind) for each in found]
        for number, found in records.items()
    }


async def test_positions_and_values_are_those_of_the_committed_logs_although_the_worker_is_killed(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = deployment(kafka, unique, tmp_path, patience="15s")
    ticks, arriving = ticks_topic(settings), source_topic(settings, "transactions")
    bars, staged = source_topic(settings, "routing"), source_topic(settings, "portfolio")
    traded = {
        number: [HISTORICAL, *market(number, PARTITIONS, COUNT), FLUSH]
        for number in range(PARTITIONS)
    }
    sent = {
        number: [HISTORICAL, *transactions(number, COUNT // 8), FLUSH]
        for number in range(PARTITIONS)
    }
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        for number in range(PARTITIONS):
            half = len(sent[number]) // 2
            await append(settings, ticks, number, traded[number][: COUNT // 2])
            await append(settings, arriving, number, sent[number][:half] + BAD_TRANSACTIONS)
            await append(settings, bars, number, BAD_BARS)
            await append(settings, staged, number, BAD_STAGED)
        await worker.kill9()
        for number in range(PARTITIONS):
            half = len(sent[number]) // 2
            await append(settings, arriving, number, BAD_TRANSACTIONS + sent[number][half:])
            await append(settings, ticks, number, traded[number][COUNT // 2 :])
        await worker.start()
        await worker.wait_ready()
        await append(settings, staged, 0, BAD_STAGED)
        await wait_settled(settings, worker)
        assert await worker.stop() == 0
    await check_input(settings)
    await check_agent(settings, make_portfolio(settings))
    for agent, dead in (
        # One of another partition besides.
        ("transactions", [2 * len(BAD_TRANSACTIONS) + 1] * PARTITIONS),
        ("routing", [len(BAD_BARS)] * PARTITIONS),
        ("portfolio", [len(BAD_STAGED) * 2, len(BAD_STAGED)]),
    ):
        found = await markers(settings, agent)
        assert [found[number].counts["dead"] for number in range(PARTITIONS)] == dead, agent
    positions = await published(settings, "positions", PositionRecord)
    values = await published(settings, "values", PortfolioRecord)
    closes = await committed_closes(settings)
    for number in range(PARTITIONS):
        records = {}
        for value in transactions(number, COUNT // 8):
            record = portfolio_decoder.decode(value or b"")
            if isinstance(record, TransactionRecord) and _at(record.account) == number:
                records[record.transaction_id] = record
        held = check_positions(positions[number], records)
        assert len(held) == 3 * 4
        assert check_values(values[number], positions[number], closes) > 100
        marker = (await markers(settings, "portfolio"))[number]
        assert marker.details == {"refused": 1}
        assert min(marker.counts[name] for name in ("applied", "revised", "duplicate")) > 0
    limits = await read_topic(settings, output_topic(settings, "portfolio.limits"))
    assert all(limits.values())


async def test_a_quiet_deployment_comes_to_its_last_valuation_by_clock_records(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = deployment(kafka, unique, tmp_path, patience="15s")
    symbol, account = symbol_of(0, PARTITIONS), account_of(1)
    bought = TransactionRecord(account, symbol, "buy", 3.0, 9.0, START + SECOND, "T")
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        # No bars in the account's own partition, and no more of anything after this.
        await append(settings, ticks_topic(settings), 0, [trade(symbol, START + SECOND, 10.0)])
        topic = source_topic(settings, "transactions")
        await append(settings, topic, 1, [msgspec.json.encode(bought)])

        async def valued() -> bool:
            found = (await published(settings, "values", PortfolioRecord))[1]
            return [each.cause for each in found[-1:]] == ["valuation"] and found[-1].unpriced == 0

        await until(valued, lambda: worker.tail, 120)
        assert await worker.stop() == 0
    last = (await published(settings, "values", PortfolioRecord))[1][-1]
    assert (last.time, last.market_value, last.pnl) == (START + 10 * SECOND, 30.0, 3.0)
    _, *clocks = (await read_topic(settings, topic))[1]
    assert {msgspec.json.decode(each.value or b"")["type"] for each in clocks} == {"clock"}
