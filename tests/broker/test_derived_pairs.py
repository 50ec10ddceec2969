"""Bars, routing and pairs in one worker, killed on the way: legs of pairs in several partitions.

What was published is compared with the pure classes over the committed logs, in their order and in
others, and with an independent computation of the statistics by numpy.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agents.derived import DerivedState
from agents.pairs import make_stage as make_pairs
from agents.routing import make_stage as make_routing
from app.broker import EmbeddedBroker
from app.connection import connect
from app.contracts.batch import RecordBatch
from app.contracts.wire import BarRecord, bar_decoder
from app.durations import NANOSECONDS, parse_duration
from app.exits import REFUSED
from app.groups import committed_offsets
from app.identity import group_id
from app.settings import Settings
from app.topics import output_topic, output_topics, source_topic, ticks_topic
from tables.crossing import Pair, PairRecord
from tables.crossing.records import LegRecord, ProgressRecord, input_decoder
from tables.partitioning import partition_of
from tables.rows import MARKER_KEY, Marker, decode_marker
from tests.broker.test_engine_quotes import append
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    Read,
    Value,
    ends,
    market,
    read_topic,
    symbol_of,
    wait_stable,
)

pytestmark = pytest.mark.broker

COUNT = 3_000
PARTITIONS = 2
WINDOW = 10
HEDGE = 0.5
#: Of each pair: place among the symbols of partition 0, and of partition 1; and the interval.
ACROSS = ((0, 1, "1s"), (1, 2, "1s"), (2, 0, "1s"), (1, 0, "1s"), (0, 2, "10s"), (2, 2, "10s"))
PAIRS = (
    *(f"{symbol_of(0, 2, one)}/{symbol_of(1, 2, two)}@{label}" for one, two, label in ACROSS),
    f"{symbol_of(1, 2, 0)}/{symbol_of(1, 2, 1)}@1s",
)
BAD_BARS: list[Value] = [
    b"",
    None,
    b"{}",
    b'{"type":"flush"}',
    b'{"symbol":"\xff","interval":"1s"}',
    b'{"type":' + b"[" * 5_000,
    b'{"symbol":"A","interval":"1s","start":0,"open":NaN}',
]
FAR = 2**62 // NANOSECONDS["m"] * NANOSECONDS["m"]
BAD_LEGS: list[Value] = [
    *BAD_BARS,
    *(
        msgspec.json.encode(each)
        for each in (
            LegRecord("A/B@1s", "A", "1s", 0, 1.0, 0, 0, 0),
            LegRecord(PAIRS[0], "A", "1s", 0, 1.0, 0, 0, 0),
            # These would leave out all that comes after them.
            LegRecord(PAIRS[0], symbol_of(0, 2, 0), "1s", FAR, 1.0, 0, 0, 0),
            ProgressRecord(0, "1s", FAR),
            ProgressRecord(1, "1s", FAR),
            ProgressRecord(7, "1s", 0),
        )
    ),
]
Stage = Any


@pytest.fixture
def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """Three agents, one behind the other; sorted, as settings that are read are."""
    pairs = {"pairs": PAIRS, "window": WINDOW, "hedge": HEDGE}
    chosen = worker_settings(kafka, unique, tmp_path, pairs=pairs)
    return chosen.model_copy(update={"agents": ("bars", "pairs", "routing")})


async def wait_drained(settings: Settings, worker: WorkerProcess) -> None:
    """Wait until the group has committed the end of all that is read, one agent behind the other.

    What is committed is asked first: an agent writes with its commit, so if nothing is behind the
    commits of all of them afterwards, nothing more will come.
    """
    topics = [source_topic(settings, agent) for agent in settings.agents]
    found: dict[str, Any] = {}

    async def drained() -> bool:
        async with connect(settings) as client:
            for topic in topics:
                group = group_id(settings)
                found[topic] = await committed_offsets(client, group, topic, PARTITIONS)
        last = await ends(settings, *topics)
        return all(found[tp.topic].get(tp.partition, 0) == end for tp, end in last.items())

    await until(drained, lambda: f"{found} {worker.tail}", 120)
    await wait_stable(settings)


def fed(stage: Stage, partition: int, records: list[Read]) -> Any:
    """A partition's state, fed with its log record by record."""
    state = stage.load(partition, "id", lambda key: None, ())
    assert isinstance(state, DerivedState)
    state.begin(records[0].offset if records else 0)
    for record in records:
        # What lies between are commit markers.
        base = state.next
        assert base is not None
        offset, time = record.offset, record.timestamp * 1_000_000
        values, offsets = [record.value], np.array([offset], dtype=np.int64)
        times = np.array([time], dtype=np.int64)
        state.apply(RecordBatch(stage.source, partition, base, offset + 1, values, offsets, times))
    return state.take("id")


