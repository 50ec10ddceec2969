"""The pages of a worker, and where a real worker process listens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import faust
import psutil
import pytest
from aiohttp.test_utils import TestClient, TestServer

from app import exits
from app.broker import EmbeddedBroker
from app.observe.health import HealthState, Phase
from app.observe.metrics import Metrics
from app.settings import load_settings
from app.web.bind import PortInUseError, check_port, free_port, web_settings
from app.web.pages import register

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = """
import os
import faust
from app.exits import RefusalError
from app.observe.health import HealthState
from app.observe.logs import faust_logging
from app.observe.metrics import Metrics
from app.observe.worker import CandlewickWorker
from app.settings import load_settings
from app.web.bind import web_settings
from app.web.pages import register

settings = load_settings()
app = faust.App(
    settings.deployment,
    broker=settings.broker.url,
    datadir=settings.data_dir,
    Worker=CandlewickWorker,
    topic_disable_leader=True,
    **web_settings(settings),
    **faust_logging(settings),
)
health = HealthState()
register(app, health, Metrics())
topic = app.topic(settings.deployment + "-in", value_type=bytes, partitions=1)


@app.agent(topic)
async def agent(stream):
    async for _ in stream:
        pass


@app.task
async def started():
    if os.environ.get("TEST_REFUSE"):
        raise RefusalError("settings hash differs; use --reset")
    print("printed", "in", "parts", flush=True)
    health.ready()
"""


@pytest.fixture
async def client() -> AsyncIterator[tuple[TestClient, HealthState, Metrics]]:
    application = faust.App("pages", broker="kafka://127.0.0.1:1", **web_settings(load_settings()))
    health, metrics = HealthState(), Metrics()
    register(application, health, metrics)
    server = TestServer(await application.web.wsgi())
    async with TestClient(server) as one:
        yield one, health, metrics


async def test_readiness_follows_the_worker_and_its_partitions(
    client: tuple[TestClient, HealthState, Metrics],
) -> None:
    page, health, _ = client
    assert (await page.get("/readyz")).status == 503
    health.ready()
    assert (await page.get("/readyz")).status == 200
    health.partition("bars", 0, Phase.RESTORING, "<script>")
    answer = await page.get("/readyz")
    assert answer.status == 503
    assert answer.content_type == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (await answer.json())["partitions"][0]["reason"] == "<script>"


async def test_a_worker_is_healthy_until_it_has_failed(
    client: tuple[TestClient, HealthState, Metrics],
) -> None:
    page, health, _ = client
    assert (await page.get("/healthz")).status == 200
    health.failed("fenced twice")
    answer = await page.get("/healthz")
    assert answer.status == 503
    assert (await answer.json())["reason"] == "fenced twice"


async def test_metrics_are_in_the_text_format(
    client: tuple[TestClient, HealthState, Metrics],
) -> None:
    page, _, metrics = client
    metrics.batch_applied("bars", seconds=0.001, outcomes={"applied": 5})
    answer = await page.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = await answer.text()
    assert 'candlewick_records_total{agent="bars",outcome="applied"} 5.0' in text


def test_a_port_of_another_process_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"{port}.*CANDLEWICK_WEB__PORT"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", free_port())


@contextmanager
def worker(
    kafka: EmbeddedBroker, folder: Path, name: str, *options: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a small Faust application as a worker process; its output is in `folder`/worker.log."""
    (folder / "small.py").write_text(APPLICATION, encoding="utf-8")
    log = (folder / "worker.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "faust", "-A", "small", "--quiet", "worker", *options],
        cwd=folder,
        env=os.environ
        | environment
        | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}",
            "CANDLEWICK_BROKER__URL": kafka.url,
            "CANDLEWICK_DEPLOYMENT": name,
            "CANDLEWICK_DATA_DIR": str(folder / "data"),
        },
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        log.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for_text(folder: Path, text: str, seconds: float = 30.0) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = (folder / "worker.log").read_text(encoding="utf-8")
        if text in found:
            return found
        time.sleep(0.05)
    pytest.fail(f"no {text!r} in {found}")


@pytest.mark.broker
def test_a_worker_listens_on_loopback_only_and_prints_in_one_piece(
    kafka: EmbeddedBroker, tmp_path: Path, unique: str
) -> None:
    port = free_port()
    with worker(kafka, tmp_path, unique, "--web-port", str(port)) as process:
        wait_for_text(tmp_path, "printed in parts\n")
        connections = psutil.Process(process.pid).net_connections(kind="tcp")
        listening = [entry.laddr for entry in connections if entry.status == psutil.CONN_LISTEN]
    assert [tuple(address) for address in listening] == [("127.0.0.1", port)]


@pytest.mark.broker
def test_a_worker_whose_port_is_taken_refuses_in_one_line(
    kafka: EmbeddedBroker, tmp_path: Path, unique: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with worker(kafka, tmp_path, unique, "--web-port", port) as process:
            assert process.wait(30) == exits.REFUSED
    lines = (tmp_path / "worker.log").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(
        f"candlewick worker: the web port {port} on 127.0.0.1 cannot be used"
    )


@pytest.mark.broker
def test_a_refusal_within_the_worker_is_one_line_and_exit_code_three(
    kafka: EmbeddedBroker, tmp_path: Path, unique: str
) -> None:
    with worker(
        kafka, tmp_path, unique, "--web-port", str(free_port()), TEST_REFUSE="1"
    ) as process:
        assert process.wait(60) == exits.REFUSED
    text = (tmp_path / "worker.log").read_text(encoding="utf-8")
    assert text.splitlines()[-1] == "candlewick worker: settings hash differs; use --reset"
    assert "Traceback" not in text
