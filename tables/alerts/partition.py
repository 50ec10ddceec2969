"""The alerts of one partition of `alerts.events`: events and control records in, notifications out.

Rows are those of the `AlertBook`, all held in memory: what falls due is told by the clock of the
partition, whichever key it is of.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tables.alerts.book import AlertBook, RefusedError
from tables.alerts.records import AlertEventRecord, decode, encoder
from tables.alerts.rules import AlertRules
from tables.derived import BadRecordError, DerivedConfiguration, DerivedPartition
from tables.learning import State
from tables.partitioning import partition_of
from tables.rows import Marker

ROW_PREFIX = b"r"

_encode_row = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(list).decode


class AlertsPartition(DerivedPartition):
    """State of one partition of the alerts agent."""

    OUTCOMES = ("applied", "control", "dead")
    SETTINGS = "alerts, bars, partitions or bounds"

    def __init__(
        self, configuration: DerivedConfiguration, partition: int, rules: AlertRules
    ) -> None:
        super().__init__(configuration, partition)
        self.book = AlertBook(rules, partition)
        self._rules = rules
        self._restored: list[tuple[str, State]] = []

    def take_record(self, value: bytes, offset: int, append_time: int) -> str:
        """Take an event or a control record.

        Raises:
            BadRecordError: it is neither, or does not belong here.
        """
        try:
            record = decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadRecordError("malformed") from None
        if isinstance(record, AlertEventRecord) and not self._is_ours(record.key):
            raise BadRecordError("wrong_partition")
        try:
            notifications = self.book.apply(record, append_time)
        except RefusedError as error:
            raise BadRecordError(error.reason) from None
        self.maximum = self.book.clock
        for each in notifications:
            self.put("notifications", each.key.encode(), encoder.encode(each))
        return "applied" if isinstance(record, AlertEventRecord) else "control"

    def _is_ours(self, key: str) -> bool:
        return partition_of(key.encode(), self.configuration.partitions) == self.partition

    @property
    def rows(self) -> int:
        """How many alerts there are."""
        return len(self.book.alerts)

    def clock_due(self, idle: int) -> int | None:
        """The data's clock, once it has come to what waits for it: a repeat, a group, an end."""
        due, clock = self.book.next_due, self.book.clock
        if due is None or clock is None or clock + idle < due:
            return None
        return clock + idle

    def changed_rows(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Rows of the book that have changed since the last call."""
        for name, row in self.book.take_rows():
            yield ROW_PREFIX + name.encode(), None if row is None else _encode_row(row)

    def restore(self, marker: Marker, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Go on from a marker and the book's rows."""
        super().restore(marker, rows)
        self.book = AlertBook.from_rows(self._rules, self.partition, self._restored)
        self._restored = []

    def restore_row(self, key: bytes, row: bytes) -> None:
        """Take in a row of the book."""
        self._restored.append((key[len(ROW_PREFIX) :].decode(), _decode_row(row)))
