"""Routing and pairs as stages: one partition's log, record by record, to records.

Data that flows: bars -> `RoutingPartition`, which asks each of its routers -> records for chosen
partitions of other stages' inputs; the pairs' -> `PairsPartition` -> pairs.

Invariants, besides those of tables/derived.py (tests/unit/test_crossing_partition.py):

- A record that reaches a router or the `PairsBook` is one that ours could have written: its times
  are those of its interval's bars, and not ahead of the log. For one with a time far ahead would
  leave out all that comes after it.
- The row of a pair is bounded: `row_bytes`.

| key of a row | value |
|---|---|
| `r` and the router's output | `BarRouter.state` |
| `p` and the pair's name, or `progress` | the row of `PairsBook.take_changes` |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Protocol

import msgspec

from app.contracts.wire import BarInput, bar_input_decoder, encoder
from tables.crossing.book import PROGRESS_KEY, PairsBook
from tables.crossing.pairs import PairsConfiguration
from tables.crossing.records import InputRecord, LegRecord, input_decoder
from tables.derived import (
    BadRecordError,
    DerivedConfiguration,
    DerivedPartition,
    check_bar_time,
)
from tables.parsing import DECODE_ERRORS
from tables.partitioning import partition_of
from tables.symbols import symbol_fault

ROUTER_PREFIX = b"r"
PAIR_PREFIX = b"p"
#: Faults of symbols that are remembered.
MAX_FAULTS = 100_000
#: Of what becomes of a record, ours for the book's.
_OUTCOMES = {
    "taken": "applied",
    "revised": "revised",
    "repeated": "repeated",
    "left_out": "left_out",
    "progress": "control",
}
#: At most, in msgpack: a number, and the list around a few.
_NUMBER, _LIST = 9, 1
_decode_row = msgspec.msgpack.Decoder(list).decode
_encode_row = msgspec.msgpack.Encoder().encode


class BarRouter(Protocol):
    """Sends a partition's bars on to the input of another stage, such as `Router`."""

    def take(self, bar: BarInput, position: int) -> Sequence[tuple[int, bytes | None, Any]]:
        """Take the next bar, at offset `position`: target partition, key and record of each."""

    def state(self) -> list[Any]:
        """Plain values, the version first; small, as it is one row."""

    def restore(self, state: list[Any]) -> None:
        """Go on from a state."""


