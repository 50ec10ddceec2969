"""What this worker can answer by itself: its partitions, their rows, closed bars, forming bars.

All of it runs on the event loop's thread, without waiting, bounded by its limits. Only partitions
that are ready here answer; the others are not available (503), or missing from a listing.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.durations import format_duration
from app.observe.health import HealthState
from app.streaming.runner import PartitionRunner, RunnerKey
from app.streaming.store import PartitionStore, StoreDamagedError
from app.streaming.tables import StateTable
from app.topics import WINDOWED
from app.views.follower import FollowedView, Views
from app.views.partition import ViewPartition
from app.web.answers import time_fields, unknown, with_times
from app.web.candles import candle, parse_bar
from app.web.cluster import Place

if TYPE_CHECKING:
    from app.streaming.engine import Engine

#: What the bars of an agent are made of, as the API calls it.
KINDS = {"trades": "bars", "quotes": "quotes"}
VIEW_SUFFIX = ".closed"


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the API names it; `state` has the rows of a state table, else it is a view."""

    name: str
    agent: str
    help: str
    state: StateTable | None

    @property
    def kind(self) -> str:
        """`state` or `view`."""
        return "view" if self.state is None else "state"


class Local:
    """This worker's part of each answer.

    Args:
        own: this worker's address.
        tables: all Faust tables of the application.
    """

    def __init__(
        self,
        own: str,
        tables: Callable[[], Mapping[str, Any]],
        engine: Engine,
        views: Views,
        health: HealthState,
    ) -> None:
        self.own = own
        self._tables = tables
        self._engine = engine
        self._views = views
        self._health = health
        self.settings = engine.settings
        self.sources = {stage.agent: stage.source for stage in engine.stages.values()}

    @property
    def tables(self) -> dict[str, Table]:
        """All tables by name."""
        found = {}
        for table in self._tables().values():
            if isinstance(table, StateTable):
                found[str(table.name)] = Table(str(table.name), table.agent, table.help, table)
        if self._views.enabled:
            for agent in (agent for agent in self.sources if agent in WINDOWED):
                name = f"{agent}{VIEW_SUFFIX}"
                text = "Closed bars of each symbol, newest revisions"
                found[name] = Table(name, agent, text, None)
        return dict(sorted(found.items()))

    def table(self, name: str) -> Table:
        """One table.

        Raises:
            ApiError: 404, there is none of that name.
        """
        table = self.tables.get(name)
        if table is None:
            raise unknown("table", name)
        return table

    # --- what is ready here ----------------------------------------------------------------

    def runner(self, place: Place) -> PartitionRunner:
        """The ready runner of a partition.

        Raises:
            ApiError: 503, it is not here or not ready.
        """
        source = self.sources[place.agent]
        runner = self._engine.runners.get(RunnerKey(source, place.partition, place.agent))
        if runner is None:
            raise place.unavailable("it is being taken over")
        if not runner.ready:
            raise place.unavailable("it is being restored")
        return runner

    def view(self, place: Place) -> FollowedView:
        """The open view of a partition that is ready.

        Raises:
            ApiError: 503, it is not here or not ready.
        """
        self.runner(place)
        followed = self._views.get(place.agent, place.partition)
        if followed is None:
            raise place.unavailable("its view is being opened")
        if not followed.whole:
            raise place.unavailable(f"its view is being read, {followed.behind} records to go")
        return followed

    def _ready(self, agent: str) -> Iterator[PartitionRunner]:
        for key, runner in sorted(self._engine.runners.items()):
            if key.agent == agent and runner.ready and runner.store is not None:
                yield runner

    def _covered(self, agent: str, partition: int) -> dict[str, Any]:
        return {"agent": agent, "partition": partition}

    # --- listings --------------------------------------------------------------------------

    def list_partitions(self) -> dict[str, Any]:
        """Each owned partition, ready or not."""
        ends = self._engine.end_offsets()
        now = time.monotonic()
        phases = {
            (entry["agent"], entry["partition"]): entry
            for entry in self._health.report()["partitions"]
        }
        found = []
        for key, runner in sorted(self._engine.runners.items()):
            agent, tp = key.agent, key.tp
            progress = runner.state.progress if runner.ready else None
            followed = self._views.get(agent, tp.partition)
            end, at = ends.get(tp), runner.checkpointed_at
            phase = phases.get((agent, tp.partition), {"phase": "restoring", "reason": ""})
            found.append(
                {
                    "agent": agent,
                    "partition": tp.partition,
                    "owner": self.own,
                    "answered": True,
                    "phase": phase["phase"],
                    "reason": phase["reason"],
                    "position": runner.position if runner.ready else None,
                    "lag": max(0, end - runner.position)
                    if runner.ready and end is not None
                    else None,
                    **time_fields("watermark", None if progress is None else progress.watermark),
                    **time_fields("event_time", None if progress is None else progress.event_time),
                    "checkpoint_age_seconds": None if at is None else round(now - at, 3),
                    "counts": {} if progress is None else dict(progress.counts),
                    "rows": None if progress is None else progress.rows,
                    "view_behind": None if followed is None else followed.behind,
                    "view_rows": None
                    if followed is None or followed.view is None
                    else followed.view.rows,
                }
            )
        covered = [self._covered(each["agent"], each["partition"]) for each in found]
        return {"partitions": found, "covered": covered}

    def list_tables(self) -> dict[str, Any]:
        """Each table with its number of rows here."""
        found, covered = [], []
        for table in self.tables.values():
            rows = 0
            for runner in self._ready(table.agent):
                if table.kind == "state":
                    rows += runner.state.progress.rows
                    covered.append(self._covered(table.agent, runner.partition))
                else:
                    followed = self._views.get(table.agent, runner.partition)
                    rows += followed.view.rows if followed and followed.view else 0
            found.append({"name": table.name, "rows": rows})
        return {"tables": found, "covered": covered}

    def list_rows(self, table: Table, prefix: str, after: str, limit: int) -> dict[str, Any]:
        """Up to `limit` rows whose key has the prefix and comes after `after`, sorted."""

        def take(runner: PartitionRunner) -> list[dict[str, Any]] | None:
            if table.state is not None:
                return self._state_rows(table.state, runner, prefix, after, limit)
            followed = self._views.get(table.agent, runner.partition)
            if followed is None or not followed.whole:
                return None
            with _damage_noted(followed) as view:
                names = itertools.groupby(view.series(prefix, after), key=lambda each: each.symbol)
                chosen = [(symbol, [one.length for one in group]) for symbol, group in names][
                    :limit
                ]
                return [
                    self._view_row(view, runner.partition, symbol, lengths, 1)
                    for symbol, lengths in chosen
                ]

        return self._listing("rows", [table.agent], take, limit)

    def list_symbols(self, prefix: str, after: str, limit: int) -> dict[str, Any]:
        """Up to `limit` symbols with the prefix after `after`, with their intervals and kinds."""
        states = {each.agent: each.state for each in self.tables.values() if each.state is not None}

        def take(runner: PartitionRunner) -> list[dict[str, Any]] | None:
            agent = runner.stage.agent
            kind = next(kind for kind, owner in KINDS.items() if owner == agent)
            found: dict[str, set[int]] = {}
            followed = self._views.get(agent, runner.partition)
            if followed is not None:
                if not followed.whole:
                    return None
                with _damage_noted(followed) as view:
                    for symbol, length in view.series(prefix, after):
                        if symbol not in found and len(found) >= limit:
                            break
                        found.setdefault(symbol, set()).add(length)
            names = _state_keys(runner.store, states[agent], prefix, after)
            for symbol, _ in itertools.islice(names, limit):
                found.setdefault(symbol, set()).update(self.settings.bars.intervals)
            return [
                {"key": symbol, "kinds": [kind], "lengths": sorted(lengths)}
                for symbol, lengths in sorted(found.items())[:limit]
            ]

        return self._listing("symbols", [a for a in self.sources if a in states], take, limit)

    def _listing(
        self,
        name: str,
        agents: list[str],
        take: Callable[[PartitionRunner], list[dict[str, Any]] | None],
        limit: int,
    ) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        covered = []
        for agent in agents:
            for runner in self._ready(agent):
                try:
                    rows = take(runner)
                except StoreDamagedError:
                    # Missing from the listing; the engine finds it damaged, too, and rebuilds it.
                    continue
                if rows is not None:
                    found += rows
                    covered.append(self._covered(agent, runner.partition))
        found.sort(key=lambda row: str(row["key"]))
        return {name: found[: 2 * limit], "covered": covered}

    # --- single keys -----------------------------------------------------------------------

    def row(self, table: Table, place: Place, key: str, limit: int) -> dict[str, Any]:
        """One row; of a view the newest `limit` bars of each interval.

        Raises:
            ApiError: 404, there is none; 503, its partition is not ready here.
            StoreDamagedError: a block cannot be read.
        """
        if table.state is not None:
            store = self.runner(place).store
            stored = table.state.prefix + key.encode()
            value = None if store is None else store.get(stored)
            if value is None:
                raise unknown("key", key)
            shown = with_times(table.state.row_view(stored, value)[1])
            return {"key": key, "partition": place.partition, "owner": self.own, "value": shown}
        followed = self.view(place)
        with _damage_noted(followed) as view:
            lengths = view.lengths(key)
            if not lengths:
                raise unknown("key", key)
            found = self._view_row(view, place.partition, key, lengths, limit)
            return found | {"behind": followed.behind}

    def candles(
        self, place: Place, kind: str, symbol: str, length: int, limit: int, since: int
    ) -> dict[str, Any]:
        """Closed bars, oldest first, and the forming one; `length` and `since` in ns.

        Raises:
            ApiError: 404, there is no such symbol; 503, its partition is not ready here.
            StoreDamagedError: a block cannot be read.
        """
        runner = self.runner(place)
        bars: list[bytes] = []
        known = False
        followed = self.view(place) if self._views.enabled else None
        if followed is not None:
            with _damage_noted(followed) as view:
                bars = view.history(symbol, length, limit, since)
                known = bool(bars or view.lengths(symbol))
        forming = [parse_bar(value) for value in runner.state.forming_of(symbol)]
        if not known and not forming and not self._has_state(place.agent, runner, symbol):
            raise unknown("symbol", symbol)
        label = format_duration(length)
        return {
            "symbol": symbol,
            "kind": kind,
            "interval": label,
            "bars": [candle(parse_bar(value)) for value in bars],
            "forming": next((candle(bar) for bar in forming if bar["interval"] == label), None),
            "behind": None if followed is None else followed.behind,
            "partition": place.partition,
            "owner": self.own,
        }

    def newest_bar(self, place: Place, symbol: str, length: int) -> bytes | None:
        """The newest closed bar as it was published, None where there is none; `length` in ns.

        Raises:
            ApiError: 503, its partition is not ready here.
            StoreDamagedError: a block cannot be read.
        """
        if not self._views.enabled:
            return None
        with _damage_noted(self.view(place)) as view:
            return next(iter(view.history(symbol, length, 1)), None)

    # --- rows ------------------------------------------------------------------------------

    def _has_state(self, agent: str, runner: PartitionRunner, symbol: str) -> bool:
        return runner.store is not None and any(
            runner.store.get(table.state.prefix + symbol.encode()) is not None
            for table in self.tables.values()
            if table.agent == agent and table.state is not None
        )

    def _state_rows(
        self, table: StateTable, runner: PartitionRunner, prefix: str, after: str, limit: int
    ) -> list[dict[str, Any]]:
        rows = _state_keys(runner.store, table, prefix, after)
        return [
            {
                "key": key,
                "partition": runner.partition,
                "owner": self.own,
                "value": with_times(table.row_view(table.prefix + key.encode(), value)[1]),
            }
            for key, value in itertools.islice(rows, limit)
        ]

    def _view_row(
        self, view: ViewPartition, partition: int, symbol: str, lengths: list[int], limit: int
    ) -> dict[str, Any]:
        bars = [bar for length in lengths for bar in view.history(symbol, length, limit)]
        return {
            "key": symbol,
            "partition": partition,
            "owner": self.own,
            "value": {"symbol": symbol, "bars": [with_times(parse_bar(bar)) for bar in bars]},
        }


@contextmanager
def _damage_noted(followed: FollowedView) -> Iterator[ViewPartition]:
    """Read an open view; one that turns out to be damaged is made anew by its loop."""
    if followed.view is None:
        raise StoreDamagedError("the view is being made anew")
    try:
        yield followed.view
    except StoreDamagedError:
        followed.damaged = True
        raise


def _state_keys(
    store: PartitionStore | None, table: StateTable, prefix: str, after: str
) -> Iterator[tuple[str, bytes]]:
    if store is not None:
        for stored, value in store.rows([table.prefix + prefix.encode()]):
            key = stored[len(table.prefix) :].decode()
            if key > after:
                yield key, value
