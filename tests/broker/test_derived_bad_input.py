"""All that is bad to all derived agents of one worker: nothing stalls, the good part is right.

Partition 0 of every topic takes its good records with the whole list of tests/unit/bad_records.py
between them, partition 1 with 5 % of the values corrupted. What was published is compared with the
pure state of each agent, fed with the good part alone: each record at the offset and append time
that it has in the log, as if nothing had ever been between. So nothing is left out of the
comparison: positions within legs and findings are those of the log as well.

The bars and quotes agents run, too: they bury what the quality agents count as dead, and what they
publish is good input of others. So does the predictions agent's registry: the moves of its aliases
come into the log before anything else.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from aiokafka import AIOKafkaProducer

from app.admin import ensure_topics
from app.broker import EmbeddedBroker
from app.connection import bootstrap_servers
from app.settings import Settings
from app.topics import AGENT_TOPICS, WINDOWED, output_topic, output_topics, source_topic
from tables.rows import MARKER_KEY, decode_marker
from tests.broker.test_engine_quotes import wait_drained
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import Read, Value, read_topic
from tests.unit import good_models
from tests.unit.bad_logs import corrupted, interleaved
from tests.unit.bad_records import bad_records
from tests.unit.derived_feeding import Fed, Placed, buries, restored
from tests.unit.good_records import CHOSEN, DERIVED, GOOD

pytestmark = pytest.mark.broker

CLOCK = b'{"type":"clock","event_time":'
#: The partitions, by what comes to them.
LISTED, CORRUPTED = 0, 1
BATCH_BYTES = 32 * 1024
Content = tuple[bytes | None, Value, tuple[tuple[str, bytes], ...]]


@dataclass
class Outcome:
    """What is on the broker after the run."""

    settings: Settings
    #: By topic and partition: what was sent.
    sent: dict[str, dict[int, list[Value]]]
    #: By source: what of it was corrupted.
    mangled: dict[str, set[Value]]
    topics: dict[str, dict[int, list[Read]]]
    _alone: dict[tuple[str, int], Fed] = field(default_factory=dict)

    def log(self, agent: str, partition: int) -> list[Placed]:
        """What the agent has read."""
        records = self.topics[source_topic(self.settings, agent)][partition]
        return [(each.offset, each.timestamp * 1_000_000, each.value) for each in records]

    def rows(self, agent: str, partition: int) -> dict[bytes, bytes]:
        """The state that the agent would be restored with."""
        changelog = self.topics[output_topic(self.settings, f"{agent}.changelog")][partition]
        newest = {each.key or b"": each.value for each in changelog}
        return {key: row for key, row in newest.items() if row is not None}

    def good(self, agent: str, partition: int) -> list[Placed]:
        """What of its log is not bad: not of the list, or not dead to the pure state."""
        log = self.log(agent, partition)
        if partition == LISTED:
            bad = {
                value
                for each in bad_records(AGENT_TOPICS[agent].source, LISTED)
                for value in each.values
            }
            return [record for record in log if record[2] not in bad]
        judge = Fed(agent, partition, self.settings)
        return [record for record in log if not judge.is_dead(record)]

    def alone(self, agent: str, partition: int) -> Fed:
        """The agent's pure state, fed with the good part alone."""
        key = (agent, partition)
        if key not in self._alone:
            made = self._alone[key] = Fed(agent, partition, self.settings)
            for record in self.good(agent, partition):
                made.take([record])
            made.checkpoint()
        return self._alone[key]


