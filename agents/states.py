"""What the states of all partitions share, as the engine wants them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from app.contracts.batch import RecordBatch
from app.streaming.protocols import Recall, RowsOf


class Appliable(Protocol):
    """A partition as `tables` has it."""

    @property
    def next(self) -> int | None:
        """Next source offset."""

    def begin(self, offset: int) -> None:
        """The log begins at `offset`."""

    def apply(self, batch: RecordBatch) -> None:
        """Take a batch."""


Partition = TypeVar("Partition", bound=Appliable)


class PartitionState(Generic[Partition]):
    """A partition that takes its log once, in order."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition

    @property
    def next(self) -> int | None:
        """Next source offset."""
        return self._partition.next

    def begin(self, position: int) -> None:
        """Set the first source offset of a new deployment."""
        self._partition.begin(position)

    def read_ahead(self, rows_of: RowsOf) -> Iterator[None]:
        """Nothing: all that is needed was loaded."""
        return iter(())

    def apply(self, batch: RecordBatch) -> None:
        """Take a batch."""
        self._partition.apply(batch)

    def announcements(self) -> Sequence[bytes]:
        """Nothing is to be said in the log."""
        return ()

    @property
    def recall(self) -> Recall | None:
        """Nothing: what comes does not depend on the log before it."""
        return None

    def recalled(self, *, whole: bool) -> None:
        """Never needed.

        Raises:
            RuntimeError: it was called.
        """
        raise RuntimeError("nothing was asked for")
