"""What Prometheus scrapes: our configurations, and the rules on what a worker really exports."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientConnectionError, ClientSession, web
from aiohttp.test_utils import TestServer

from app.observe.metrics import Metrics
from app.observe.rules import ROOT, alerts, recordings
from app.settings import Settings
from app.web.bind import free_port
from tests.unit.test_metrics import filled
from tests.unit.test_prometheus_rules import FOLDER, load, tool

SERVER = tool("prometheus")
EXPOSED = web.AppKey("exposed", Metrics)


async def expose(request: web.Request) -> web.Response:
    """What a worker answers to a scrape, in the format that is asked for."""
    body, content_type = request.app[EXPOSED].expose(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


def configured(folder: Path, target: str) -> Path:
    """Our configuration, for another target and sixty times as fast."""
    shutil.copytree(FOLDER, folder)
    path = folder / "prometheus.yml"
    text = path.read_text().replace("127.0.0.1:6066", target)
    path.write_text(text.replace("_interval: 15s", "_interval: 250ms"))
    for each in (folder / "rules").glob("*.yml"):
        each.write_text(each.read_text().replace("interval: 5m", "interval: 250ms"))
    return path


@pytest.mark.skipif(SERVER is None, reason="no prometheus: make promtool")
async def test_a_prometheus_evaluates_every_rule_on_what_a_worker_exports(tmp_path: Path) -> None:
    assert SERVER is not None
    application = web.Application()
    application[EXPOSED] = filled()
    application.router.add_get("/metrics", expose)
    async with TestServer(application, host="127.0.0.1") as server, ClientSession() as session:
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            SERVER,
            f"--config.file={configured(tmp_path / 'at', f'127.0.0.1:{server.port}')}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:

            async def ask(page: str, **query: str) -> Any:
                while True:
                    with contextlib.suppress(ClientConnectionError):
                        url = f"http://127.0.0.1:{port}/api/v1/{page}"
                        async with session.get(url, params=query) as answer:
                            if answer.status == 200:
                                return (await answer.json())["data"]
                    await asyncio.sleep(0.1)

            async def series(selector: str) -> int:
                """How many there are, once there are some."""
                while True:
                    if found := (await ask("query", query=selector))["result"]:
                        return len(found)
                    await asyncio.sleep(0.1)

            async with asyncio.timeout(60):
                name = "candlewick_end_to_end_latency_seconds_bucket"
                assert await series(f'{name}{{effect="output",le="1.0"}}') == 2
                assert await series("events_processed_total") == 2
                assert await series("kafka_consumer_lag") == 4
                assert await series("job_agent:candlewick_freshness_bad:ratio_rate3d") == 2
                assert await series("job_agent:candlewick_validity_budget_left:ratio30d") == 2
                while True:
                    groups = (await ask("rules"))["groups"]
                    healths = {rule["health"] for group in groups for rule in group["rules"]}
                    if "unknown" not in healths:
                        break
                    await asyncio.sleep(0.1)
            assert healths == {"ok"}
            assert sum(len(group["rules"]) for group in groups) == len([*recordings(), *alerts()])
        finally:
            process.terminate()
            await process.wait()


def test_prometheus_scrapes_the_workers_port_on_loopback() -> None:
    (job,) = load(FOLDER / "prometheus.yml")["scrape_configs"]
    assert job["job_name"].startswith("candlewick")
    (targets,) = job["static_configs"]
    default = Settings.model_fields["web"].get_default(call_default_factory=True).port
    assert targets["targets"] == [f"127.0.0.1:{default}"]


def test_prometheus_finds_the_workers_of_the_compose_file() -> None:
    (job,) = load(FOLDER / "prometheus.compose.yml")["scrape_configs"]
    assert job["job_name"].startswith("candlewick")
    (found,) = job["dns_sd_configs"]
    compose = load(ROOT / "docker-compose.yml")
    for name in found["names"]:
        (published,) = compose["services"][name]["ports"]
        assert published.endswith(f":{found['port']}")
    assert f"({compose['name']}_default)" in (FOLDER / "prometheus.compose.yml").read_text()
