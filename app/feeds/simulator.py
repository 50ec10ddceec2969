"""The simulated market (market.py), and its accounts (transactions.py), into the topics.

In step with the wall clock or unpaced. Event times are the wall clock's unless a start is given;
then it is history: each partition is marked `historical` first, and flushed at the end of a bounded
run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from app.contracts.forms import Form
from app.contracts.wire import FlushRecord, HistoricalRecord, encoder
from app.feeds.columns import TickColumns, TradeColumns, Vocabulary
from app.feeds.corrupt import Corrupter, Limits
from app.feeds.files import Kind
from app.feeds.mangle import Delayer, Delays
from app.feeds.market import BLOCK, SECOND, Market, MarketOptions, repeated
from app.feeds.producer import TickSender
from app.feeds.sending import ColumnsSender
from app.feeds.transactions import TransactionOptions, Transactions
from app.feeds.transactions_sending import TransactionStream
from app.settings import Settings
from app.topics import source_topic

#: The agent of each kind of record.
AGENT: Final[dict[Kind, str]] = {"trades": "bars", "quotes": "quotes"}
#: In the order of a market's blocks.
KINDS: Final[tuple[Kind, Kind]] = ("trades", "quotes")
#: The agent of what accounts do, and the name of these records in a summary.
ACCOUNTS: Final = "transactions"
#: Seconds behind the wall clock after which missed time is skipped, not caught up with.
MAX_BEHIND: Final = 5.0


@dataclass(frozen=True, slots=True)
class Faults:
    """What is wrong with the stream, on purpose; shares are 0 to 1.

    Attributes:
        disorder: each record is delayed by a uniform 0 to this, ns of event time.
        late: share of records that come minutes late (`Delays`).
        duplicates: share of trades that come twice.
        corrupt: bad records besides the good ones (`corrupt.py`).
    """

    disorder: int = 0
    late: float = 0.0
    duplicates: float = 0.0
    corrupt: float = 0.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How long, and how fast.

    Attributes:
        unpaced: send as fast as it goes instead of in step with the clock.
        seconds: of event time; None: until cancelled.
        start: event time to begin with, ns; None: now.
    """

    unpaced: bool = False
    seconds: float | None = None
    start: int | None = None


@dataclass(slots=True)
class SimulationSummary:
    """What was sent: records of each kind, bad ones, skipped event time, seconds.

    Portfolio updates are counted as `transactions`.
    """

    records: dict[str, int] = field(default_factory=dict)
    corrupt: int = 0
    seconds: float = 0.0
    skipped_seconds: float = 0.0

    @property
    def sent(self) -> int:
        """All of them."""
        return sum(self.records.values()) + self.corrupt