class RoutingPartition(DerivedPartition):
    """State of one partition of the routing agent: its routers."""

    OUTCOMES = ("applied", "ignored", "dead")
    SETTINGS = "pairs, bars, partitions or bounds"

    def __init__(
        self,
        configuration: DerivedConfiguration,
        partition: int,
        routers: Mapping[str, BarRouter],
        lengths: Mapping[str, int],
        max_ahead: int,
    ) -> None:
        """Begin without bars.

        Args:
            routers: by the output that what they send goes to.
            lengths: in ns, of all intervals that bars come in, by label.
            max_ahead: how far (ns) a bar may begin after its append time; no bar of ours does.
        """
        super().__init__(configuration, partition)
        self._routers = routers
        self._lengths = lengths
        self._max_ahead = max_ahead
        self._stored: dict[bytes, bytes] = {}
        self._fault = lru_cache(MAX_FAULTS)(
            partial(symbol_fault, partition=partition, partitions=configuration.partitions)
        )

    def take_record(self, value: bytes, offset: int, append_time: int) -> str:
        """Take a bar.

        Raises:
            BadRecordError: it is none, or does not belong here.
        """
        try:
            bar = bar_input_decoder.decode(value)
        except DECODE_ERRORS:
            raise BadRecordError("malformed") from None
        fault = self._fault(bar.symbol)
        if fault is not None:
            raise BadRecordError(fault)
        length = self._lengths.get(bar.interval)
        if length is None:
            raise BadRecordError("unknown_interval")
        check_bar_time(bar.start, length, append_time + self._max_ahead)
        if self.maximum is None or bar.start > self.maximum:
            self.maximum = bar.start
        outcome = "ignored"
        for output, router in self._routers.items():
            for target, key, record in router.take(bar, offset):
                # What is of no pair has a key of its own, too: one that no pair has.
                name = PROGRESS_KEY.encode() if key is None else key
                self.route(output, target, name, encoder.encode(record))
                outcome = "applied"
        return outcome

    def changed_rows(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Rows of the routers whose state has changed since the last call."""
        rows = {
            ROUTER_PREFIX + output.encode(): _encode_row(router.state())
            for output, router in self._routers.items()
        }
        changed = [(key, row) for key, row in rows.items() if self._stored.get(key) != row]
        self._stored = rows
        return changed

    def restore_row(self, key: bytes, row: bytes) -> None:
        """Take in a router's row.

        Raises:
            ValueError: it is of another version, or of a router that is not there.
        """
        output = key.removeprefix(ROUTER_PREFIX).decode()
        if not key.startswith(ROUTER_PREFIX) or output not in self._routers:
            raise ValueError(f"unknown row {key!r}")
        self._routers[output].restore(_decode_row(row))
        self._stored[key] = row

    @property
    def rows(self) -> int:
        """How many routers there are."""
        return len(self._routers)


class PairsPartition(DerivedPartition):
    """State of one partition of the pairs agent: its `PairsBook`.

    `left_out` are legs that came too late for their pair; bars that waited for the other leg for
    too long are counted in `details`, as `given_up`.
    """

    OUTCOMES = (*_OUTCOMES.values(), "dead")
    SETTINGS = "pairs, bars, partitions or bounds"

    def __init__(
        self,
        configuration: DerivedConfiguration,
        partition: int,
        pairs: PairsConfiguration,
        max_ahead: int,
    ) -> None:
        """Begin without legs; `max_ahead` as for `RoutingPartition`."""
        super().__init__(configuration, partition)
        self._book = PairsBook(pairs, partition)
        self._pairs = {pair.name: pair for pair in pairs.pairs}
        self._targets = {pair.name: pair.partition(pairs.partitions) for pair in pairs.pairs}
        self._lengths = {pair.label: pair.interval for pair in pairs.pairs}
        self._sources = {
            symbol: partition_of(symbol.encode(), pairs.source_partitions)
            for pair in pairs.pairs
            for symbol in pair.legs
        }
        #: Of the bars: partition and interval of each leg of this partition's pairs.
        self._places = {
            (self._sources[symbol], pair.label)
            for pair in pairs.pairs
            for symbol in pair.legs
            if self._targets[pair.name] == partition
        }
        self._max_ahead = max_ahead

    def take_record(self, value: bytes, offset: int, append_time: int) -> str:
        """Take a leg or a mark of progress.

        Raises:
            BadRecordError: it is neither, or does not belong here.
        """
        try:
            record = input_decoder.decode(value)
        except DECODE_ERRORS:
            raise BadRecordError("malformed") from None
        self._check(record, append_time + self._max_ahead)
        counts = self._book.counts
        before = counts.copy()
        for pair in self._book.take(record):
            self.put("pairs", pair.pair.encode(), encoder.encode(pair))
        given_up = counts["given_up"] - before["given_up"]
        if given_up:
            self.details["given_up"] = self.details.get("given_up", 0) + given_up
        if isinstance(record, LegRecord) and (self.maximum is None or record.start > self.maximum):
            self.maximum = record.start
        return next(ours for name, ours in _OUTCOMES.items() if counts[name] != before[name])

    def _check(self, record: InputRecord, latest: int) -> None:
        if not isinstance(record, LegRecord):
            if (record.partition, record.interval) not in self._places:
                raise BadRecordError("not_of_pair")
            # A mark is the end of a bar.
            length = self._lengths[record.interval]
            check_bar_time(record.watermark - length, length, latest)
            return
        pair = self._pairs.get(record.pair)
        if pair is None:
            raise BadRecordError("unknown_pair")
        if self._targets[record.pair] != self.partition:
            raise BadRecordError("wrong_partition")
        if (
            record.symbol not in pair.legs
            or record.interval != pair.label
            or record.partition != self._sources[record.symbol]
        ):
            raise BadRecordError("not_of_pair")
        check_bar_time(record.start, pair.interval, latest)

    def changed_rows(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Rows of the pairs, and of the marks, that have changed since the last call."""
        return [
            (PAIR_PREFIX + key.encode(), _encode_row(row)) for key, row in self._book.take_changes()
        ]

    def restore_row(self, key: bytes, row: bytes) -> None:
        """Take in a row of the book.

        Raises:
            ValueError: it is of another version, or of no pair of this partition.
        """
        if not key.startswith(PAIR_PREFIX):
            raise ValueError(f"unknown row {key!r}")
        self._book.restore(key.removeprefix(PAIR_PREFIX).decode(), _decode_row(row))

    @property
    def rows(self) -> int:
        """How many pairs this partition has."""
        return sum(target == self.partition for target in self._targets.values())


def row_bytes(pairs: PairsConfiguration) -> int:
    """The most that the row of one pair takes, in bytes: what waits, and what is learned.

    One more than `max_waiting` is never held. Each learner holds its window twice: as it is, and
    as it was before the last update (tables/learning.py).
    """
    held = _LIST + 4 * _NUMBER
    returns = pairs.window * (_LIST + 2 * _NUMBER)
    spreads = (pairs.window + 1) * _NUMBER
    # Some hundred of lists' beginnings, flags and single numbers.
    return (pairs.max_waiting + 2) * held + 2 * (returns + spreads) + 500
