"""What the agents behind the bars share: their state and their stage, as the engine wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from agents.states import PartitionState
from app.contracts.outputs import Taken
from app.exits import RefusalError
from app.settings import Settings
from app.streaming.protocols import Progress, Reader, RowsOf
from app.topics import output_topic, output_topics, source_topic
from tables.derived import DerivedConfiguration, DerivedPartition, load
from tables.snapshot import StateRefusedError

#: Of a partition, in memory: some 10 KB each.
MAX_ENTRIES = 50_000
#: Builds a partition's state without content: its number, and how to read its rows.
Make = Callable[[int, Reader], DerivedPartition]


def derived_configuration(
    settings: Settings, agent: str, max_entries: int = MAX_ENTRIES
) -> DerivedConfiguration:
    """The settings that each derived stage depends on, as plain values."""
    return DerivedConfiguration(
        partitions=settings.topics.partitions,
        results_hash=settings.hash_of(agent),
        # What the bars agent writes is bounded already; its dead letters are half of this.
        max_value_bytes=settings.topics.max_message_bytes,
        max_entries=max_entries,
    )


class DerivedState(PartitionState[DerivedPartition]):
    """A `DerivedPartition` as the engine wants it."""

    def read_ahead(self, rows_of: RowsOf) -> Iterator[None]:
        """Entries of its partition."""
        return self._partition.read_ahead(rows_of)

    def take(self, topic_id: str) -> Taken:
        """Freeze a checkpoint."""
        return self._partition.take(topic_id)

    def stored(self) -> None:
        """The rows last taken are in the store."""
        self._partition.stored()

    @property
    def pending_outputs(self) -> int:
        """Outputs that no checkpoint has taken."""
        return self._partition.pending_outputs

    @property
    def pending_bytes(self) -> int:
        """About how many bytes they have."""
        return self._partition.pending_bytes

    @property
    def progress(self) -> Progress:
        """For metrics."""
        partition = self._partition
        return Progress(
            partition.maximum,
            None,
            dict(partition.counts),
            dict(partition.dead_reasons),
            partition.rows,
            dict(partition.details),
        )

    def clock_due(self, idle: int) -> int | None:
        """What its partition waits for."""
        return self._partition.clock_due(idle)

    def announcements(self) -> Sequence[bytes]:
        """What its partition wants to be said in the log."""
        return self._partition.announcements()

    def forming(self) -> tuple[list[bytes], int]:
        """Nothing is published beside the checkpoints."""
        return [], 0

    def forming_of(self, symbol: str) -> list[bytes]:
        """Nothing either."""
        return []


class DerivedStage:
    """One agent's part of a deployment: source and outputs from the topic table."""

    #: At some 40 us a record: a fetch of 4 MB has 90,000 bars.
    piece = 1_000

    def __init__(
        self,
        settings: Settings,
        agent: str,
        make: Make,
        loaded_prefixes: Sequence[bytes] = (),
    ) -> None:
        self.agent = agent
        self.source = source_topic(settings, agent)
        self.outputs = output_topics(settings, agent)
        self.changelog = output_topic(settings, f"{agent}.changelog")
        self.forming_topic = output_topic(settings, f"{agent}.forming")
        self.partitions = settings.topics.partitions
        self.loaded_prefixes = loaded_prefixes
        self._make = make

    def load(
        self, partition: int, topic_id: str, read: Reader, rows: Iterable[tuple[bytes, bytes]]
    ) -> DerivedState:
        """Build a partition's state from its store.

        Raises:
            RefusalError: it belongs to other settings or another source topic.
        """
        try:
            state = load(self._make(partition, read), topic_id, read, rows)
        except StateRefusedError as error:
            raise RefusalError(str(error)) from error
        return DerivedState(state)
