"""Trade ids of a partition: remembered for the correction horizon, forgotten by the watermark.

An id first seen with event time T belongs to minute floor(T / 60 s) and is remembered while the
end of that minute plus the horizon lies ahead of the watermark. Whether it still is is judged per
record, so when memory is really released (`forget`) changes nothing.

Data that flows: a batch's identities as bytes (`PackedTexts`), with the minutes and watermarks of
its records -> a store judges and remembers them -> rows of a checkpoint, by minute.

There are two stores with the same answers and rows (`tables/id_rows.py`), the compiled one
(`_ids.pyx`) and, where it is missing, `PureStore`. Neither hashes ids to less: two ids with one
hash would lose a trade.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from tables.packed_texts import Int64Array, PackedTexts
from tables.pure_identifiers import MINUTE, PureStore

__all__ = ["MINUTE", "SEPARATOR", "Identifiers", "PackedTexts", "join_identity"]

logger = logging.getLogger(__name__)

#: Joins symbol, venue and id; the contract keeps it out of them.
SEPARATOR = "\0"
#: Texts in one row: some 100 KB, far below a topic's size limit.
IDENTITIES_PER_ROW = 2_000

#: None where it is missing.
CompiledStore: Any = None
try:
    from tables import _ids
except ImportError as error:
    logger.debug("no compiled trade ids: %s", error)
else:
    CompiledStore = _ids.CompiledStore


def join_identity(symbol: str, venue: str | None, identifier: str) -> str:
    """The identity of a trade within its partition."""
    return f"{symbol}{SEPARATOR}{venue or ''}{SEPARATOR}{identifier}"


class Identifiers:
    """The remembered identities. `horizon` in ns, at least grace + correction horizon."""

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon
        self._store: Any = (PureStore if CompiledStore is None else CompiledStore)(horizon)
        #: Rows in the store of the partition, by minute.
        self._chunks: dict[int, list[bytes]] = {}
        self._forgotten_chunks: list[bytes] = []

    def __len__(self) -> int:
        return len(self._store)

    def take(
        self,
        identities: PackedTexts,
        minutes: Int64Array,
        watermarks: Int64Array,
        keep: npt.NDArray[np.bool_],
    ) -> int:
        """Judge the identities of the rows that are kept, in their order; remember the new ones.

        Args:
            minutes: of the event times.
            watermarks: before each record, ascending, in ns.
            keep: cleared where the identity is remembered already.

        Returns:
            How many duplicates there are.
        """
        found: int = self._store.take(
            *(identities.data, identities.begin, identities.length),
            *(minutes, watermarks, keep.view(np.uint8)),
        )
        return found

    def seen(self, identity: str, watermark: int) -> bool:
        """Whether the identity is remembered at this watermark."""
        found: bool = self._store.seen(identity, watermark)
        return found

    def forget(self, watermark: int) -> None:
        """Release the minutes that no record can match any more."""
        for minute in [each for each in self._chunks if not self._remembers(each, watermark)]:
            self._forgotten_chunks.extend(self._chunks.pop(minute))
        self._store.forget(watermark)

    def _remembers(self, minute: int, watermark: int) -> bool:
        return (minute + 1) * MINUTE + self._horizon > watermark

    def take_changes(self) -> tuple[list[tuple[int, list[bytes]]], list[bytes]]:
        """What to store since the last call: new rows by minute, and keys of rows to delete."""
        deleted, self._forgotten_chunks = self._forgotten_chunks, []
        return self._store.take_fresh(IDENTITIES_PER_ROW), deleted

    def stored(self, minute: int, key: bytes) -> None:
        """Note the row that holds a chunk of a minute, to delete it once forgotten."""
        self._chunks.setdefault(minute, []).append(key)

    def restore(self, minute: int, key: bytes, row: bytes) -> None:
        """Take in a stored chunk; an identity may be in those of two minutes.

        Raises:
            ValueError: the row is not one.
        """
        self._store.restore(minute, row)
        self.stored(minute, key)
