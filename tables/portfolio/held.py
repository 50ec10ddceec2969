"""Records that wait for the watermark of all inputs, in the order in which they will be taken."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from app.contracts.portfolio import (
    PortfolioUpdateRecord,
    PriceRecord,
    TransactionRecord,
)

Holdable = TransactionRecord | PortfolioUpdateRecord | PriceRecord

#: Kinds, in their order at one event time: the prices of bars that end then, the valuation by
#: them, and what happens from then on (intervals are `[start, end)`).
PRICE, VALUATION, UPDATE, TRANSACTION, CANCEL = range(5)

_DECODER = msgspec.json.Decoder(Holdable)


class Order(NamedTuple):
    """Where a record is taken: compared field by field; the offset only between equal records."""

    time: int
    kind: int
    event_time: int
    name: str
    identifier: str
    revision: int
    offset: int


def order_of(record: Holdable, time: int, offset: int) -> Order:
    """The order of a record that is taken at `time`: its event time, or later where it is late."""
    if isinstance(record, PriceRecord):
        return Order(time, PRICE, record.end, record.symbol, "", record.revision, offset)
    if isinstance(record, TransactionRecord):
        identifier = record.transaction_id
        return Order(time, TRANSACTION, record.event_time, record.account, identifier, 0, offset)
    kind = CANCEL if record.action == "cancel" else UPDATE
    return Order(time, kind, record.event_time, record.account, record.update_id, 0, offset)


@dataclass(slots=True)
class _Entry:
    order: Order
    record: Holdable

    def __lt__(self, other: _Entry) -> bool:
        return self.order < other.order


class Held:
    """The records, and which rows have changed since they were last taken. A row is by offset."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._fresh: dict[int, _Entry] = {}
        self._gone: set[int] = set()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, order: Order, record: Holdable) -> None:
        """Hold a record."""
        entry = _Entry(order, record)
        heapq.heappush(self._heap, entry)
        self._fresh[order.offset] = entry

    def first(self) -> Order | None:
        """The order of the next record."""
        return self._heap[0].order if self._heap else None

    def last_time(self) -> int | None:
        """The time of the last record."""
        return max((entry.order.time for entry in self._heap), default=None)

    def pop(self) -> tuple[Order, Holdable]:
        """Take the next record out."""
        entry = heapq.heappop(self._heap)
        if self._fresh.pop(entry.order.offset, None) is None:
            self._gone.add(entry.order.offset)
        return entry.order, entry.record

    def records(self) -> list[Holdable]:
        """All of them, in no order."""
        return [entry.record for entry in self._heap]

    def changed_rows(self) -> dict[str, list[Any] | None]:
        """By offset: time and record as JSON text; None where a row is no longer."""
        rows: dict[str, list[Any] | None] = {f"{offset:020}": None for offset in sorted(self._gone)}
        for offset, entry in self._fresh.items():
            text = msgspec.json.encode(entry.record).decode()
            rows[f"{offset:020}"] = [entry.order.time, text]
        self._gone, self._fresh = set(), {}
        return rows

    def restore(self, name: str, row: list[Any]) -> None:
        """Take in a row."""
        time, text = row
        record = _DECODER.decode(text)
        heapq.heappush(self._heap, _Entry(order_of(record, time, int(name)), record))
