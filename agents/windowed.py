"""What the agents of windowed bars share: their state and their stage, as the engine wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from agents.states import PartitionState
from app.assembly import CandlewickApp
from app.contracts.outputs import Taken
from app.exits import RefusalError
from app.settings import PREFIX, Settings, SettingsError
from app.streaming.protocols import Progress, Reader
from app.streaming.tables import StateTable
from app.topics import output_topic, output_topics, source_topic
from tables.activity import ActivityKind, parse_kinds
from tables.configuration import BarsConfiguration
from tables.forming import forming_of, forming_values
from tables.partition import NO_MAXIMUM, WindowedPartition
from tables.policies import policy_of
from tables.rows import SYMBOL_PREFIX
from tables.snapshot import LOADED_PREFIXES, StateRefusedError, load, take

Partition = WindowedPartition[Any, Any]


def bars_configuration(settings: Settings) -> BarsConfiguration:
    """The settings that the bars depend on, as plain values."""
    bars = settings.bars
    hours, minutes = bars.session_end.split(":")
    return BarsConfiguration(
        intervals=bars.intervals,
        grace=bars.grace,
        correction_horizon=bars.correction_horizon,
        policy=policy_of(bars.policy),
        partitions=settings.topics.partitions,
        results_hash=settings.results_hash,
        session_end=(int(hours) * 60 + int(minutes)) * 60_000_000_000,
        session_timezone=bars.session_timezone,
        fill_forward=bars.fill_forward,
        fill_forward_limit=bars.fill_forward_limit,
        earliest_event_time=bars.earliest_event_time,
        clock_ahead=bars.clock_ahead,
        max_ahead=bars.max_ahead,
        max_symbols=bars.max_symbols,
        max_value_bytes=settings.topics.max_message_bytes // 2,
        recall_horizon=bars.recall_horizon,
        activity=activity_of(settings),
        activity_carry=bars.activity_carry,
    )


def activity_of(settings: Settings) -> tuple[ActivityKind, ...]:
    """The bars by activity.

    Raises:
        SettingsError: a kind that there is not.
    """
    try:
        return parse_kinds(settings.bars.activity)
    except ValueError as error:
        text = ",".join(settings.bars.activity)
        raise SettingsError(f"{PREFIX}BARS__ACTIVITY={text!r}: {error}") from error


class WindowedState(PartitionState[Partition]):
    """A `WindowedPartition` as the engine wants it."""

    def __init__(self, partition: Partition, max_value_bytes: int) -> None:
        super().__init__(partition)
        self._max_value_bytes = max_value_bytes

    def take(self, topic_id: str) -> Taken:
        """Freeze a checkpoint."""
        return take(self._partition, topic_id)

    def stored(self) -> None:
        """The rows last taken are in the store."""
        self._partition.windows.stored()

    @property
    def pending_outputs(self) -> int:
        """Outputs that no checkpoint has taken."""
        return sum(map(len, self._partition.publisher.outputs.values()))

    @property
    def pending_bytes(self) -> int:
        """About how many bytes they have."""
        return self._partition.publisher.pending_bytes

    @property
    def progress(self) -> Progress:
        """For metrics."""
        partition = self._partition
        started = partition.maximum != NO_MAXIMUM
        return Progress(
            partition.maximum if started else None,
            partition.watermark if started else None,
            dict(partition.counts),
            dict(partition.publisher.dead_reasons),
            len(partition.publisher.states),
            dict(partition.details),
        )

    def clock_due(self, idle: int) -> int | None:
        """The data's clock, once it has passed the end of an open window."""
        partition = self._partition
        first_end = partition.windows.first_end()
        if first_end is None or partition.historical or partition.maximum == NO_MAXIMUM:
            return None
        clock = partition.maximum + idle
        return clock if clock >= first_end + partition.configuration.grace else None

    def forming(self) -> tuple[list[bytes], int]:
        """Changed forming bars since the last call."""
        return forming_values(self._partition, self._max_value_bytes)

    def forming_of(self, symbol: str) -> list[bytes]:
        """The newest open bar of each interval of a symbol."""
        return forming_of(self._partition, symbol)


class WindowedStage:
    """One agent's part of a deployment: source and outputs from the topic table."""

    loaded_prefixes = LOADED_PREFIXES
    #: Each may close a window, at some 10 us: less than 100 ms of the event loop.
    piece = 5_000

    def __init__(
        self,
        settings: Settings,
        agent: str,
        kind: type[Partition],
        state: Callable[[Any, int], WindowedState] = WindowedState,
    ) -> None:
        self.agent = agent
        self.configuration = bars_configuration(settings)
        self.source = source_topic(settings, agent)
        self.changelog = output_topic(settings, f"{agent}.changelog")
        self.forming_topic = output_topic(settings, f"{agent}.forming")
        self.outputs = output_topics(settings, agent)
        self._kind = kind
        self._state = state

    def load(
        self, partition: int, topic_id: str, read: Reader, rows: Iterable[tuple[bytes, bytes]]
    ) -> WindowedState:
        """Build a partition's state from its store.

        Raises:
            RefusalError: it belongs to other settings or another source topic.
        """
        try:
            state = load(self._kind, self.configuration, partition, topic_id, read, rows)
        except StateRefusedError as error:
            raise RefusalError(str(error)) from error
        return self._state(state, self.configuration.max_value_bytes)


def add_table(
    app: CandlewickApp,
    stage: WindowedStage,
    row_view: Callable[[bytes, bytes], tuple[bytes, Any]],
    text: str,
) -> None:
    """Declare a stage's table; called once, before the worker starts."""
    app.tables.add(
        StateTable(
            app,
            engine=app.engine,
            agent=stage.agent,
            source=stage.source,
            changelog=stage.changelog,
            prefix=SYMBOL_PREFIX,
            row_view=row_view,
            name=stage.agent,
            help=text,
            partitions=stage.configuration.partitions,
        )
    )
