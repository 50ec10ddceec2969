"""What a sink's driver is: one outside system that takes batches of topics and says what it holds.

Data that flows: `app/sinks/consumer.py` reads topics (committed records alone, in log order), gives
each batch to `Driver.add`, calls `flush` when the driver says that it is `due`, and lets go of the
offsets that `Flushed.positions` names. So a sink is a checkpoint without state: what was not
flushed when a worker died is read again.

Invariants of a driver:

- `add` only buffers. What it holds stays until a flush has taken it, also through errors; a flush
  that failed is tried again with the same and later records. `held_bytes` bounds it: the loop reads
  no further above `sinks.max_held_bytes`.
- Records of one partition are written in the order of the log, by one writer at a time; or the
  outside system tells an older revision from a newer one by itself.
- Writing a record again changes nothing (points of the same identity, upserts, offsets kept with
  the rows): positions are let go after the write, so a crash between the two repeats it.
- A position is told only when all before it is durable outside, or is a culprit: a record that the
  system will never take, which goes to the dead-letter topic before its offset goes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from app.contracts.batch import RecordBatch
from app.exits import OperatorError


class Place(NamedTuple):
    """A partition of a topic; `topic` is without prefix and deployment, such as `bars`."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Culprit:
    """A record that the outside system will never take.

    Attributes:
        reason: for people, one line, without the record's own text.
        value: its bytes, as they lay in the log.
    """

    place: Place
    offset: int
    reason: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Flushed:
    """What a flush has done.

    Attributes:
        positions: by place, the offset before which nothing is left to write.
        rows: points, rows or keys that were written.
        culprits: in the order of the log, each before its place's position.
        passed: records that give nothing to write, by reason (`control`, `dead`, `older` ...).
    """

    positions: Mapping[Place, int] = field(default_factory=dict)
    rows: int = 0
    culprits: Sequence[Culprit] = ()
    passed: Mapping[str, int] = field(default_factory=dict)


class SinkError(OperatorError):
    """An outside system does not take what it should; the message is the operator's one line."""


class SinkUnavailableError(SinkError):
    """It is away, overloaded or full: trying again helps.

    Attributes:
        retry_after: seconds that it asks for, None where it does not say.
        limited: it answers, and asks for less (429): no sign of a fault.
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, limited: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after, self.limited = retry_after, limited


class SinkRefusesError(SinkError):
    """It will not take anything until somebody acts: credentials, a missing bucket or table.

    Tried again all the same, seldom: nothing behind it is lost, and nobody has to restart a worker.
    """


class SinkConflictError(SinkError):
    """Another writer has a partition: this one lets go of it and asks the group anew."""


class Driver(ABC):
    """One outside system. Made without touching it; used by one task, in one event loop.

    What takes the processor or blocks for longer than some milliseconds belongs into a thread.
    """

    NAME: ClassVar[str]
    #: `add` may be called while a flush is under way: then the loop reads on meanwhile. What comes
    #: so may be written by that flush or the next one.
    TAKES_MEANWHILE: ClassVar[bool] = False

    @property
    @abstractmethod
    def topics(self) -> Sequence[str]:
        """Topics that it takes where the deployment has them, without prefix and deployment."""

    @abstractmethod
    async def open(self) -> None:
        """Connect, and see that what it writes to is there; called again after an error.

        Raises:
            SinkUnavailableError: it does not answer.
            SinkRefusesError: it answers that it will take nothing.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections and of what is held; never raises, ends within some seconds."""

    @abstractmethod
    async def check(self) -> Sequence[str]:
        """Return lines that say what is there, for `candlewick sink check`; as `open` raises."""

    async def assign(self, places: Collection[Place]) -> Mapping[Place, int]:
        """Begin to write partitions, without anything held of them.

        Return the positions that the outside system keeps with its rows; for others those of the
        consumer group hold.

        Raises:
            SinkUnavailableError, SinkRefusesError: as `open`.
        """
        return {}

    def replay(self, places: Collection[Place]) -> None:  # noqa: B027 - most need not know
        """Know that what comes of these partitions is a stretch of the log once more.

        It may begin anywhere. Who keeps positions with the rows leaves them as they are: the
        deployment's own sink goes on from there.
        """

    def revoke(self, places: Collection[Place]) -> None:  # noqa: B027 - who holds nothing drops none
        """Drop what is held of partitions that go to another writer."""

    @abstractmethod
    def add(self, topic: str, batch: RecordBatch) -> None:
        """Take the next records of a partition; `batch.topic` is the broker's name of the topic."""

    @property
    @abstractmethod
    def held_bytes(self) -> int:
        """About how many bytes wait for a flush."""

    @abstractmethod
    def due(self, now: float) -> bool:
        """Whether to flush; `now` is monotonic, in seconds. False where nothing is held."""

    @abstractmethod
    async def flush(self, now: int) -> Flushed:
        """Write what is held; on an error what was not written is held still.

        Args:
            now: the present, in ns since the epoch.

        Raises:
            SinkUnavailableError, SinkRefusesError, SinkConflictError: as their names say.
        """
