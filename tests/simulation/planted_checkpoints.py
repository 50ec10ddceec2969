"""Faults of checkpoints: what is in a transaction, in which order, and what a failure means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from aiokafka.errors import KafkaConnectionError, KafkaError, ProducerFenced

from agents.windowed import WindowedState
from app.contracts.outputs import Taken
from app.streaming import transaction
from app.streaming.engine import Engine
from app.streaming.packing import Row
from app.streaming.rebalance import Rebalances
from app.streaming.runner import PartitionRunner
from app.streaming.transaction import ProducerOptions, TransactionalProducer
from tests.simulation.planted_tools import Deed, changed, fault

Records = Mapping[str, Sequence[Row]]
Pieces = Iterator[tuple[str | None, Sequence[Row]]]
#: In `TransactionalProducer.publish`: what is sent, in its order; None ends a transaction.
_ROWS = "for topic, number, rows in _by_partition(records, partition)"
_PIECES = "for topic, number, rows in pieces(records, changelog, partition)"
_BATCHES = "for each in self._batches(rows, self._limits.get(topic))"
_OR_END = "for each in ([end] if topic is None else self._batches(rows, self._limits.get(topic)))"
_LOOP = "for topic, number, batch, count in batches:"
_PIECEWISE = f"""{_LOOP}
    if topic is None:
        await between(producer, sent)
        continue"""
_COMMIT = "await producer.commit_transaction()"
#: In `PartitionRunner.checkpoint`.
_PUBLISH = "following = await self._producer.publish("
_STORE = "self._store.write, taken.rows, following, self._changelog_id"
_FAILED = "self._context.metrics.checkpoint_failed(self.stage.agent, error)"
_CLEARED = "self._dirty_since = self._output_since = None"


def _piecewise(deed: Deed, pieces: Callable[[Records, str], Pieces]) -> Any:
    """Publish in several transactions."""

    async def between(producer: Any, sent: Sequence[tuple[str, asyncio.Future[object]]]) -> None:
        for _, future in sent:
            await future
        await producer.commit_transaction()
        await producer.begin_transaction()

    def numbered(
        records: Records, changelog: str, partition: int
    ) -> Iterator[tuple[str | None, int, Sequence[Row]]]:
        for topic, rows in pieces(records, changelog):
            yield topic, partition, rows

    return changed(
        *(TransactionalProducer, "publish", deed),
        *((_ROWS, _PIECES), (_BATCHES, _OR_END), (_LOOP, _PIECEWISE)),
        pieces=numbered,
        between=between,
        end=(SimpleNamespace(size=lambda: 0), 0),
    )


@fault()
def outputs_and_rows_in_two_transactions(deed: Deed) -> Iterator[None]:
    """Publish first, then remember that it was published: a crash between publishes twice."""

    def pieces(records: Records, changelog: str) -> Pieces:
        outputs = [(topic, rows) for topic, rows in records.items() if topic != changelog and rows]
        yield from outputs
        if deed(outputs):
            yield None, ()
        yield changelog, records[changelog]

    with _piecewise(deed, pieces):
        yield


@fault()
def rows_and_marker_in_two_transactions(deed: Deed) -> Iterator[None]:
    """The position is committed after the state that includes it: a crash between applies twice."""

    def pieces(records: Records, changelog: str) -> Pieces:
        *rows, marker = records[changelog]
        yield from ((topic, each) for topic, each in records.items() if topic != changelog)
        if deed(rows):
            yield changelog, rows
            yield None, ()
        yield changelog, [marker]

    with _piecewise(deed, pieces):
        yield


@fault()
def store_written_before_the_commit(deed: Deed) -> Iterator[None]:
    """The local store is ahead of the changelog where the commit then fails."""
    first = f"""deed()
