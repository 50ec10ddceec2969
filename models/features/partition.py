"""A partition of the features agents: batches in, what is published and stored out.

The features (stage.py) take whole batches, so this takes them by the batch, too; it gives their
outputs and rows to the checkpoint.

| key of a row | value |
|---|---|
| `h` | header: version, watermark's maximum, what was released, trading day, counts, sources |
| `s` symbol | its windows, what waits of it (the first of it), how many `w` rows there are |
| `w` symbol NUL number | what else waits, `WAITING_PER_ROW` records a row |

A symbol's records of one grace may be many, and a row must fit into a record of the changelog.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from app.contracts.batch import RecordBatch
from models.features.configuration import FeaturesConfiguration
from models.features.stage import OUTCOMES, FeatureStage
from tables.derived import DerivedConfiguration, DerivedPartition
from tables.partition import NO_MAXIMUM
from tables.rows import Marker
from tables.snapshot import StateRefusedError

HEADER_KEY = b"h"
SYMBOL_PREFIX = b"s"
WAITING_PREFIX = b"w"
LOADED_PREFIXES = (HEADER_KEY, SYMBOL_PREFIX, WAITING_PREFIX)
#: Some 30 KB; 200 KB where all texts are as long as they may be.
WAITING_PER_ROW = 250

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list).decode
_NUMBER = struct.Struct(">I")


class FeaturesPartition(DerivedPartition):
    """State of one partition of `ticks` or of `quotes`.

    Args:
        kind: `TradeFeatures` or `QuoteFeatures`.
        session_of: event time (ns) to the trading day of all symbols of the partition.
    """

    OUTCOMES = OUTCOMES
    SETTINGS = "features, markets, bars, partitions or bounds"

    def __init__(
        self,
        configuration: DerivedConfiguration,
        partition: int,
        kind: type[FeatureStage[Any]],
        features: FeaturesConfiguration,
        session_of: Callable[[int], int] | None,
    ) -> None:
        super().__init__(configuration, partition)

        def make(header: list[Any] | None) -> FeatureStage[Any]:
            return kind(features, partition, session_of, header)

        self._make = make
        #: Of symbols with `w` rows, how many are stored.
        self._further: dict[str, int] = {}
        self._go_on(make(None))

    def _go_on(self, features: FeatureStage[Any]) -> None:
        self._features = features
        self.counts = features.counts

    @property
    def rows(self) -> int:
        """How many symbols there are."""
        return self._features.symbols.count

    def take_record(self, value: bytes, offset: int, append_time: int) -> str:
        """Never needed: batches are taken whole.

        Raises:
            RuntimeError: it was called.
        """
        raise RuntimeError("features are taken by the batch")

    def apply(self, batch: RecordBatch) -> None:
        """Take a batch whose `base` is `next`.

        Raises:
            ValueError: the batch does not begin where the state ends.
        """
        if self.next is not None and batch.base != self.next:
            raise ValueError(f"batch begins at {batch.base}, the state at {self.next}")
        features = self._features
        features.apply(batch)
        for record in features.outputs["dead"]:
            reason = dict(record.headers)["reason"].decode()
            self.dead_reasons[reason] = self.dead_reasons.get(reason, 0) + 1
        for output, records in features.outputs.items():
            if records:
                self._outputs.setdefault(output, []).extend(records)
                self.pending_bytes += sum(len(each.value or b"") + 100 for each in records)
                features.outputs[output] = []
        self.maximum = None if features.maximum == NO_MAXIMUM else features.maximum
        self.next = batch.next

    def changed_rows(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Rows that have changed since the last call: header, symbols, what waits."""
        rows: list[tuple[bytes, bytes | None]] = [(HEADER_KEY, _encode(self._features.header()))]
        for name, (windows, waiting) in self._features.take_changes():
            parts = [
                waiting[begin : begin + WAITING_PER_ROW]
                for begin in range(0, len(waiting), WAITING_PER_ROW)
            ]
            first, further = parts[:1], parts[1:]
            row = _encode([windows, first[0] if first else [], len(further)])
            rows.append((SYMBOL_PREFIX + name.encode(), row))
            stored = self._further.pop(name, 0)
            if further:
                self._further[name] = len(further)
            for number in range(max(stored, len(further))):
                part = _encode(further[number]) if number < len(further) else None
                rows.append((_waiting_key(name, number), part))
        return rows

    def restore(self, marker: Marker, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Go on from a marker and the rows of `LOADED_PREFIXES`, in any order.

        Raises:
            StateRefusedError: the rows are of another version.
        """
        super().restore(marker, ())
        held = dict(rows)
        try:
            features = self._make(_decode(held[HEADER_KEY]))
        except ValueError as error:
            raise StateRefusedError(str(error)) from error
        for key in sorted(key for key in held if key[:1] == SYMBOL_PREFIX):
            name = key[1:].decode()
            windows, waiting, further = _decode(held[key])
            for number in range(further):
                waiting += _decode(held[_waiting_key(name, number)])
            if further:
                self._further[name] = further
            features.restore(name, [windows, waiting])
        self._go_on(features)


def _waiting_key(name: str, number: int) -> bytes:
    return WAITING_PREFIX + name.encode() + b"\0" + _NUMBER.pack(number)
