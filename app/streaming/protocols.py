"""What the engine asks of a stage: pure state per partition, and where its records go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app.contracts.batch import RecordBatch
from app.contracts.outputs import Taken

Reader = Callable[[bytes], bytes | None]
#: Of a store: all rows whose keys begin with one of the prefixes.
RowsOf = Callable[[Iterable[bytes]], Iterator[tuple[bytes, bytes]]]


@dataclass(frozen=True, slots=True)
class Progress:
    """What metrics say of a partition; times in ns, None while there is none."""

    event_time: int | None
    watermark: int | None
    counts: Mapping[str, int]
    dead: Mapping[str, int]
    rows: int
    ignored: Mapping[str, int] = field(default_factory=dict)


class Recall(Protocol):
    """A stretch of the source log that a state wants to see again."""

    @property
    def first(self) -> int:
        """Offset to begin at, or to go on from."""

    @property
    def end(self) -> int:
        """Offset to stop before."""

    def take(self, batch: RecordBatch) -> None:
        """Take the next batch, from `first` on; one may reach beyond `end`."""


class State(Protocol):
    """The state of one partition. All methods are synchronous and touch no client."""

    @property
    def next(self) -> int | None:
        """Next source offset; None before the first batch of a new deployment."""

    def begin(self, position: int) -> None:
        """Set the first source offset of a new deployment."""

    def read_ahead(self, rows_of: RowsOf) -> Iterator[None]:
        """Have in memory what the next records will ask the store for; yields after each piece.

        It may be left at any point: no result depends on it.
        """

    def apply(self, batch: RecordBatch) -> None:
        """Take a batch that begins at `next`.

        If `recall` is set then, only the records before `next` were taken.
        """

    @property
    def recall(self) -> Recall | None:
        """What has to be read of the log before the record at `next` can be taken."""

    def recalled(self, *, whole: bool) -> None:
        """The stretch was read; or not `whole`, because the log does not hold it any more."""

    def take(self, topic_id: str) -> Taken:
        """Freeze what the next checkpoint publishes and stores."""

    def stored(self) -> None:
        """The rows last taken can be read from the store."""

    @property
    def pending_outputs(self) -> int:
        """Outputs that no checkpoint has taken."""

    @property
    def pending_bytes(self) -> int:
        """About how many bytes they have."""

    @property
    def progress(self) -> Progress:
        """For metrics."""

    def clock_due(self, idle: int) -> int | None:
        """Event time (ns) of the clock record to write after `idle` ns without movement, if any."""

    def announcements(self) -> Sequence[bytes]:
        """Control records that the source log lacks; asked for anew until they have come by it."""

    def forming(self) -> tuple[list[bytes], int]:
        """Values to publish outside the checkpoint, and how many bars are in them."""

    def forming_of(self, symbol: str) -> list[bytes]:
        """The newest open bar of each interval of a symbol, as JSON; none of an unknown one."""


class Stage(Protocol):
    """One agent's part of a deployment."""

    @property
    def agent(self) -> str:
        """Name, as in topics and transactional ids."""

    @property
    def source(self) -> str:
        """Topic that is read."""

    @property
    def changelog(self) -> str:
        """Topic of the state rows."""

    @property
    def forming_topic(self) -> str:
        """Topic of what is published outside the checkpoints."""

    @property
    def outputs(self) -> Mapping[str, str]:
        """Output name to topic."""

    @property
    def loaded_prefixes(self) -> Sequence[bytes]:
        """Prefixes of the rows that `load` wants all of."""

    @property
    def piece(self) -> int | None:
        """Records that are applied at once, where a fetch of them takes long; None: all of them."""

    def load(
        self, partition: int, topic_id: str, read: Reader, rows: Iterable[tuple[bytes, bytes]]
    ) -> State:
        """Build a partition's state from its store.

        Raises:
            RefusalError: the stored state must not be used.
        """
