"""What stages behind the bars have in common: one partition's log, record by record, to outputs.

What comes in: the records of one topic, in log order. What is kept: the marker, and rows of the
subclass (`DerivedPartition`); of a `KeyedPartition` an entry for each key (a symbol and interval),
read from the store when it is first needed. What goes out: records of the stage's outputs, with
each checkpoint.

Invariants: an output depends on the records before it and on nothing else, so neither on how they
were fetched nor on which entries are in memory. A record that is refused changes nothing but the
counts and `dead`. An entry that has changed since the last checkpoint is never forgotten.

| key of a row | value |
|---|---|
| `m` | `Marker` |
| `e` and the entry's key | what `encode` makes of the entry of a `KeyedPartition` |
| `j` and the entry's key | what came since (`tables/journaled.py`) |
| other letters | rows of other subclasses |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from app.contracts.batch import RecordBatch
from app.contracts.outputs import NO_HEADERS, OutputRecord, RoutedRecord, Taken
from tables.partition import headers_of
from tables.rows import MARKER_KEY, Marker, decode_marker, encode_marker
from tables.snapshot import check_marker
from tables.windows import Reader

ENTRY_PREFIX = b"e"
# Of a named tuple: 0.2 us; by a call of its class 0.45 us.
_new = tuple.__new__

Entry = TypeVar("Entry")
#: Of a store: all rows whose keys begin with one of the prefixes.
RowsOf = Callable[[Iterable[bytes]], Iterator[tuple[bytes, bytes]]]


class BadRecordError(ValueError):
    """A record that goes to `dead`; its argument is the reason (`app/contracts/reasons.py`)."""


def check_bar_time(start: int, length: int, latest: int) -> None:
    """Refuse a start that no bar of ours has; one far ahead would leave out all that come after.

    Args:
        start: of the bar, in ns.
        length: of its interval, in ns.
        latest: the latest start (ns) that a bar of the log may have now.

    Raises:
        BadRecordError: it is between the starts of `length`, or later than `latest`.
    """
    if start < 0 or start % length:
        raise BadRecordError("malformed")
    if start > latest:
        raise BadRecordError("event_time_too_late")


@dataclass(frozen=True, slots=True)
class DerivedConfiguration:
    """Fixed for the life of a deployment; `results_hash` names all that changes results.

    `max_entries` is how many entries are held in memory although the store has them; it changes no
    result.
    """

    partitions: int
    results_hash: str
    max_value_bytes: int
    max_entries: int


class DerivedPartition(ABC):
    """State of one partition: `apply` a batch, then `take` what came of it."""

    #: Of the rows; to be raised when older code cannot read them.
    ROW_VERSION: ClassVar[int] = 1
    #: Of each record that is not dead; a subclass may have more.
    OUTCOMES: ClassVar[tuple[str, ...]] = ("applied", "control", "dead")
    #: Those in the hash, in words.
    SETTINGS: ClassVar[str] = "the agent's settings, bars.*, partitions or bounds"

    def __init__(self, configuration: DerivedConfiguration, partition: int) -> None:
        self.configuration = configuration
        self.partition = partition
        self.next: int | None = None
        #: Greatest event time in ns that was seen, for metrics.
        self.maximum: int | None = None
        self.counts = dict.fromkeys(self.OUTCOMES, 0)
        self.details: dict[str, int] = {}
        self.dead_reasons: dict[str, int] = {}
        self.pending_bytes = 0
        self._outputs: dict[str, list[OutputRecord | RoutedRecord]] = {}

    # --- what a subclass says --------------------------------------------------------------

    @abstractmethod
    def take_record(self, value: bytes, offset: int, append_time: int) -> str:
        """Take a record; return its outcome, one of `OUTCOMES`.

        Args:
            append_time: the broker's, in ns.

        Raises:
            BadRecordError: it is dead; nothing was changed.
        """

    def changed_rows(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Rows that have changed since the last call, None to delete; no key is `m`.

        Their order must not depend on that of a set, which differs from process to process.
        """
        return ()

    def restore_row(self, key: bytes, row: bytes) -> None:
        """Take in a row of a prefix that the stage loads."""
        raise ValueError(f"unknown row {key!r}")

    def read_ahead(self, rows_of: RowsOf) -> Iterator[None]:
        """Have in memory what the next records will ask the store for; yields after each piece.

        Args:
            rows_of: all rows of the store whose keys begin with one of the prefixes.
        """
        return iter(())

    def stored(self) -> None:  # noqa: B027 - most have nothing to do then
        """What was last taken can be read from the store."""

    @property
    def rows(self) -> int:
        """How many rows are in memory, for metrics."""
        return 0

    def clock_due(self, idle: int) -> int | None:
        """Event time (ns) of the clock record to write, if any, at the end of a log that is quiet.

        What waits for time to pass asks for it here, and goes on when the record is in the log.

        Args:
            idle: ns since the log last moved.
        """
        return None

    def announcements(self) -> Sequence[bytes]:
        """Control records that the source log lacks; what they say holds once it comes by the log.

        Asked for several times a second.
        """
        return ()

    # --- what it uses ----------------------------------------------------------------------

    def put(self, output: str, key: bytes, value: bytes) -> None:
        """Publish a record with the next checkpoint."""
        records = self._outputs.get(output)
        if records is None:
            records = self._outputs[output] = []
        records.append(_new(OutputRecord, (key, value, NO_HEADERS)))
        self.pending_bytes += len(value) + 100

    def route(self, output: str, partition: int, key: bytes, value: bytes) -> None:
        """Publish a record in another partition than the source's with the next checkpoint."""
        self._outputs.setdefault(output, []).append(RoutedRecord(key, value, NO_HEADERS, partition))
        self.pending_bytes += len(value) + 100

    # --- what the stage calls --------------------------------------------------------------

    def begin(self, offset: int) -> None:
        """The log begins at `offset`; nothing of it was taken."""
        self.next = offset

    @property
    def pending_outputs(self) -> int:
        """Records that no checkpoint has taken."""
        return sum(map(len, self._outputs.values()))

    def apply(self, batch: RecordBatch) -> None:
        """Take a batch whose `base` is `next`.

        Raises:
            ValueError: the batch does not begin where the state ends.
        """
        if self.next is not None and batch.base != self.next:
            raise ValueError(f"batch begins at {batch.base}, the state at {self.next}")
        counts, limit, take = self.counts, self.configuration.max_value_bytes, self.take_record
        offsets, times = batch.offsets.tolist(), batch.append_times.tolist()
        places = zip(batch.values, offsets, times, strict=True)
        for position, (value, offset, append_time) in enumerate(places):
            try:
                if value is None:
                    raise BadRecordError("null")
                if not value:
                    raise BadRecordError("empty")
                if len(value) > limit:
                    raise BadRecordError("too_large")
                counts[take(value, offset, append_time)] += 1
            except BadRecordError as error:
                self._bury(batch, position, str(error))
        self.next = batch.next

    def _bury(self, batch: RecordBatch, position: int, reason: str) -> None:
        self.counts["dead"] += 1
        self.dead_reasons[reason] = self.dead_reasons.get(reason, 0) + 1
        value = batch.values[position]
        record = OutputRecord(None, value, headers_of(reason, batch, position))
        self._outputs.setdefault("dead", []).append(record)
        self.pending_bytes += len(value or b"") + 100

    def take(self, topic_id: str) -> Taken:
        """Freeze what has changed since the last call: outputs, rows and the marker."""
        if self.next is None:
            raise ValueError("nothing was applied yet")
        taken = Taken(self.next, self._outputs)
        self._outputs, self.pending_bytes = {}, 0
        marker = Marker(
            version=self.ROW_VERSION,
            next=self.next,
            maximum=self.maximum,
            historical=False,
            counts=dict(self.counts),
            results_hash=self.configuration.results_hash,
            topic_id=topic_id,
            sources=[],
            details=dict(self.details),
        )
        taken.rows += self.changed_rows()
        taken.rows.append((MARKER_KEY, encode_marker(marker)))
        return taken

    def restore(self, marker: Marker, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Go on from a marker and the rows whose prefixes the stage loads."""
        self.next, self.maximum = marker.next, marker.maximum
        self.counts = dict.fromkeys(self.OUTCOMES, 0) | marker.counts
        self.details = dict(marker.details)
        for key, row in rows:
            self.restore_row(key, row)


class KeyedPartition(DerivedPartition, Generic[Entry]):
    """A partition whose state is an entry a key, each for itself."""

    def __init__(
        self, configuration: DerivedConfiguration, partition: int, read: Reader | None = None
    ) -> None:
        super().__init__(configuration, partition)
        self._read = read
        self._entries: dict[bytes, Entry] = {}
        #: In the order of the log: nearly that of the names, in which they are sorted quickly.
        self._changed: dict[bytes, None] = {}

    @abstractmethod
    def decode(self, key: bytes, row: bytes | None) -> Entry:
        """Make an entry of its row, or a new one."""

    @abstractmethod
    def encode(self, key: bytes, entry: Entry) -> bytes:
        """Make a row of an entry; it shares nothing that later records change."""

    def entry(self, key: bytes) -> Entry:
        """The entry of a key, which is about to change."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = self.load_entry(key)
        self._changed[key] = None
        return entry

    def read_ahead(self, rows_of: RowsOf) -> Iterator[None]:
        """Read entries that are needed soon, as many as may be held; yields after each."""
        for row_key, _ in rows_of([ENTRY_PREFIX]):
            key = row_key[len(ENTRY_PREFIX) :]
            if len(self._entries) >= self.configuration.max_entries:
                return
            if key not in self._entries and self.is_needed_soon(key):
                self._entries[key] = self.load_entry(key)
            yield

    def is_needed_soon(self, key: bytes) -> bool:
        """Whether records of a key come often; of those others it is read when one comes."""
        return True

    def load_entry(self, key: bytes) -> Entry:
        """Make an entry of what the store has of it."""
        return self.decode(key, self._stored_row(ENTRY_PREFIX + key))

    def rows_of(self, key: bytes) -> list[tuple[bytes, bytes | None]]:
        """Rows that hold an entry that has changed."""
        return [(ENTRY_PREFIX + key, self.encode(key, self._entries[key]))]

    def _stored_row(self, key: bytes) -> bytes | None:
        return None if self._read is None else self._read(key)

    @property
    def rows(self) -> int:
        """How many entries are in memory."""
        return len(self._entries)

    def changed_rows(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Rows of the entries that have changed since the last call."""
        changed, self._changed = sorted(self._changed), {}
        return [row for key in changed for row in self.rows_of(key)]

    def stored(self) -> None:
        """What was last taken can be read from the store."""
        if len(self._entries) > self.configuration.max_entries:
            # All of them: telling which is used least would cost more at each record.
            self._entries = {key: self._entries[key] for key in self._changed}


State = TypeVar("State", bound=DerivedPartition)


def load(state: State, topic_id: str, read: Reader, rows: Iterable[tuple[bytes, bytes]]) -> State:
    """Let a new state go on from its store; it stays new where there is no marker.

    Args:
        read: one row by key, of the store that the state reads, too.
        rows: all rows of the prefixes that the stage loads.

    Raises:
        StateRefusedError: the store belongs to other settings, another topic, or newer code.
    """
    row = read(MARKER_KEY)
    if row is not None:
        marker = decode_marker(row)
        expected = state.configuration.results_hash
        versions = tuple(range(1, state.ROW_VERSION + 1))
        check_marker(marker, expected, topic_id, versions, state.SETTINGS)
        state.restore(marker, rows)
    return state
