"""How far the sinks are, told from outside: offsets of their groups against the topics' ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from app.admin import describe
from app.connection import connect
from app.run.errors import NotDrainedError
from app.run.reader import bounds
from app.settings import Settings
from app.sinks.driver import Driver, SinkError
from app.sinks.drivers import chosen, make_driver, sink_topics
from app.sinks.groups import sink_group

#: Seconds without any progress after which the reason is told, and after which waiting ends.
TELL_SECONDS, STALL_SECONDS = 10.0, 120.0
POLL_SECONDS: Final = 0.2
#: Seconds for a sink to say what is wrong with it.
CHECK_SECONDS: Final = 15.0


@dataclass(frozen=True)
class Standing:
    """Where a sink is.

    Attributes:
        state: of its group, as Kafka calls it; `Empty` and `Dead` have no member.
        positions: by partition, what is written and where the committed records end.
        topics: the broker's names of its topics, and the short ones.
    """

    sink: str
    group: str
    state: str
    positions: Mapping[TopicPartition, tuple[int, int]]
    topics: Mapping[str, str] = field(default_factory=dict)

    @property
    def lag(self) -> int:
        """Records (offsets, so markers count) that are not written."""
        return sum(end - position for position, end in self.positions.values())

    @property
    def lags(self) -> dict[str, int]:
        """The same by short name of the topic."""
        found = dict.fromkeys(self.topics.values(), 0)
        for tp, (position, end) in self.positions.items():
            found[self.topics[tp.topic]] += end - position
        return found

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "sink": self.sink,
            "group": self.group,
            "state": self.state,
            "lag": self.lag,
            "topics": self.lags,
        }


async def standings(settings: Settings, drivers: Sequence[Driver]) -> list[Standing]:
    """Return where each sink is; topics that do not exist are left out.

    Raises:
        BrokerUnreachableError: no broker answers.
        aiokafka.errors.KafkaError: a coordinator does not answer.
    """
    wanted = {driver.NAME: sink_topics(settings, driver) for driver in drivers}
    async with connect(settings) as client:
        described = await describe(client)
    partitions = sorted(
        TopicPartition(name, entry["partition"])
        for name in {name for topics in wanted.values() for name in topics} & described.keys()
        for entry in described[name]["partitions"]
    )
    ends = await bounds(settings, partitions, committed=True) if partitions else {}
    found = []
    async with connect(settings) as client:
        for sink, topics in wanted.items():
            own = {tp: limits for tp, limits in ends.items() if tp.topic in topics}
            there = {name: short for name, short in topics.items() if name in described}
            group = sink_group(settings, sink)
            positions = await _positions(client, group, own)
            state = await _state(client, group)
            found.append(Standing(sink, group, state, positions, there))
    return found


async def _positions(
    client: AIOKafkaAdminClient, group: str, ends: Mapping[TopicPartition, tuple[int, int]]
) -> dict[TopicPartition, tuple[int, int]]:
    """Return what is written of each partition, and its end."""
    if not ends:
        return {}
    offsets = await client.list_consumer_group_offsets(group, partitions=list(ends))
    return {
        tp: (min(max(offsets[tp].offset if tp in offsets else first, first), end), end)
        for tp, (first, end) in ends.items()
    }


async def _state(client: AIOKafkaAdminClient, group: str) -> str:
    # One at a time: see app/stages.py.
    for response in await client.describe_consumer_groups([group]):
        for _, name, state, *_ in response.groups:
            if name == group:
                return str(state)
    return "Dead"


async def wait_until_written(
    settings: Settings,
    say: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    tell_seconds: float = TELL_SECONDS,
    stall_seconds: float = STALL_SECONDS,
) -> None:
    """Return once each sink of the workers has written all that is committed now.

    Args:
        settings: of the deployment; sinks that no worker runs are not waited for.
        say: told one line of a sink that makes no progress, with the reason that it gives itself.
        progress: told how many records of how many are written.

    Raises:
        NotDrainedError: no progress for `stall_seconds`.
        SettingsError: see `make_driver`.
        BrokerUnreachableError: the broker is gone.
    """
    names = chosen(settings) if settings.sinks.in_worker else ()
    drivers = [make_driver(settings, name) for name in names]
    if not drivers:
        return
    targets = {each.sink: each for each in await standings(settings, drivers)}
    total = sum(each.lag for each in targets.values())
    loop = asyncio.get_running_loop()
    since, told, left = loop.time(), False, total + 1
    reasons: list[str] = []
    async with connect(settings) as client:
        while True:
            with suppress(KafkaError):  # a coordinator that moves: it counts as no progress
                for name, target in list(targets.items()):
                    targets[name] = await _later(client, target)
            behind = [each for each in targets.values() if each.lag]
            now_left = sum(each.lag for each in behind)
            progress(total - now_left, total)
            if not behind:
                return
            if now_left < left:
                left, since, told = now_left, loop.time(), False
            waited = loop.time() - since
            if waited > tell_seconds and not told:
                told = True
                reasons = [await _reason(settings, each) for each in behind]
                for reason in reasons:
                    say(f"{reason}; waiting, {stall_seconds:g} s at most")
            if waited > stall_seconds:
                raise NotDrainedError(
                    f"no sink has written anything for {stall_seconds:g} s: {'; '.join(reasons)}; "
                    "nothing is lost: it is in the log, and the next start of the deployment "
                    "goes on"
                )
            await asyncio.sleep(POLL_SECONDS)


async def _later(client: AIOKafkaAdminClient, target: Standing) -> Standing:
    """Return a standing as it is now, with the same ends."""
    # What was behind the end then is not asked for: the bounds are (position, end).
    positions = await _positions(client, target.group, target.positions)
    return Standing(target.sink, target.group, target.state, positions, target.topics)


async def _reason(settings: Settings, standing: Standing) -> str:
    """Return why a sink does not go on, as far as it says so itself."""
    driver = make_driver(settings, standing.sink)
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await driver.check()
        why = "it answers; see the workers' logs"
    except TimeoutError:
        why = "it does not answer"
    except SinkError as error:
        why = str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, waiting goes on
        why = repr(error)
    finally:
        await driver.close()
    return f"sink {standing.sink}: {standing.lag:,} records are not written: {why}"