async def check_agent(settings: Settings, stage: Stage) -> dict[int, Any]:
    """All that an agent has published in its own partitions, and its counts; the pure outputs."""
    log = await read_topic(settings, stage.source)
    taken = {number: fed(stage, number, records) for number, records in log.items()}
    for output, topic in output_topics(settings, stage.agent).items():
        if output == "legs":
            continue
        for number, records in (await read_topic(settings, topic)).items():
            found = [(each.key, each.value, list(each.headers)) for each in records]
            if output == "alerts":
                # Routed by their key: in each partition those of all, in an order of chance.
                sent = [each for own in taken.values() for each in own.outputs.get(output, ())]
                assert sorted(found) == sorted(
                    (each.key, each.value, each.headers)
                    for each in sent
                    if each.partition == number
                )
                continue
            wanted = [tuple(each) for each in taken[number].outputs.get(output, ())]
            assert found == wanted, (output, number)
    for number, marker in (await markers(settings, stage.agent)).items():
        rows = dict(taken[number].rows)
        assert marker.counts == decode_marker(rows[MARKER_KEY]).counts
        assert sum(marker.counts.values()) == len(log[number])
    return taken


async def markers(settings: Settings, agent: str) -> dict[int, Marker]:
    """The newest marker of each partition."""
    found = await read_topic(settings, output_topic(settings, f"{agent}.changelog"))
    return {
        number: decode_marker([e.value for e in records if e.key == MARKER_KEY][-1] or b"")
        for number, records in found.items()
    }


async def check_legs(settings: Settings, taken: Mapping[int, Any]) -> None:
    """What each router wrote to each partition is there once, in its order."""
    for number, records in (await read_topic(settings, source_topic(settings, "pairs"))).items():
        ours = [each for each in records if each.value not in BAD_LEGS]
        for source in range(PARTITIONS):
            found = [
                (each.key, each.value)
                for each in ours
                if input_decoder.decode(each.value or b"").partition == source
            ]
            legs = taken[source].outputs["legs"]
            assert found == [(each.key, each.value) for each in legs if each.partition == number]
            assert len(found) > 100


def held(published: Iterator[PairRecord]) -> dict[tuple[str, int], dict[str, Any]]:
    """Each pair at its highest revision, but for the void ones."""
    newest: dict[tuple[str, int], PairRecord] = {}
    for each in published:
        key = (each.pair, each.start)
        assert key not in newest or each.revision > newest[key].revision
        newest[key] = each
    return {key: msgspec.structs.asdict(each) for key, each in newest.items() if not each.void}


def pairs_of(records: list[Any]) -> Iterator[PairRecord]:
    return (msgspec.json.decode(each.value, type=PairRecord) for each in records)


