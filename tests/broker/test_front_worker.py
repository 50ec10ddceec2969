"""A real worker whose event loop is kept: what a supervisor and Prometheus still hear of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.broker import EmbeddedBroker
from tests.broker.test_metrics_worker import check_documented, samples
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import HISTORICAL, market, prepared, send, wait_drained

pytestmark = pytest.mark.broker

#: A worker that does nothing at all while a file is there.
APPLICATION = """
import asyncio
import time
from pathlib import Path

from app.application import app


@app.task
async def keep():
    while True:
        await asyncio.sleep(0.02)
        while Path({held!r}).exists():
            time.sleep(0.01)
"""
AGE = ("candlewick_event_loop_age_seconds",)


async def test_a_worker_whose_loop_is_kept_answers_probes_and_nothing_else(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    (tmp_path / "kept.py").write_text(APPLICATION.format(held=str(held)), encoding="utf-8")
    # It shall keep its partitions meanwhile.
    settings = await prepared(
        worker_settings(kafka, unique, tmp_path, broker={"session_timeout": "60s"})
    )
    parts = {number: [HISTORICAL, *market(number, 2, 100)] for number in range(2)}
    async with WorkerProcess(settings, application="kept", folders=[tmp_path]) as worker:
        await worker.wait_ready()
        await send(settings, parts)
        await wait_drained(settings, worker)
        text = ""

        async def asked() -> dict[tuple[str, ...], float]:
            nonlocal text
            status, text = await worker.get("/metrics")
            assert status == 200, worker.tail
            return samples(text)

        async def sampled() -> bool:
            return ("candlewick_store_keys", "bars") in await asked()

        await until(sampled, lambda: worker.tail)
        held.touch()

        async def kept() -> bool:
            return (await asked())[AGE] > 1

        await until(kept, lambda: worker.tail)
        found = await asked()
        check_documented(text)
        counted = {key: value for key, value in found.items() if key[0].endswith("records_total")}
        total = sum(v for k, v in counted.items() if k[0] == "candlewick_records_total")
        assert total == sum(map(len, parts.values()))
        # What only the loop reads is there as well, and says how old it is.
        assert found["candlewick_store_keys", "bars"] > 0
        assert found["candlewick_sample_age_seconds",] > 0.5
        for path in ("/healthz", "/readyz"):
            status, body = await worker.get(path)
            assert status == 200
            assert json.loads(body)["loop_age_seconds"] > 1
        assert await worker.get("/candles", 0.5) == (0, "")

        held.unlink()

        async def going() -> bool:
            found = await asked()
            return max(found[AGE], found["candlewick_sample_age_seconds",]) < 0.5

        await until(going, lambda: worker.tail)
        assert (await worker.get("/candles"))[0] == 200
        assert await worker.stop() == 0
