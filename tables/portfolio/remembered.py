"""Ids of the transactions and updates of the last horizon, with what a cancel has to undo.

An id first seen with event time T counts as known while T + horizon has not fallen behind the mark
of its input, which is judged per record; so when memory is really released changes nothing.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import msgspec

from app.contracts.portfolio import PortfolioUpdateRecord, TransactionRecord
from tables.identifiers import SEPARATOR

_DECODER = msgspec.json.Decoder(TransactionRecord)


@dataclass(slots=True)
class Known:
    """One id: its event time, when it is taken, and the transaction (None: an update's id)."""

    event_time: int
    time: int
    transaction: TransactionRecord | None
    cancelled: bool = False


def name_of(record: TransactionRecord | PortfolioUpdateRecord) -> str:
    """The identity of a record within its partition."""
    if isinstance(record, TransactionRecord):
        return transaction_name(record.account, record.transaction_id)
    return SEPARATOR.join(("update", record.account, record.update_id))


def transaction_name(account: str, transaction_id: str) -> str:
    """The identity of a transaction within its partition."""
    return SEPARATOR.join(("transaction", account, transaction_id))


class Remembered:
    """The ids, and which rows have changed since they were last taken. A row is by identity.

    Args:
        horizon: ns of event time.
        limit: of ids; beyond it the oldest is forgotten early.
    """

    def __init__(self, horizon: int, limit: int) -> None:
        self._horizon = horizon
        self._limit = limit
        self._known: dict[str, Known] = {}
        self._ages: list[tuple[int, str]] = []
        self._changed: set[str] = set()
        #: Ids forgotten for want of room.
        self.forgotten_early = 0

    def __len__(self) -> int:
        return len(self._known)

    def get(self, name: str, mark: int | None) -> Known | None:
        """What is known of an id at a mark; None: nothing (any more)."""
        known = self._known.get(name)
        if known is None or (mark is not None and known.event_time + self._horizon < mark):
            return None
        return known

    def add(self, name: str, known: Known) -> None:
        """Remember an id."""
        self._known[name] = known
        self._changed.add(name)
        heapq.heappush(self._ages, (known.event_time, name))
        if len(self._known) > self._limit:
            while len(self._known) > self._limit:
                self._drop_oldest()
            self.forgotten_early += 1

    def cancel(self, name: str) -> None:
        """Note that there is nothing (more) to cancel; an id that is forgotten stays so."""
        known = self._known.get(name)
        if known is not None:
            known.cancelled = True
            self._changed.add(name)

    def forget(self, released: int) -> None:
        """Release what no record can match once all before `released` are taken."""
        while self._ages and self._ages[0][0] + self._horizon < released:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Take out the earliest entry; an id that was seen anew since has a later one."""
        event_time, name = heapq.heappop(self._ages)
        known = self._known.get(name)
        if known is not None and known.event_time == event_time:
            del self._known[name]
            self._changed.add(name)

    def changed_rows(self) -> dict[str, list[Any] | None]:
        """By identity: plain values; None where an id is forgotten."""
        rows: dict[str, list[Any] | None] = {}
        for name in sorted(self._changed):
            known = self._known.get(name)
            if known is None:
                rows[name] = None
                continue
            record = known.transaction
            text = None if record is None else msgspec.json.encode(record).decode()
            rows[name] = [known.event_time, known.time, text, known.cancelled]
        self._changed = set()
        return rows

    def restore(self, name: str, row: list[Any]) -> None:
        """Take in a row."""
        event_time, time, text, cancelled = row
        record = None if text is None else _DECODER.decode(text)
        self._known[name] = Known(event_time, time, record, cancelled)
        heapq.heappush(self._ages, (event_time, name))