class _Stream:
    """One kind of records on its way: delayed, repeated, sent."""

    def __init__(
        self,
        sender: TickSender,
        vocabulary: Vocabulary,
        kind: Kind,
        settings: Settings,
        faults: Faults,
        seed: int,
        form: Form,
    ) -> None:
        self.sender = sender
        limits = Limits(settings.topics.max_message_bytes // 2, sender.partitions)
        corrupter = Corrupter(faults.corrupt, limits, seed, kind) if faults.corrupt > 0 else None
        self.columns = ColumnsSender(sender, vocabulary, corrupter, form)
        self._duplicates = faults.duplicates
        self._random = np.random.default_rng((seed, 7))
        delays = Delays(faults.disorder, faults.late, settings.bars.correction_horizon, seed)
        self._delayer = Delayer(delays) if delays else None

    async def send(self, part: TickColumns, reached: int) -> None:
        """Send a block's records, of delayed ones those whose turn has come."""
        ready: TickColumns | None = part
        if self._delayer is not None:
            ready = self._delayer.push(part, reached)
        if ready is not None and len(ready):
            await self._send(ready)

    async def finish(self) -> None:
        """Send what is still held back."""
        rest = None if self._delayer is None else self._delayer.rest()
        if rest is not None:
            await self._send(rest)

    async def _send(self, part: TickColumns) -> None:
        if self._duplicates > 0 and isinstance(part, TradeColumns):
            part = repeated(part, self._duplicates, self._random)
        await self.columns.send(part)


async def _everywhere(sender: TickSender, value: bytes) -> None:
    """A control record to every partition."""
    for partition in range(sender.partitions):
        await sender.send(partition, [(None, value)])


async def simulate(
    settings: Settings,
    options: MarketOptions | None = None,
    *,
    faults: Faults | None = None,
    pace: Pace | None = None,
    accounts: TransactionOptions | None = None,
    form: Form = "json",
    clock: Callable[[], int] = time.time_ns,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    progress: Callable[[int], None] = lambda sent: None,
) -> SimulationSummary:
    """Send a simulated market until its seconds are over, or until cancelled.

    Args:
        settings: broker and topics; quotes need the agent `quotes` among `agents`, accounts the
            agent `transactions`.
        options, faults, pace: see there.
        accounts: what they do; None: there are none. Their records are JSON.
        form: of trades and quotes.
        clock: wall clock, ns since the epoch.
        sleep: waits so many seconds of that clock.
        progress: told the number of records so far.

    Raises:
        ValueError: quotes or accounts are asked for, but the deployment has no agent for them.
        KafkaError: the broker is away or has refused a batch.
    """
    options, faults, pace = options or MarketOptions(), faults or Faults(), pace or Pace()
    kinds = _kinds(settings, options)
    if accounts is not None and ACCOUNTS not in settings.agents:
        raise ValueError("accounts need the agent transactions: it is not in CANDLEWICK_AGENTS")
    begun = clock()
    vocabulary = Vocabulary()
    market = Market(options, begun if pace.start is None else pace.start, vocabulary)
    first = market.time
    last = None if pace.seconds is None else first + int(pace.seconds * SECOND)
    summary = SimulationSummary()
    async with AsyncExitStack() as stack:
        streams: dict[Kind, _Stream] = {}
        for kind in kinds:
            topic = source_topic(settings, AGENT[kind])
            sender = await stack.enter_async_context(TickSender(settings, topic=topic))
            streams[kind] = _Stream(sender, vocabulary, kind, settings, faults, options.seed, form)
        senders = [stream.sender for stream in streams.values()]
        trading: TransactionStream | None = None
        if accounts is not None:
            topic = source_topic(settings, ACCOUNTS)
            sender = await stack.enter_async_context(TickSender(settings, topic=topic))
            senders.append(sender)
            trading = _accounts(sender, Transactions(accounts, first, vocabulary), settings, faults)
        if pace.start is not None:
            for sender in senders:
                await _everywhere(sender, encoder.encode(HistoricalRecord()))
        while last is None or market.time < last:
            if not pace.unpaced:
                market.time += await _in_step(market.time - first, begun, clock, sleep, summary)
            trades, quotes = market.block()
            blocks: tuple[TickColumns, TickColumns] = (trades, quotes)
            for kind, part in zip(KINDS, blocks, strict=True):
                if kind in streams and len(part):
                    await streams[kind].send(part, market.time)
            if trading is not None:
                await trading.send(trades, market.time)
            if not pace.unpaced:
                for sender in senders:
                    await sender.push()
            _count(summary, streams, trading)
            progress(summary.sent)
        for stream in streams.values():
            await stream.finish()
        if trading is not None:
            await trading.finish()
        for sender in senders:
            if pace.start is not None:
                await _everywhere(sender, encoder.encode(FlushRecord()))
            await sender.flush()
        _count(summary, streams, trading)
        summary.seconds = (clock() - begun) / SECOND
    return summary


def _accounts(
    sender: TickSender, transactions: Transactions, settings: Settings, faults: Faults
) -> TransactionStream:
    seed = transactions.options.seed
    delays = Delays(faults.disorder, faults.late, settings.bars.correction_horizon, seed)
    return TransactionStream(sender, transactions, delays, faults.duplicates, faults.corrupt)


def _kinds(settings: Settings, options: MarketOptions) -> tuple[Kind, ...]:
    if options.quotes_per_trade > 0:
        if "quotes" not in settings.agents:
            raise ValueError("quotes need the agent quotes: it is not among CANDLEWICK_AGENTS")
        return ("trades", "quotes")
    return ("trades",)


async def _in_step(
    passed: int,
    begun: int,
    clock: Callable[[], int],
    sleep: Callable[[float], Awaitable[None]],
    summary: SimulationSummary,
) -> int:
    """Wait until a block that begins `passed` ns after the first is over by the wall clock.

    Returns:
        Event time (ns) to leave out, where sending is too slow or the machine was asleep.
    """
    behind = clock() - (begun + passed + BLOCK)
    if behind < 0:
        await sleep(-behind / SECOND)
        return 0
    if behind < MAX_BEHIND * SECOND:
        return 0
    left_out = behind // BLOCK * BLOCK
    summary.skipped_seconds += left_out / SECOND
    return left_out


def _count(
    summary: SimulationSummary, streams: dict[Kind, _Stream], trading: TransactionStream | None
) -> None:
    summary.records = {kind: stream.columns.records for kind, stream in streams.items()}
    summary.corrupt = sum(stream.columns.corrupt for stream in streams.values())
    if trading is not None:
        summary.records[ACCOUNTS] = trading.records
        summary.corrupt += trading.corrupt