held = self._store.position
reached = 0 if held is None else held.changelog_next
await asyncio.to_thread(self._store.write, taken.rows, reached, self._changelog_id)
{_PUBLISH}"""
    with changed(PartitionRunner, "checkpoint", deed, (_PUBLISH, first)):
        yield


@fault()
def store_position_written_before_its_rows(deed: Deed) -> Iterator[None]:
    """Position and rows are two writes: a crash between leaves a store without what it claims."""
    twice = f"""deed() and self._store.write, (), following, self._changelog_id
)
await asyncio.to_thread(
    {_STORE}"""
    with changed(PartitionRunner, "checkpoint", deed, (f"    {_STORE}", f"    {twice}")):
        yield


def _stored_all_the_same(deed: Deed, kind: type[KafkaError]) -> Any:
    """Write to the store what could not be committed, because of errors of a kind."""
    stored = f"""{_FAILED}
held = self._store.position
if held is not None and deed(isinstance(error, kind)):
    await asyncio.to_thread(
        self._store.write, taken.rows, held.changelog_next, self._changelog_id
    )"""
    return changed(PartitionRunner, "checkpoint", deed, (_FAILED, stored), kind=kind)


@fault()
def store_written_though_the_commit_failed(deed: Deed) -> Iterator[None]:
    """The write to the store stands in a `finally`: rows that nobody committed are believed."""
    with _stored_all_the_same(deed, KafkaError):
        yield


@fault()
def store_of_a_zombie_believed(deed: Deed) -> Iterator[None]:
    """Who was fenced writes its rows all the same, and goes on from them when it owns again."""
    with _stored_all_the_same(deed, ProducerFenced):
        yield


@fault(stops=True)
def one_transactional_id_for_all(deed: Deed) -> Iterator[None]:
    """An id of the deployment: partitions and agents fence each other for ever."""
    original = TransactionalProducer.__init__

    def shared(self: TransactionalProducer, options: ProducerOptions) -> None:
        deed()
        original(self, replace(options, transactional_id="candlewick"))

    with patch.object(TransactionalProducer, "__init__", shared):
        yield


@fault()
def random_transactional_ids(deed: Deed) -> Iterator[None]:
    """An id for each start: nothing fences a zombie, nothing ends a dead owner's transaction."""
    original = TransactionalProducer.__init__

    def fresh(self: TransactionalProducer, options: ProducerOptions) -> None:
        deed()
        name = f"{options.transactional_id}.{deed.count}"
        original(self, replace(options, transactional_id=name))

    with patch.object(TransactionalProducer, "__init__", fresh):
        yield


@fault()
def transactional_id_of_the_worker(deed: Deed) -> Iterator[None]:
    """An id for each worker and partition: it fences the worker's own past, but no other worker."""
    original = Engine._producer_options

    def own(self: Engine, agent: str, partition: int) -> ProducerOptions:
        deed()
        options = original(self, agent, partition)
        name = f"{options.transactional_id}.{self.settings.worker}"
        return replace(options, transactional_id=name)

    with patch.object(Engine, "_producer_options", own):
        yield


@fault()
def pending_outputs_dropped_at_revoke(deed: Deed) -> Iterator[None]:
    """The marker moves over outputs that the revoke has thrown away."""
    original = PartitionRunner.suspend

    async def suspend(self: PartitionRunner) -> None:
        state: Any = self.state if self.ready else None
        partition = getattr(state, "_partition", None)
        if partition is not None and deed(state.pending_outputs):
            for records in partition.publisher.outputs.values():
                records.clear()
        await original(self)

    with patch.object(PartitionRunner, "suspend", suspend):
        yield


@fault()
def checkpoint_abandoned_at_revoke(deed: Deed) -> Iterator[None]:
    """What is under way at the revoke is cancelled, and the state kept as if it was committed."""

    async def suspend(self: PartitionRunner) -> None:
        state, self.ready = self._state, False
        task, self._task = self._task, None
        if task is not None:
            deed(self._busy.locked())
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._state = state

    with patch.object(PartitionRunner, "suspend", suspend):
        yield


@fault()
def state_kept_after_a_cancelled_checkpoint(deed: Deed) -> Iterator[None]:
    """A checkpoint that a hasty revoke has cancelled counts as committed: outputs were taken."""
    kept = (("self.ready = False", "deed()"), ("self._state = None", "pass"))
    patience = "limit = self._engine.settings.broker.session_timeout / _SECOND / 2"
    with (
        changed(Rebalances, "revoked", deed, (patience, "limit = 0.02")),
        changed(PartitionRunner, "checkpoint", deed, *kept),
    ):
        yield


@fault()
def rows_serialised_after_the_acknowledgements(deed: Deed) -> Iterator[None]:
    """Outputs are frozen, sent and acknowledged; rows and marker say what is true by then."""
    take = "taken = self._state.take(self._source_id)"

    async def take_late(runner: PartitionRunner) -> Taken:
        state: Any = runner.state
        topic_id, position = runner._source_id, runner.position
        if not isinstance(state, WindowedState):
            return runner.state.take(topic_id)
        publisher = state._partition.publisher
        sent = publisher.outputs
        publisher.outputs = {name: [] for name in sent}
        await asyncio.sleep(0.01)
        since = publisher.outputs
        publisher.outputs = sent
        taken: Taken = state.take(topic_id)
        # What came in meanwhile goes out with the next checkpoint.
        publisher.outputs = since
        deed(runner.position != position)
        return taken

    kept = f"""{_CLEARED}
if self._state.pending_outputs:
    self._note(time.monotonic())"""
    with changed(
        PartitionRunner,
        "checkpoint",
        deed,
        (take, "taken = await take_late(self)"),
        (_CLEARED, kept),
        take_late=take_late,
    ):
        yield


@fault()
def failed_send_ignored(deed: Deed) -> Iterator[None]:
    """The answers to the sends are awaited, but not looked at."""

    async def settled(topic: str, future: asyncio.Future[object]) -> None:
        await asyncio.wait([future])
        deed(future.exception() is not None)

    with patch.object(transaction, "_taken", settled):
        yield


@fault()
def failed_commit_taken_as_success(deed: Deed) -> Iterator[None]:
    """A time-out of the commit is logged, and the worker goes on."""
    hopeful = f"""try:
    {_COMMIT}
except KafkaError as error:
    if not deed(not isinstance(error, ProducerFenced)):
        raise"""
    with changed(
        TransactionalProducer, "publish", deed, (_COMMIT, hopeful),
        KafkaError=KafkaError, ProducerFenced=ProducerFenced,
    ):  # fmt: skip
        yield


@fault()
def lost_answer_taken_as_failure(deed: Deed) -> Iterator[None]:
    """What a commit without an answer held is published again, without a look at the changelog."""
    again = f"""try:
    {_COMMIT}
except KafkaConnectionError:
    deed()
    await producer.start()
    return await self.publish(partition, records, changelog, source, position, group)"""
    with changed(
        TransactionalProducer, "publish", deed, (_COMMIT, again),
        KafkaConnectionError=KafkaConnectionError,
    ):  # fmt: skip
        yield


@fault(stops=True)
def changes_during_a_checkpoint_forgotten(deed: Deed) -> Iterator[None]:
    """The partition is marked clean when the transaction ends, not when it was frozen."""
    done = "self._room.set()\n"
    late = f"""deed(self.position != frozen_at)
{_CLEARED}
self._room.set()"""
    with changed(
        PartitionRunner,
        "checkpoint",
        deed,
        (_CLEARED, "frozen_at = self.position"),
        (done, f"{late}\n"),
    ):
        yield
