"""Where Faust calls the engine: table, table manager and recovery, as subclasses.

Faust's own recovery never ends on a transactional changelog: the high-water mark minus one is a
commit marker (faust 0.15.3, tables/recovery.py:675; upstream #176, #597 and #606 are its kin). Ours
begins in `on_recovery_completed` and goes on beside the flow; an ordinary `faust.Table` beside it
still recovers through Faust. Needed: `tests/broker/test_engine_restore.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import faust
from faust.stores.base import Store
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP

if TYPE_CHECKING:
    from app.streaming.engine import Engine

logger = logging.getLogger(__name__)

#: Reads (key, JSON-able value) of one table from a store's rows.
RowView = Callable[[bytes, bytes], tuple[bytes, Any]]


class StateStore(Store[bytes, Any]):
    """Read-only view of a stage's rows over the stores of its partitions.

    Rows change at checkpoints only, through the engine.
    """

    def __init__(self, table: StateTable, engine: Engine) -> None:
        super().__init__("memory://", table.app, table, table_name=table.name)
        self._engine = engine
        self._view = table

    def _rows(self) -> Iterator[tuple[bytes, Any]]:
        for place, runner in self._engine.runners.items():
            if place.agent == self._view.agent and runner.store is not None:
                for key, value in runner.store.rows([self._view.prefix]):
                    yield self._view.row_view(key, value)

    def __getitem__(self, key: bytes | str) -> Any:
        # Faust's page hands over the text of the address.
        row = self._view.prefix + (key.encode() if isinstance(key, str) else key)
        for place, runner in self._engine.runners.items():
            if place.agent == self._view.agent and runner.store is not None:
                value = runner.store.get(row)
                if value is not None:
                    return self._view.row_view(row, value)[1]
        raise KeyError(key)

    def get(self, key: bytes | str, default: Any = None) -> Any:
        """The value of a key, or the default."""
        try:
            return self[key]
        except KeyError:
            return default

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes | str) and self.get(key) is not None

    def __iter__(self) -> Iterator[bytes]:
        return (key for key, _ in self._rows())

    def __len__(self) -> int:
        return sum(1 for _ in self._rows())

    def keys(self) -> Any:
        """All keys on this worker."""
        return list(self)

    def values(self) -> Any:
        """All values on this worker."""
        return [value for _, value in self._rows()]

    def items(self) -> Any:
        """All rows on this worker."""
        return list(self._rows())

    def __setitem__(self, key: bytes, value: Any) -> None:
        raise TypeError("rows change at checkpoints only")

    def __delitem__(self, key: bytes) -> None:
        raise TypeError("rows change at checkpoints only")

    def apply_changelog_batch(self, *arguments: Any, **options: Any) -> None:
        """Never needed: the engine restores."""
        raise TypeError("the engine restores this table")

    def persisted_offset(self, tp: TP) -> int | None:
        """None: the engine keeps the position."""
        return None

    def reset_state(self) -> None:
        """`candlewick reset` removes a deployment; `faust reset` must not tear rows from it."""
        raise TypeError("use `candlewick reset`")

    async def backup_partition(self, *arguments: Any, **options: Any) -> None:
        """Not offered: the changelog is the backup."""
        raise TypeError("the changelog is the backup")

    def restore_backup(self, *arguments: Any, **options: Any) -> None:
        """Not offered: the changelog is the backup."""
        raise TypeError("the changelog is the backup")


class StateTable(faust.Table[bytes, Any]):
    """A stage's rows as a Faust table, for its web views and router.

    Keys are bytes: with text keys Faust's router hashes the JSON form, quotes and all, and finds
    another partition than the producer did (upstream #514).
    """

    def __init__(
        self,
        app: faust.App,
        *,
        engine: Engine,
        agent: str,
        source: str,
        changelog: str,
        prefix: bytes,
        row_view: RowView,
        **options: Any,
    ) -> None:
        self.engine = engine
        self.agent = agent
        self.source = source
        self.prefix = prefix
        self.row_view = row_view
        self._changelog = changelog
        super().__init__(app, key_type=bytes, value_type=bytes, **options)

    def _changelog_topic_name(self) -> str:
        return self._changelog

    def _new_store(self) -> Any:
        return StateStore(self, self.engine)

    async def on_start(self) -> None:
        """Start the view; topics are made and checked before (app/admin.py).

        Faust's router asks the producer for the partition of a key and raises where the producer
        has not sent to the topic before (faust 0.15.3, assignor/partition_assignor.py:457).
        """
        await self.add_runtime_dependency(self.data)
        producer: Any = self.app.producer
        await producer._producer.partitions_for(self._changelog)


class StateRecovery(Recovery):
    """Faust's recovery for other tables; ours are restored by the engine."""

    # Faust's type has neither an engine nor our consumer.
    app: Any

    _assigned: set[TP]
    _assigned_generation = 0

    def _is_ours(self, table: Any) -> bool:
        return isinstance(table, StateTable)

    def add_active(self, table: Any, tp: TP) -> None:
        """Leave our tables to the engine."""
        if not self._is_ours(table):
            super().add_active(table, tp)

    def add_standby(self, table: Any, tp: TP) -> None:
        """Leave our tables to the engine."""
        if not self._is_ours(table):
            super().add_standby(table, tp)

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],
        newly_assigned: set[TP],
        generation_id: int = 0,
    ) -> None:
        """Note the assignment, and really pause the changelogs' partitions."""
        self._assigned = set(assigned)
        await self.app.consumer.pause_changelogs(self.app.engine.changelogs)
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    async def _resume_streams(self, generation_id: int = 0) -> None:
        """Let the engine begin, where no agent has a table.

        Then Faust has nothing to recover, and comes here instead of to `on_recovery_completed`
        (faust 0.15.3, tables/recovery.py:377); tests/broker/test_derived_indicators.py needs it.
        """
        self.app.engine.on_assigned(self._assigned, generation_id)
        await super()._resume_streams(generation_id)
        if not self.app.rebalancing:
            self.app.engine.on_delivering()

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Let the engine begin; let Faust seek and resume what needs no restore."""
        self.app.engine.on_assigned(self._assigned, generation_id)
        await super().on_recovery_completed(generation_id)
        if not self.app.rebalancing:
            self.app.engine.on_delivering()


class StateTableManager(TableManager):
    """Faust's table manager with our recovery, without its second of sleep at the start."""

    app: Any

    @property
    def recovery(self) -> Recovery:
        """The recovery service."""
        if self._recovery is None:
            self._recovery = StateRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery

    async def on_start(self) -> None:
        """As Faust, but for `sleep(1.0)` (tables/manager.py:140): first event after 0.6 s."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()

    async def on_stop(self) -> None:
        """Stop intake, checkpoint and release everything, then as Faust."""
        await self.app._fetcher.stop()
        await self.app.engine.stop()
        await super().on_stop()