@pytest.fixture(scope="module")
def outcome(kafka: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One worker with all agents reads all of it."""
    folder = tmp_path_factory.mktemp("derived")
    chosen = worker_settings(kafka, f"{folder.name}-{id(folder):x}", folder, **CHOSEN)
    agents = tuple(sorted((*WINDOWED, *DERIVED)))
    return asyncio.run(run(chosen.model_copy(update={"agents": agents})))


async def append(settings: Settings, topic: str, logs: Mapping[int, Sequence[Value]]) -> None:
    """Append values; compressed, so that those beyond the limits come through."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers(settings),
        acks="all",
        enable_idempotence=True,
        compression_type="gzip",
        max_batch_size=BATCH_BYTES,
    )
    await producer.start()
    try:
        for partition, values in logs.items():
            left = [*values]
            while left:
                batch, taken = producer.create_batch(), 0
                while taken < len(left) and (
                    batch.append(timestamp=None, key=None, value=left[taken]) is not None
                ):
                    taken += 1
                batch.close()
                await (await producer.send_batch(batch, topic, partition=partition))
                del left[:taken]
    finally:
        await producer.stop()


async def wait_announced(settings: Settings, worker: WorkerProcess) -> None:
    """Wait until the moves of the aliases, and nothing else, are in each partition."""
    wanted = sorted(good_models.moves())

    async def met() -> bool:
        found = await read_topic(settings, source_topic(settings, "predictions"))
        logs = [sorted(each.value or b"" for each in records) for records in found.values()]
        return logs == [wanted] * settings.topics.partitions

    await until(met, lambda: f"the moves {wanted}, once; {worker.tail}")


async def run(settings: Settings) -> Outcome:
    good_models.registry()
    await ensure_topics(settings)
    found = Outcome(settings, {}, {}, {})
    names = {output_topic(settings, f"{agent}.changelog") for agent in settings.agents}
    for each in settings.agents:
        names |= {source_topic(settings, each), *output_topics(settings, each).values()}
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await wait_announced(settings, worker)
        for agent in DERIVED:
            source, topic = AGENT_TOPICS[agent].source, source_topic(settings, agent)
            if topic in found.sent:
                continue
            listed = interleaved(GOOD[source](LISTED), bad_records(source, LISTED))
            altered = corrupted(source, CORRUPTED)
            found.sent[topic] = {
                LISTED: [value for value, _ in listed],
                CORRUPTED: [value for value, _ in altered],
            }
            found.mangled[source] = {value for value, is_intact in altered if not is_intact}
            await append(settings, topic, found.sent[topic])
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    for name in sorted(names):
        found.topics[name] = await read_topic(settings, name)
    return found


def content(key: bytes | None, value: Value, headers: Iterable[tuple[str, bytes]]) -> Content:
    return key, value, tuple(headers)


def letters(outcome: Outcome, agent: str, partition: int) -> list[tuple[int, Value, str]]:
    """Offset, value and reason of each dead letter, which says nothing else than that."""
    source = source_topic(outcome.settings, agent)
    found = []
    for each in outcome.topics[output_topics(outcome.settings, agent)["dead"]][partition]:
        headers = dict(each.headers)
        offset, reason = int(headers["offset"]), headers["reason"].decode()
        assert each.key is None
        assert headers == {
            "reason": reason.encode(),
            "topic": source.encode(),
            "partition": b"%d" % partition,
            "offset": b"%d" % offset,
        }
        found.append((offset, each.value, reason))
    return found


EVERY = [(agent, partition) for agent in DERIVED for partition in (LISTED, CORRUPTED)]


@pytest.mark.parametrize("agent", [*WINDOWED, *filter(buries, DERIVED)])
def test_each_value_of_the_list_is_buried_as_it_was_and_says_why(
    outcome: Outcome, agent: str
) -> None:
    refused = bad_records(AGENT_TOPICS[agent].source, LISTED)
    wanted = [(value, bad.reason) for bad in refused for value in bad.values]
    found = letters(outcome, agent, LISTED)
    assert [(value, reason) for _, value, reason in found] == wanted
    log = {offset: value for offset, _, value in outcome.log(agent, LISTED)}
    assert {offset: value for offset, value, _ in found}.items() <= log.items()