def in_another_order(
    stage: Stage, taken: Mapping[int, Any], rng: random.Random
) -> dict[tuple[str, int], dict[str, Any]]:
    """The pairs when the routers' records come otherwise interleaved."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for number in range(PARTITIONS):
        left = [
            [each for each in reversed(taken[source].outputs["legs"]) if each.partition == number]
            for source in range(PARTITIONS)
        ]
        weights = [rng.random() ** 3 + 1e-3 for _ in left]
        log: list[Read] = []
        while any(left):
            chosen = [source for source in range(PARTITIONS) if left[source]]
            (source,) = rng.choices(chosen, [weights[each] for each in chosen])
            each = left[source].pop()
            # Appended long after all bars.
            log.append(Read(number, len(log), 2**42, each.key, each.value, ()))
        found |= held(pairs_of(fed(stage, number, log).outputs.get("pairs", [])))
    return found


def closes_of(log: list[BarRecord], symbol: str, label: str) -> dict[int, tuple[Any, int, int]]:
    """What counts of one symbol's bars, by the rules of the requirement: start to close,
    revision and how many were left out; a bar counts if it is not behind its partition's latest.
    """
    length = parse_duration(label)
    progress, newest, revision, left_out = -1, -1, -1, 0
    closes: dict[int, tuple[Any, int, int]] = {}
    for each in log:
        if each.interval != label:
            continue
        progress = max(progress, each.start + length)
        if each.symbol != symbol:
            continue
        new = each.start > newest and each.start + length >= progress
        if not new and (each.start != newest or each.revision <= revision):
            left_out += 1
            continue
        newest, revision = each.start, each.revision
        closes[newest] = (None if each.filled else each.close, revision, left_out)
    return closes


def check_numpy(
    found: Mapping[tuple[str, int], dict[str, Any]], logs: Mapping[int, list[BarRecord]]
) -> int:
    """All statistics of all pairs from the committed bars; how many correlations there were."""
    compared = 0
    for pair in map(Pair.parse, PAIRS):
        first, second = (
            closes_of(logs[partition_of(symbol.encode(), PARTITIONS)], symbol, pair.label)
            for symbol in pair.legs
        )
        both = sorted(first.keys() & second.keys())
        starts = [each for each in both if None not in (first[each][0], second[each][0])]
        assert [start for name, start in sorted(found) if name == pair.name] == starts
        assert len(starts) > WINDOW
        closes = np.array([[first[each][0], second[each][0]] for each in starts], dtype=np.float64)
        spreads = closes[:, 0] - HEDGE * closes[:, 1]
        for place, start in enumerate(starts):
            record = found[pair.name, start]
            assert record["revision"] == first[start][1] + second[start][1]
            assert record["left_out"] == first[start][2] + second[start][2]
            assert (record["first_close"], record["second_close"]) == tuple(closes[place])
            assert math.isclose(record["spread"], spreads[place], rel_tol=1e-9, abs_tol=1e-9)
            returns = np.diff(np.log(closes[: place + 1]), axis=0)[-WINDOW:]
            if len(returns) < WINDOW:
                assert (record["correlation"], record["beta"], record["score"]) == (None,) * 3
                continue
            compared += 1
            before = spreads[place - WINDOW : place]
            wanted = {
                "correlation": np.corrcoef(returns.T)[0, 1],
                "beta": np.cov(returns.T)[0, 1] / np.var(returns[:, 1], ddof=1),
                "score": (spreads[place] - before.mean()) / before.std(ddof=1),
            }
            for name, value in wanted.items():
                assert abs(record[name] - value) <= 1e-9 * max(1.0, abs(value)), (name, record)
    return compared


async def test_pairs_follow_the_committed_bars_although_the_worker_is_killed(
    settings: Settings,
) -> None:
    ticks, bars = ticks_topic(settings), source_topic(settings, "routing")
    legs = source_topic(settings, "pairs")
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        for number in range(PARTITIONS):
            values = [HISTORICAL, *market(number, PARTITIONS, COUNT), FLUSH]
            await append(settings, ticks, number, values[: COUNT // 2])
            await append(settings, bars, number, BAD_BARS)
            await append(settings, legs, number, BAD_LEGS)
            await worker.kill9()
            await append(settings, ticks, number, values[COUNT // 2 :])
            await worker.start()
            await worker.wait_ready()
        await append(settings, bars, 0, BAD_BARS)
        await append(settings, legs, 1, BAD_LEGS)
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    routing, pairs = make_routing(settings), make_pairs(settings)
    taken = await check_agent(settings, routing)
    await check_legs(settings, taken)
    await check_agent(settings, pairs)
    for number, marker in (await markers(settings, "routing")).items():
        assert marker.counts["dead"] == len(BAD_BARS) * (2 - number)
    for number, marker in (await markers(settings, "pairs")).items():
        assert marker.counts["dead"] == len(BAD_LEGS) * (1 + number)
        assert min(marker.counts[name] for name in ("applied", "revised", "control")) > 0
        assert not marker.details
    published = await read_topic(settings, output_topic(settings, "pairs"))
    assert all(published.values()), "both partitions have pairs"
    found = held(pairs_of([each for records in published.values() for each in records]))
    for seed in range(5):
        assert in_another_order(pairs, taken, random.Random(seed)) == found
    dead = [value for value in BAD_BARS if value]
    logs = {
        number: [bar_decoder.decode(e.value) for e in records if e.value and e.value not in dead]
        for number, records in (await read_topic(settings, bars)).items()
    }
    assert check_numpy(found, logs) > 300


async def test_another_window_is_refused_by_name(settings: Settings) -> None:
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        for number in range(PARTITIONS):
            values = [*market(number, PARTITIONS, 100), FLUSH]
            await append(settings, ticks_topic(settings), number, values)
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    chosen = settings.pairs.model_copy(update={"window": WINDOW + 1})
    async with WorkerProcess(settings.model_copy(update={"pairs": chosen})) as worker:
        assert await worker.wait() == REFUSED
        assert "(pairs, bars, partitions or bounds differ): use --reset" in worker.log


@pytest.mark.parametrize("agent", ["routing", "pairs"])
async def test_an_agent_without_pairs_does_not_start(settings: Settings, agent: str) -> None:
    none = settings.pairs.model_copy(update={"pairs": ()})
    chosen = settings.model_copy(update={"pairs": none, "agents": ("bars", agent)})
    async with WorkerProcess(chosen) as worker:
        assert await worker.wait() == REFUSED
        assert "CANDLEWICK_PAIRS__PAIRS='': the agents routing and pairs have nothing to do" in (
            worker.log
        )
