"""Transactions and updates into their topic: if asked, delayed, repeated, and bad ones with them.

The bad records are sent besides the good ones and change nothing; each kind has the reason that
the portfolio stage gives.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, cast

import msgspec
import numpy as np

from app.feeds.columns import TradeColumns
from app.feeds.corrupt import TOO_EARLY, TOO_LATE, Corruption, Limits, Value
from app.feeds.mangle import Delayer, Delays
from app.feeds.market import repeated
from app.feeds.partitioning import partition_of
from app.feeds.transactions import AccountColumns, Transactions


def _changed(record: bytes, **fields: Any) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(record), **fields})


def _raw(record: bytes, name: str, text: bytes) -> bytes:
    """The record with a field written as this text, which need not be JSON."""
    return _changed(record, **{name: "\x00"}).replace(b'"\\u0000"', text)


def _elsewhere(record: bytes, limits: Limits) -> tuple[Value, ...]:
    """An account of another partition than the record's."""
    here = partition_of(msgspec.json.decode(record)["account"], limits.partitions)
    number = 0
    while partition_of(f"ELSEWHERE-{number}", limits.partitions) == here:
        number += 1
    return (_changed(record, account=f"ELSEWHERE-{number}"),)


def _simple(name: str, reason: str = "malformed", **fields: Any) -> Corruption:
    """A kind that sets fields."""
    return Corruption(name, reason, lambda record, limits: (_changed(record, **fields),))


#: Made from a transaction.
CORRUPTIONS: Final[tuple[Corruption, ...]] = (
    Corruption("null", "null", lambda record, limits: (None,)),
    Corruption("empty", "empty", lambda record, limits: (b"",)),
    Corruption("not_json", "malformed", lambda record, limits: (b"\xff\x00 not JSON",)),
    Corruption("cut", "malformed", lambda record, limits: (record[: len(record) // 2],)),
    Corruption("two_objects", "malformed", lambda record, limits: (record + record,)),
    Corruption("nan", "malformed", lambda record, limits: (_raw(record, "price", b"NaN"),)),
    Corruption("infinite", "malformed", lambda record, limits: (_raw(record, "fee", b"1e999"),)),
    _simple("negative_quantity", quantity=-1.0),
    _simple("zero_quantity", quantity=0.0),
    _simple("unknown_side", side="hold"),
    _simple("incomplete_update", type="portfolio_update"),
    _simple("unknown_type", type="trade"),
    _simple("unknown_field", colour="red"),
    _simple("no_account", account=""),
    _simple("nul_in_account", account="a\x00b"),
    _simple("bad_symbol", "bad_symbol", symbol="no good"),
    _simple("other_currency", "other_currency", currency="XTS"),
    _simple("too_early", "event_time_too_early", event_time=TOO_EARLY),
    _simple("far_future", "event_time_too_late", event_time=TOO_LATE),
    Corruption("other_partition", "wrong_partition", _elsewhere, partitions_at_least=2),
)


_TRANSACTION: Final = b'{"type":"transaction"'


class AccountCorrupter:
    """Makes bad records after good ones, by a seed."""

    def __init__(self, share: float, limits: Limits, seed: int) -> None:
        self._share = share
        self._limits = limits
        self._random = np.random.default_rng((seed, 13))
        self._kinds = [
            each for each in CORRUPTIONS if each.partitions_at_least <= limits.partitions
        ]

    def after(self, value: bytes) -> tuple[Value, ...]:
        """What to send after a good value: mostly nothing, and never after an update."""
        chosen, kind = self._random.random(2)
        if chosen >= self._share or not value.startswith(_TRANSACTION):
            return ()
        return self._kinds[int(kind * len(self._kinds))].make(value, self._limits)


class Sender(Protocol):
    """An open producer of the topic (producer.py)."""

    @property
    def partitions(self) -> int: ...

    async def send(self, partition: int, records: list[tuple[bytes | None, Value]]) -> None: ...


class TransactionStream:
    """The accounts' records on their way.

    Args:
        sender: of the topic.
        transactions: the generator.
        delays: disorder and lateness.
        duplicates, corrupt: shares of repeated and of bad records, 0 to 1.
    """

    def __init__(
        self,
        sender: Sender,
        transactions: Transactions,
        delays: Delays,
        duplicates: float = 0.0,
        corrupt: float = 0.0,
    ) -> None:
        self.sender = sender
        #: Good records sent so far, repeated ones included; and bad ones.
        self.records = 0
        self.corrupt = 0
        seed = transactions.options.seed
        self._transactions = transactions
        self._delayer = Delayer(delays) if delays else None
        self._duplicates = duplicates
        self._random = np.random.default_rng((seed, 17))
        # Half of the limit is the longest value that is taken; no bad one here is as long.
        limits = Limits(1 << 20, sender.partitions)
        self._corrupter = AccountCorrupter(corrupt, limits, seed) if corrupt > 0 else None

    async def send(self, trades: TradeColumns, reached: int) -> None:
        """Send the records of a market's block, of delayed ones those whose turn has come.

        Raises:
            KafkaError: the broker is away or has refused a batch.
        """
        part: AccountColumns | None = AccountColumns.of(self._transactions.block(trades, reached))
        if self._delayer is not None:
            # Delays, and repeats, ask for event times and rows of columns, and nothing else.
            part = cast(AccountColumns | None, self._delayer.push(cast(Any, part), reached))
        if part is not None and len(part):
            await self._send(part)

    async def finish(self) -> None:
        """Send what is still held back."""
        rest = None if self._delayer is None else self._delayer.rest()
        if rest is not None:
            await self._send(cast(AccountColumns, cast(Any, rest)))

    async def _send(self, part: AccountColumns) -> None:
        if self._duplicates > 0:
            part = cast(AccountColumns, repeated(cast(Any, part), self._duplicates, self._random))
        batches: dict[int, list[tuple[bytes | None, Value]]] = {}
        for account, value in zip(part.account.tolist(), part.value.tolist(), strict=True):
            key = account.encode()
            batch = batches.setdefault(partition_of(account, self.sender.partitions), [])
            batch.append((key, value))
            self.records += 1
            if self._corrupter is not None:
                bad = self._corrupter.after(value)
                self.corrupt += len(bad)
                batch += [(key, each) for each in bad]
        for partition in sorted(batches):
            await self.sender.send(partition, batches[partition])