@pytest.mark.parametrize("agent", DERIVED)
def test_of_a_corrupted_log_what_is_dead_to_the_pure_state_is_buried(
    outcome: Outcome, agent: str
) -> None:
    good = {offset for offset, _, _ in outcome.good(agent, CORRUPTED)}
    log = outcome.log(agent, CORRUPTED)
    dead = [(offset, value) for offset, _, value in log if offset not in good]
    assert {value for _, value in dead} <= outcome.mangled[AGENT_TOPICS[agent].source]
    assert len(dead) > 5
    if buries(agent):
        found = [each[:2] for each in letters(outcome, agent, CORRUPTED)]
        assert [each for each in found if each in dead] == dead
        # What was taken, and refused when its turn came, is told of as well.
        refused = outcome.alone(agent, CORRUPTED).state.progress.ignored.get("refused", 0)
        assert len(found) - len(dead) == refused


@pytest.mark.parametrize(("agent", "partition"), EVERY)
def test_state_and_counts_are_those_of_the_good_part(
    outcome: Outcome, agent: str, partition: int
) -> None:
    rows, alone = outcome.rows(agent, partition), outcome.alone(agent, partition)
    marker, log = decode_marker(rows[MARKER_KEY]), outcome.log(agent, partition)
    assert marker.next > log[-1][0]
    dead = len(log) - len(outcome.good(agent, partition))
    assert marker.counts == alone.counts | {"dead": dead}
    assert sum(marker.counts.values()) == len(log)
    assert marker.maximum == alone.state.progress.event_time
    held = [restored(agent, partition, each, outcome.settings) for each in (rows, alone.rows)]
    assert held[0] == held[1] != {}


@pytest.mark.parametrize(("agent", "partition"), EVERY)
def test_outputs_are_those_of_the_good_part(outcome: Outcome, agent: str, partition: int) -> None:
    published = outcome.alone(agent, partition).published
    assert any(published.values())
    for output, topic in output_topics(outcome.settings, agent).items():
        if output == "dead":
            continue
        wanted: dict[int, list[Content]] = {}
        for each in published.get(output, ()):
            # A record that is routed names its partition.
            target = each[3] if len(each) > 3 else partition
            wanted.setdefault(target, []).append(content(*each[:3]))
        for target, records in wanted.items():
            there = iter(content(e.key, e.value, e.headers) for e in outcome.topics[topic][target])
            # Others may write between.
            assert all(each in there for each in records), (output, target)


def test_nothing_else_was_published(outcome: Outcome) -> None:
    """Each topic holds what was sent and what its agents make of the good part, each once."""
    settings = outcome.settings
    ours: dict[str, dict[int, Counter[Content]]] = {}
    of_bars = {topic for agent in WINDOWED for topic in output_topics(settings, agent).values()}
    for agent in DERIVED:
        for output, topic in output_topics(settings, agent).items():
            if output == "dead" or topic in of_bars:
                continue
            by_partition = ours.setdefault(topic, {LISTED: Counter(), CORRUPTED: Counter()})
            for partition in (LISTED, CORRUPTED):
                for each in outcome.alone(agent, partition).published.get(output, ()):
                    target = each[3] if len(each) > 3 else partition
                    by_partition[target][content(*each[:3])] += 1
    assert len(ours) >= 4
    followed = source_topic(settings, "predictions")
    for topic, by_partition in ours.items():
        for partition, wanted in by_partition.items():
            announced = good_models.moves() if topic == followed else ()
            for value in (*announced, *outcome.sent.get(topic, {}).get(partition, ())):
                wanted[content(None, value, ())] += 1
            records = outcome.topics[topic][partition]
            found = Counter(content(e.key, e.value, e.headers) for e in records)
            # What waits for time to pass has clock records written, if the others take that long.
            clocks = {each for each in found - wanted if (each[1] or b"").startswith(CLOCK)}
            assert found == wanted | Counter(clocks), (topic, partition)
