"""Traces of a feed and of a worker with two stages, as a real collector gets them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from app.broker import EmbeddedBroker
from app.settings import Settings
from app.topics import bars_topic, output_topic, ticks_topic
from tests.broker.worker import WorkerProcess, worker_settings
from tests.chaos.deployment import FLUSH, HISTORICAL, market, prepared, send, wait_drained
from tests.otlp import Collector, Received, collecting

pytestmark = pytest.mark.broker


def traced(kafka: EmbeddedBroker, unique: str, folder: Path, endpoint: str) -> Settings:
    """Two agents, one behind the other, all of it traced."""
    tracing = {"endpoint": endpoint, "ratio": 1.0, "delay": "50ms", "timeout": "500ms"}
    chosen = worker_settings(kafka, unique, folder, tracing=tracing)
    return chosen.model_copy(update={"agents": ("bars", "indicators")})


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector is on this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def offsets(spans: Iterable[Received]) -> list[tuple[str, int]]:
    """Partition and offset of each record that spans tell of, sorted."""
    found = []
    for span in spans:
        _, partition, first, following = span.stretch
        found += [(partition, offset) for offset in range(first, following)]
    return sorted(found)


async def test_a_record_can_be_followed_from_the_feed_to_the_last_stage(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    async with collecting() as collector:
        settings = await prepared(traced(kafka, unique, tmp_path, collector.url))
        ticks, bars = ticks_topic(settings), bars_topic(settings, "bars")
        parts = {number: [HISTORICAL, *market(number, 2, 500), FLUSH] for number in range(2)}
        async with WorkerProcess(settings) as worker:
            await worker.wait_ready()
            await send(settings, parts, 100)
            await wait_drained(settings, worker)
            await collector.until(lambda: _read(collector, bars) >= _written(collector, bars))
            await collector.until(lambda: {"0", "1"} <= _partitions(collector.spans, "indicators"))
            assert await worker.stop() == 0
    feed = [each for each in collector.named(f"send {ticks}") if each.service == "candlewick-feed"]
    assert len(offsets(feed)) == sum(map(len, parts.values()))
    assert max(each.attributes["messaging.batch.message_count"] for each in feed) == 100

    # The worker's batches hold each record once; the `send` of each is found by its place.
    taken = [each for each in collector.named(f"process {ticks}") if each.status == 0]
    assert {each.attributes["candlewick.agent"] for each in taken} == {"bars"}
    assert set(offsets(feed)) <= set(offsets(taken))
    assert len(offsets(taken)) == len(set(offsets(taken)))

    by_span = {each.span: each for each in collector.spans}
    checkpoints = collector.named("checkpoint bars")
    covered = [link for each in checkpoints for link in each.links]
    assert sorted(covered) == sorted(each.span for each in taken)
    assert all(each.attributes["candlewick.position"] > 0 for each in checkpoints)

    # What they wrote are their children; the next stage's batches hang on them by links.
    written = collector.named(f"send {bars}")
    assert {by_span[each.parent].name for each in written} == {"checkpoint bars"}
    assert {each.trace for each in written} <= {each.trace for each in checkpoints}
    behind = collector.named(f"process {bars}")
    assert behind
    assert {each.attributes["candlewick.agent"] for each in behind} == {"indicators"}
    followed = {link for each in behind for link in each.links}
    assert {by_span[link].name for link in followed} == {f"send {bars}"}
    assert followed == {each.span for each in written}
    for each in behind:
        for link in each.links:
            topic, partition, first, following = by_span[link].stretch
            assert (topic, partition) == each.stretch[:2]
            assert first < each.stretch[3]
            assert following > each.stretch[2]
    assert collector.named("checkpoint indicators")
    assert collector.named(f"send {output_topic(settings, 'indicators')}")
    outputs = sum(each.attributes["candlewick.outputs"] for each in checkpoints)
    sent = [each for each in collector.spans if each.parent in {one.span for one in checkpoints}]
    assert outputs == sum(each.attributes["messaging.batch.message_count"] for each in sent)


def _written(collector: Collector, topic: str) -> set[tuple[str, int]]:
    return set(offsets(collector.named(f"send {topic}")))


def _read(collector: Collector, topic: str) -> set[tuple[str, int]]:
    return set(offsets(collector.named(f"process {topic}")))


def _partitions(spans: Iterable[Received], agent: str) -> set[str]:
    return {
        str(each.attributes["candlewick.partition"])
        for each in spans
        if each.name == f"checkpoint {agent}"
    }


async def test_a_worker_whose_collector_is_away_works_and_says_it_once(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    async with collecting() as gone:
        endpoint = gone.url
    settings = await prepared(traced(kafka, unique, tmp_path, endpoint))
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await send(settings, {number: market(number, 2, 500) for number in range(2)})
        await wait_drained(settings, worker)
        await worker.wait_for_log("no traces at")
        text = (await worker.get("/metrics"))[1]
        assert await worker.stop() == 0
        assert worker.log.count("no traces at") == 1
        assert "Traceback" not in worker.log
    assert 'candlewick_trace_spans_total{state="taken"} 0.0' in text
