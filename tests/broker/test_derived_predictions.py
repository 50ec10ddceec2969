"""Bars, indicators and predictions in one worker: versions that swap under load, kill -9, faults.

What was published is compared with one undisturbed pass over the committed log of indicators, which
has the moves of the aliases in it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.predictions import make_stage
from app.broker import EmbeddedBroker
from app.contracts.batch import RecordBatch
from app.run.outcomes import check_deployment
from app.settings import Settings, SettingsError
from app.topics import output_topic, ticks_topic
from models.predicting.conformal import Calibration
from models.predicting.features_returns import Returns
from models.predicting.manifest import Manifest
from models.predicting.registry import Registry
from tables.rows import MARKER_KEY, decode_marker
from tests.broker.test_engine_quotes import append, wait_drained
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import FLUSH, HISTORICAL, Read, market, read_topic
from tests.unit.model_records import boosted, described

pytestmark = pytest.mark.broker

COUNT = 6_000
PARTS = 6
AGENTS = ("bars", "indicators", "predictions")


def needed() -> str:
    """The indicators that the features read, as a setting: what the error says."""
    with pytest.raises(SettingsError) as found:
        make_stage(
            Settings(
                agents=("predictions",),
                predictions={"models": "returns@1s"},  # type: ignore[arg-type]
                indicators={"default": ""},  # type: ignore[arg-type]
            )
        )
    match = re.search(r'expected \{"1s":"(.*)"\}', str(found.value))
    assert match is not None, found.value
    return match[1]


@pytest.fixture
def settings(kafka: EmbeddedBroker, unique: str, tmp_path: Path) -> Settings:
    """Three agents, one behind the other."""
    chosen = worker_settings(
        kafka,
        unique,
        tmp_path,
        indicators={"default": "", "by_interval": {"1s": needed()}},
        predictions={"models": "returns@1s"},
        models={"registry": str(tmp_path / "models"), "poll": "100ms"},
    )
    return chosen.model_copy(update={"agents": AGENTS})


def registry_of(settings: Settings) -> Registry:
    assert settings.models.registry is not None
    return Registry.at(settings.models.registry)


def publish(settings: Settings, seed: int) -> Manifest:
    """A version of 40 features whose predictions differ from those of other seeds."""
    plan = Returns.plan()
    description = described(
        feature_set=plan.label,
        feature_names=tuple(plan.names),
        interval="1s",
        horizon=2,
        calibration=Calibration(tuple(number / 40 for number in range(200)), 1e-3),
    )
    files = {"model.ubj": boosted(len(plan.names), seed)}
    return registry_of(settings).publish(description, files)


def promote(settings: Settings, version: int, alias: str = "champion") -> None:
    registry_of(settings).promote("returns", alias, version, reason="a test", time=1)


async def indicators(settings: Settings) -> Mapping[int, list[Read]]:
    return await read_topic(settings, output_topic(settings, "indicators"))


async def announced(settings: Settings, generation: int, alias: str = "champion") -> None:
    """Wait until every partition has a move of an alias."""

    async def met() -> bool:
        mark = f'"alias":"{alias}","generation":{generation},'.encode()
        found = await indicators(settings)
        return len(found) == settings.topics.partitions and all(
            any(mark in (each.value or b"") for each in records) for records in found.values()
        )

    await until(met, lambda: f"no move {generation} of {alias} in every partition")


async def expected(settings: Settings) -> dict[int, Any]:
    """Each partition fed with the committed log, record by record, in this process."""
    stage = make_stage(settings)
    states = {}
    topic = output_topic(settings, "indicators")
    for partition, records in (await indicators(settings)).items():
        state = stage.load(partition, "topic", lambda key: None, ())._partition
        state.begin(0)
        for record in records:
            state.next = record.offset
            state.apply(
                RecordBatch(
                    *(topic, partition, record.offset, record.offset + 1, [record.value]),
                    np.array([record.offset], dtype=np.int64),
                    np.array([record.timestamp * 1_000_000], dtype=np.int64),
                )
            )
        states[partition] = state
    return states


async def check_against_one_pass(settings: Settings) -> dict[int, Any]:
    states = await expected(settings)
    for output in ("predictions", "outcomes", "monitoring", "dead"):
        name = "predictions" if output == "predictions" else f"predictions.{output}"
        found = await read_topic(settings, output_topic(settings, name))
        for number, state in states.items():
            published = [(each.key, each.value) for each in found.get(number, [])]
            wanted = [(each.key, each.value) for each in state._outputs.get(output, [])]
            assert published == wanted, (output, number)
    changelog = await read_topic(settings, output_topic(settings, "predictions.changelog"))
    for number, records in changelog.items():
        marker = decode_marker([e.value for e in records if e.key == MARKER_KEY][-1] or b"")
        assert marker.counts == states[number].counts
        assert marker.counts["applied"] > 100
    return states


async def check_swaps(settings: Settings, versions: list[int]) -> None:
    """Every bar past the warm-up has one prediction, by the version that the log names there."""
    predictions = await read_topic(settings, output_topic(settings, "predictions"))
    for number, records in (await indicators(settings)).items():
        wanted, version, swaps = [], 0, []
        past: dict[str, int] = {}
        for record in records:
            value = json.loads(record.value or b"{}")
            if value.get("type") == "alias":
                if value["alias"] == "champion" and value["version"] != version:
                    version = value["version"]
                    swaps.append((record.offset, version))
                continue
            if value["values"]["CLOSE"] is None:
                continue
            past[value["symbol"]] = past.get(value["symbol"], 0) + (value["revision"] == 0)
            if past[value["symbol"]] >= Returns.plan().warm_up and version:
                wanted.append((value["symbol"], value["start"], value["revision"], version))
        found = [json.loads(each.value or b"{}") for each in predictions[number]]
        assert [
            (each["symbol"], each["start"], each["revision"], each["version"])
            for each in found
            if each["prediction"] is not None
        ] == wanted, number
        assert [version for _, version in swaps] == versions, swaps


async def test_versions_swap_under_load_although_the_worker_is_killed(settings: Settings) -> None:
    ticks = ticks_topic(settings)
    for seed in (1, 2):
        publish(settings, seed)
    promote(settings, 1)
    values = {
        number: [HISTORICAL, *market(number, 2, COUNT), FLUSH]
        for number in range(settings.topics.partitions)
    }
    size = (COUNT + 2) // PARTS + 1

    async def load(part: int) -> None:
        for number, records in values.items():
            await append(settings, ticks, number, records[part * size : (part + 1) * size])

    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await announced(settings, 1)
        await load(0)
        loading = asyncio.gather(*(load(part) for part in range(1, 3)))
        promote(settings, 2)
        await loading
        await announced(settings, 2)
        await worker.kill9()
        await load(3)
        registry_of(settings).rollback("returns", "champion", reason="a test", time=2)
        await worker.start()
        await worker.wait_ready()
        await announced(settings, 3)
        promote(settings, 2, "challenger")
        await load(4)
        await announced(settings, 1, "challenger")
        await worker.kill9()
        await worker.start()
        await worker.wait_ready()
        await load(5)
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    # What `candlewick worker` and `candlewick run` look at before they start anything.
    await check_deployment(settings)
    await check_against_one_pass(settings)
    await check_swaps(settings, [1, 2, 1])


async def test_a_broken_version_is_named_and_the_old_champion_goes_on(settings: Settings) -> None:
    publish(settings, 1)
    promote(settings, 1)
    manifest = publish(settings, 2)
    promote(settings, 2)
    assert settings.models.registry is not None
    file = Path(settings.models.registry) / "returns/versions/000002/model.ubj"
    content = file.read_bytes()
    registry_of(settings).rollback("returns", "champion", reason="a test", time=2)
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await announced(settings, 3)
        promote(settings, 2)
        await announced(settings, 4)
        registry_of(settings).rollback("returns", "champion", reason="a test", time=3)
        await announced(settings, 5)
        await worker.kill9()
        # Truncated after it was promoted: the registry refuses to promote such a file.
        promote(settings, 2)
        file.write_bytes(content[: len(content) // 2])
        await worker.start()
        await worker.wait_ready()

        async def told() -> bool:
            return "what the log names goes on" in worker.log

        await until(told, lambda: worker.tail)
        assert f"model.ubj: {len(content) // 2:,} bytes" in worker.log, worker.tail
        for number in range(settings.topics.partitions):
            records = [HISTORICAL, *market(number, 2, 2_000), FLUSH]
            await append(settings, ticks_topic(settings), number, records)
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    file.write_bytes(content)
    assert manifest.version == 2
    # The log has not heard of the last promotion.
    await check_swaps(settings, [1, 2, 1])


def test_what_predictions_need_is_said_at_the_start(settings: Settings) -> None:
    for changes, said in (
        ({"models": ()}, "PREDICTIONS__MODELS is not set"),
        ({"models": ("returns@7m",)}, "there are no bars of '7m' for returns"),
        ({"feature_sets": ("nothing@1",)}, "no feature set 'nothing@1'"),
    ):
        chosen = settings.predictions.model_copy(update=changes)
        with pytest.raises(SettingsError, match=said):
            make_stage(settings.model_copy(update={"predictions": chosen}))
