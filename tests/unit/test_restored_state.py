"""From a store and two logs to a state: where it goes on, and what must not be gone on from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from app.exits import RefusalError
from app.observe.metrics import Metrics
from app.settings import Settings
from app.streaming import restored_state as module
from app.streaming import runner as runner_module
from app.streaming.protocols import Progress, RowsOf, Stage
from app.streaming.restore import Bounds
from app.streaming.restored_state import Restored, check_position, restore_state
from app.streaming.runner import PartitionRunner, RunnerContext
from app.streaming.store import PartitionStore, StoreDamagedError
from tests.unit.test_restore import CHANGELOG, IDENTITY, Log

SOURCE = TopicPartition("ticks", CHANGELOG.partition)
ROWS = [(b"a", b"1"), (b"b", b"2")]


@given(first=st.integers(0, 50), length=st.integers(0, 50), position=st.integers(0, 200))
def test_a_position_is_refused_exactly_where_the_log_does_not_hold_it(
    first: int, length: int, position: int
) -> None:
    limits = Bounds(first, first + length)
    if first <= position <= limits.end:
        check_position(SOURCE, position, limits)
        return
    fault = "lost to retention" if position < first else "it is another log"
    with pytest.raises(RefusalError, match=fault) as refused:
        check_position(SOURCE, position, limits)
    assert f"ticks partition {SOURCE.partition} ends at {position}" in str(refused.value)


class Kafka:
    """The two logs; the source may get records while the changelog is read."""

    def __init__(self, source: Bounds) -> None:
        self.changelog = Log([*ROWS, None], ())
        self.source = source
        self.meanwhile = 0

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Any]:
        yield self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.changelog, name)

    async def beginning_offsets(self, places: Iterable[TopicPartition]) -> dict[Any, int]:
        return {place: 0 if place == CHANGELOG else self.source.first for place in places}

    async def end_offsets(self, places: Iterable[TopicPartition]) -> dict[Any, int]:
        end = self.source.end + (self.meanwhile if self.changelog.read else 0)
        return {place: 3 if place == CHANGELOG else end for place in places}


class State:
    """What is loaded of a store: it goes on where it is told to."""

    progress = Progress(None, None, {}, {}, 0)

    def __init__(self, following: int | None, rows: Iterable[tuple[bytes, bytes]]) -> None:
        self.next = following
        self.rows = list(rows)

    def begin(self, position: int) -> None:
        self.next = position

    def read_ahead(self, rows_of: RowsOf) -> Iterator[None]:
        self.ahead: list[bytes] = []
        for key, _ in rows_of([b"a", b"b"]):
            self.ahead.append(key)
            yield


def stage(following: int | None) -> Stage:
    def load(partition: int, topic_id: str, read: Any, rows: Any) -> State:
        assert (partition, topic_id) == (SOURCE.partition, "source")
        return State(following, rows)

    return cast(
        "Stage",
        SimpleNamespace(
            agent="bars", source="ticks", changelog=CHANGELOG.topic, load=load,
            loaded_prefixes=[b"a", b"b"],
        ),
    )  # fmt: skip


async def restored(folder: Path, kafka: Kafka, following: int | None) -> Restored:
    store = PartitionStore(folder)
    try:
        return await restore_state(
            *(stage(following), SOURCE.partition, store, kafka.reader),
            source_id="source",
            changelog_id=IDENTITY,
        )
    finally:
        store.close()


async def test_a_new_state_begins_where_its_log_does(tmp_path: Path) -> None:
    found = await restored(tmp_path / "s", Kafka(Bounds(7, 20)), None)
    assert (found.position, found.state.next, found.records) == (7, 7, 2)
    assert cast("State", found.state).rows == ROWS


async def test_a_state_goes_on_where_it_was(tmp_path: Path) -> None:
    assert (await restored(tmp_path / "s", Kafka(Bounds(7, 20)), 12)).position == 12


async def test_the_end_of_the_source_is_asked_behind_the_rows(tmp_path: Path) -> None:
    """Another owner may have gone on while this process slept."""
    kafka = Kafka(Bounds(7, 20))
    with pytest.raises(RefusalError, match="it is another log"):
        await restored(tmp_path / "s", kafka, 25)
    kafka = Kafka(Bounds(7, 20))
    kafka.meanwhile = 5
    assert (await restored(tmp_path / "other", kafka, 25)).position == 25


async def test_what_is_needed_soon_is_read_before_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await restored(tmp_path / "s", Kafka(Bounds(7, 20)), 12)
    assert cast("State", found.state).ahead == [key for key, _ in ROWS]
    monkeypatch.setattr(module, "AHEAD_SECONDS", 0.0)
    found = await restored(tmp_path / "other", Kafka(Bounds(7, 20)), 12)
    # One piece: the time is looked at behind it.
    assert cast("State", found.state).ahead == [ROWS[0][0]]


class FullStore(PartitionStore):
    """Its disk is full until it is made anew."""

    cleared = 0

    def write(self, *arguments: Any) -> None:
        if not self.cleared:
            raise StoreDamagedError(f"{self.folder}: no space left")
        super().write(*arguments)

    def clear(self) -> None:
        self.cleared += 1
        super().clear()


class Producer:
    """Fences nobody."""

    client = None

    def __init__(self, options: object) -> None:
        """As the real one."""

    async def start(self) -> None:
        """It is there."""

    async def stop(self) -> None:
        """It is gone."""


async def test_a_store_that_cannot_be_written_is_made_anew_by_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RocksDB takes no write after one that failed, until it is opened again."""
    kafka = Kafka(Bounds(0, 5))

    async def topic_ids(client: object, topics: list[str]) -> dict[str, str]:
        return {"ticks": "source", CHANGELOG.topic: IDENTITY}

    monkeypatch.setattr(runner_module, "TransactionalProducer", Producer)
    monkeypatch.setattr(runner_module, "PartitionStore", FullStore)
    monkeypatch.setattr(runner_module, "topic_ids", topic_ids)
    monkeypatch.setattr(runner_module, "changelog_reader", lambda *_: kafka.reader())
    context = RunnerContext(
        connection={},
        request_timeout=1_000,
        group="d.bars",
        checkpoint=Settings().checkpoint,
        metrics=Metrics(),
        producer_options=lambda agent, partition: cast("Any", None),
        folder=lambda agent, partition: tmp_path / "s",
        failed=lambda runner, error: None,
    )
    runner = PartitionRunner(stage(3), SOURCE.partition, context)
    with pytest.raises(StoreDamagedError, match="no space left"):
        await runner.restore()
    assert not runner.ready
    kafka.changelog.read.clear()
    await runner.restore()
    store = cast("FullStore", runner.store)
    assert (runner.ready, runner.position, store.cleared) == (True, 3, 1)
    assert kafka.changelog.read == [0, 1]
    assert list(store.rows([b"a", b"b"])) == ROWS
    await runner.close()
