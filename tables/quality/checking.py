"""The quality agents' state of one partition: values in; findings and the cleaned data out.

Each record has one outcome: `clean` (nothing was flagged: its bytes go to the output `clean`, under
its symbol), `flagged` (`details` say by what), `control`, `dead`. Bad records are counted by their
reason and sent nowhere: the bars and quotes agents bury them. Findings and summaries go to the
output `quality`, under their symbol, as they are found; the severe ones raise `alerts`.

| key of a row | value, as JSON: numbers that are missing may sum to more than msgpack holds |
|---|---|
| `p` | row of the partition (`QualityPartition.row`) and the sources, in order of first sight |
| `s` symbol | row of a symbol (`QualityPartition.take_changed`) |

All rows are held in memory: any record may move the clock that all symbols are judged by.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final, Generic

import msgspec

from app.contracts.batch import RecordBatch
from app.contracts.wire import (
    ClockRecord,
    ControlRecord,
    CorrectionRecord,
    QuoteRecord,
    TradeRecord,
    encoder,
)
from tables.alerts.raising import of_quality, raise_alerts
from tables.derived import BadRecordError, DerivedConfiguration, DerivedPartition
from tables.learning import State, StateVersionError
from tables.quality.events import FLAG_NAMES, Input, QualityEventRecord, published
from tables.quality.intake import Bounds, Judge, decode_quote, decode_trade
from tables.quality.partition import QualityPartition, Record
from tables.rows import SYMBOL_PREFIX, Marker
from tables.snapshot import StateRefusedError

PARTITION_KEY: Final = b"p"
#: Of the rows that the stage loads.
LOADED_PREFIXES: Final = (SYMBOL_PREFIX, PARTITION_KEY)

_decode_row = msgspec.json.Decoder(list).decode


class CheckedPartition(DerivedPartition, Generic[Record]):
    """State of one partition of a quality agent."""

    OUTCOMES = ("clean", "flagged", "control", "dead")
    SETTINGS = "quality, markets, raising, bars, partitions or bounds"
    #: The topic that is read, as `QualityEvent`s name it.
    INPUT: ClassVar[Input]

    def __init__(
        self,
        configuration: DerivedConfiguration,
        partition: int,
        bounds: Bounds,
        quality: QualityPartition[Record],
        raised: Mapping[str, int] | None = None,
    ) -> None:
        """Begin with `quality`, which has taken nothing yet.

        Args:
            raised: of `tables.alerts.raising.of_quality`; None: no alerts are raised.
        """
        super().__init__(configuration, partition)
        self._bounds = bounds
        self._judge = Judge(bounds, partition, configuration.partitions)
        self._quality = quality
        self._raised = raised

    @abstractmethod
    def decode(self, value: bytes) -> Record | ControlRecord:
        """Decode a value of the topic.

        Raises:
            BadRecordError: it is no record of the contract.
        """

    @property
    def rows(self) -> int:
        """How many symbols there are."""
        return len(self._quality.symbols)

    def take_record(self, value: bytes, offset: int, append_time: int) -> str:
        """Take a value; its outcome.

        Raises:
            BadRecordError: it is bad; nothing was changed.
        """
        record, quality = self.decode(value), self._quality
        if isinstance(record, TradeRecord | QuoteRecord):
            self._judge.check(record, append_time, quality.symbols)
            flags = quality.take(record, offset, append_time)
            outcome = "flagged" if flags else "clean"
            if flags:
                self._count(flags)
            else:
                self.put("clean", record.symbol.encode(), value)
        else:
            if isinstance(record, CorrectionRecord):
                self._judge.check_correction(record)
            elif isinstance(record, ClockRecord):
                self._check_clock(record, append_time)
            quality.take_control(record, offset, append_time)
            outcome = "control"
        if quality.outputs:
            for output in quality.take_outputs():
                found = published(output, self.INPUT)
                self.put("quality", output.symbol.encode(), encoder.encode(found))
                if self._raised is not None and isinstance(found, QualityEventRecord):
                    events = of_quality(found, append_time, self._raised)
                    raise_alerts(self, self.configuration.partitions, events)
        if quality.clock >= 0:
            self.maximum = quality.clock
        return outcome

    def changed_rows(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Rows of the symbols that have changed since the last call, and the partition's."""
        changed: list[tuple[bytes, bytes | None]] = [
            (SYMBOL_PREFIX + symbol.encode(), encoder.encode(row))
            for symbol, row in self._quality.take_changed()
        ]
        row = [self._quality.row(), self._judge.sources]
        return [*changed, (PARTITION_KEY, encoder.encode(row))]

    def restore(self, marker: Marker, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Go on from a marker and all rows.

        Raises:
            StateRefusedError: rows of another version of the checks.
        """
        super().restore(marker, ())
        own: State = []
        symbols: list[tuple[str, State]] = []
        for key, row in rows:
            if key == PARTITION_KEY:
                own, sources = _decode_row(row)
                self._judge.restore(sources)
            else:
                symbols.append((key[len(SYMBOL_PREFIX) :].decode(), _decode_row(row)))
        try:
            self._quality.restore(own, symbols)
        except StateVersionError as error:
            raise StateRefusedError(f"{error}: use --reset or another deployment name") from error

    def _check_clock(self, record: ClockRecord, append_time: int) -> None:
        if record.event_time < self._bounds.earliest_event_time:
            raise BadRecordError("event_time_too_early")
        if record.event_time > append_time + self._bounds.max_ahead:
            raise BadRecordError("event_time_too_late")

    def _count(self, flags: int) -> None:
        for flag, name in FLAG_NAMES.items():
            if flags & flag:
                self.details[name] = self.details.get(name, 0) + 1

    def _bury(self, batch: RecordBatch, position: int, reason: str) -> None:
        """Count a bad record; another agent sends it on."""
        self.counts["dead"] += 1
        self.dead_reasons[reason] = self.dead_reasons.get(reason, 0) + 1
        self._quality.take_dead(reason)


class CheckedTrades(CheckedPartition[TradeRecord]):
    """State of one partition of the agent `quality`."""

    INPUT = "ticks"

    def decode(self, value: bytes) -> TradeRecord | ControlRecord:
        """Decode a value of `ticks`.

        Raises:
            BadRecordError: it is no record of the contract.
        """
        return decode_trade(value)


class CheckedQuotes(CheckedPartition[QuoteRecord]):
    """State of one partition of the agent `quote_quality`."""

    INPUT = "quotes"

    def decode(self, value: bytes) -> QuoteRecord | ControlRecord:
        """Decode a value of `quotes`.

        Raises:
            BadRecordError: it is no record of the contract.
        """
        return decode_quote(value)
