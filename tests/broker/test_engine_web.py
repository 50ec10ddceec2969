"""The pages of a real worker, and where it listens."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.broker import EmbeddedBroker
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import FLUSH, HISTORICAL, market, prepared, send, wait_drained

pytestmark = pytest.mark.broker


async def test_a_worker_listens_on_loopback_alone_and_tells_what_it_did(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = await prepared(worker_settings(kafka, unique, tmp_path))
    parts = {number: [HISTORICAL, *market(number, 2, 1_000), FLUSH] for number in range(2)}
    await send(settings, parts)
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await wait_drained(settings, worker)
        sockets = psutil.Process(worker.pid).net_connections(kind="inet")
        listening = [tuple(each.laddr) for each in sockets if each.status == psutil.CONN_LISTEN]
        assert listening == [("127.0.0.1", urlsplit(worker.url).port)]

        status, text = await worker.get("/readyz")
        assert status == 200
        assert [entry["phase"] for entry in json.loads(text)["partitions"]] == ["ready", "ready"]
        assert (await worker.get("/healthz"))[0] == 200

        found: dict[tuple[str, ...], float] = {}

        async def counted() -> bool:
            # Gauges are set once a second.
            text = (await worker.get("/metrics"))[1]
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    found[sample.name, *sample.labels.values()] = sample.value
            return ("candlewick_lag_records", "bars", "1") in found

        await until(counted, lambda: worker.tail)
        total = sum(map(len, parts.values()))
        outcomes = {key: value for key, value in found.items() if key[0].endswith("records_total")}
        records = [value for key, value in outcomes.items() if key[0] == "candlewick_records_total"]
        assert sum(records) == total
        assert found["candlewick_records_total", "bars", "dead"] == 50
        assert found["candlewick_dead_records_total", "bars", "malformed"] == 50
        assert found["candlewick_lag_records", "bars", "0"] == 0
        assert found["candlewick_checkpoint_seconds_count", "bars"] >= 2
        assert found["candlewick_bars_total", "bars", "first"] > 100
        assert found["candlewick_slim_fetch", "bars"] == 1
        assert await worker.stop() == 0
