"""One partition of the transactions' input: to the portfolio's input, with marks of progress.

What comes in: transactions, portfolio updates and control records, keyed by account, which so
belong to the partition of the portfolio's input that has the same number. What goes out: each with
its `partition`; and a mark when the time that the records have reached, less the grace, has gone on
by about a mark interval. What the portfolio judges by its state, passes: duplicates, currency, late
records.

**Quiet partitions.** A partition that has brought nothing yet says nothing. Once no record has
moved its time for longer than the grace (and a second), a clock record is asked for; it moves the
time on, and the mark after it says `idle`: nothing waits for the partition until its next record.
A `historical` record (a replay) keeps clock records away: then a quiet partition is waited for,
until a `flush` says `idle`. Both control records move no time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from app.contracts.portfolio import ProgressRecord
from app.contracts.wire import ClockRecord, FlushRecord, HistoricalRecord, encoder
from tables.derived import BadRecordError, DerivedConfiguration, DerivedPartition
from tables.partitioning import partition_of
from tables.portfolio.configuration import TRANSACTIONS
from tables.portfolio.intake import Account, decode_arriving
from tables.portfolio.routing import crosses

STATE_PREFIX: Final = b"t"
STATE_VERSION: Final = 1
#: Name of the output.
OUTPUT: Final = "portfolio"
#: Key of marks, which are of no account.
PROGRESS_KEY: Final = b"progress"


@dataclass(frozen=True, slots=True)
class ArrivalTimes:
    """Bounds of event times, all in ns.

    Attributes:
        earliest: an earlier record is dead.
        max_ahead: a record further ahead of its append time is dead.
        clock_ahead: a record moves the time at most so far ahead of its append time.
        grace: disorder that marks wait for.
        mark_interval: of event time between marks, about.
    """

    earliest: int
    max_ahead: int
    clock_ahead: int
    grace: int
    mark_interval: int


class TransactionsPartition(DerivedPartition):
    """State of one partition of the transactions agent."""

    SETTINGS = "portfolio, bars, partitions or bounds"

    def __init__(
        self, configuration: DerivedConfiguration, partition: int, times: ArrivalTimes
    ) -> None:
        """Begin without records."""
        super().__init__(configuration, partition)
        self._times = times
        self._historical = False
        #: What was told last.
        self._mark: int | None = None
        self._idle = False
        self._is_changed = False

    def take_record(self, value: bytes, offset: int, append_time: int) -> str:
        """Take a record.

        Raises:
            BadRecordError: it is none, or does not belong here.
        """
        record = decode_arriving(value)
        if isinstance(record, ClockRecord):
            self._check_latest(record.event_time, append_time)
            self._reach(record.event_time, append_time)
            self._tell(self._next_mark(), idle=True)
        elif isinstance(record, HistoricalRecord | FlushRecord):
            self._historical = isinstance(record, HistoricalRecord)
            self._tell(self._mark or 0, idle=not self._historical)
        else:
            self._take(record, append_time)
            return "applied"
        return "control"

    def _take(self, record: Account, append_time: int) -> None:
        if record.event_time < self._times.earliest:
            raise BadRecordError("event_time_too_early")
        self._check_latest(record.event_time, append_time)
        account = record.account.encode()
        if partition_of(account, self.configuration.partitions) != self.partition:
            raise BadRecordError("wrong_partition")
        if self._idle:
            # It is waited for from now on, before this record can be left behind.
            self._tell(self._mark or 0, idle=False)
        placed = msgspec.structs.replace(record, partition=self.partition)
        self.put(OUTPUT, account, encoder.encode(placed))
        self._reach(record.event_time, append_time)
        mark = self._next_mark()
        if crosses(mark, self._mark, self._times.mark_interval):
            self._tell(mark, idle=False)

    def _check_latest(self, event_time: int, append_time: int) -> None:
        if event_time > append_time + self._times.max_ahead:
            raise BadRecordError("event_time_too_late")

    def _reach(self, event_time: int, append_time: int) -> None:
        reached = min(event_time, append_time + self._times.clock_ahead)
        self.maximum = max(reached, reached if self.maximum is None else self.maximum)

    def _next_mark(self) -> int:
        return max(0, (self.maximum or 0) - self._times.grace)

    def _tell(self, mark: int, *, idle: bool) -> None:
        self._mark, self._idle, self._is_changed = mark, idle, True
        record = ProgressRecord(TRANSACTIONS, self.partition, mark, idle, self._historical)
        self.put(OUTPUT, PROGRESS_KEY, encoder.encode(record))

    def clock_due(self, idle: int) -> int | None:
        """The data's clock, once the last record is older than the grace."""
        if self._historical or self._idle or self.maximum is None or idle <= self._times.grace:
            return None
        return self.maximum + idle

    # --- rows ------------------------------------------------------------------------------

    def changed_rows(self) -> Iterable[tuple[bytes, bytes | None]]:
        """The one row, where a mark was told."""
        if not self._is_changed:
            return []
        self._is_changed = False
        row = [STATE_VERSION, self._historical, self._mark, self._idle]
        return [(STATE_PREFIX, encoder.encode(row))]

    def restore_row(self, key: bytes, row: bytes) -> None:
        """Take in the row.

        Raises:
            ValueError: it is another row, or of another version.
        """
        if key != STATE_PREFIX:
            raise ValueError(f"unknown row {key!r}")
        state: list[Any] = msgspec.json.decode(row)
        if state[0] != STATE_VERSION:
            raise ValueError(f"a row of version {state[0]}, this code reads {STATE_VERSION}")
        _, self._historical, self._mark, self._idle = state

    @property
    def rows(self) -> int:
        """There is but one."""
        return int(self._mark is not None)
