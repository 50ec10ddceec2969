"""Sinks in real workers: a run that waits for the archive, a sink that is never there, commands."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from app import exits
from app.broker import EmbeddedBroker
from app.run.environment import settings_environment
from app.settings import Settings
from app.sinks.drivers import make_driver
from app.sinks.progress import standings
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    START,
    market,
    prepared,
    send,
    wait_drained,
)
from tests.command import Finished, candlewick, finish, start
from tests.notify.servers import closed_port

pytestmark = pytest.mark.broker

SECOND = 1_000_000_000


def ours_of(settings: Settings) -> dict[str, str]:
    given = settings_environment(settings).items()
    return {name: value for name, value in given if name.startswith("CANDLEWICK_")}


async def command(folder: Path, settings: Settings, *arguments: str) -> Finished:
    return await asyncio.to_thread(candlewick, folder, *arguments, settings=ours_of(settings))


def test_a_run_until_drained_ends_with_all_of_it_in_the_archive(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    lines = ["symbol,price,size,event_time"]
    lines += [
        f"S{n % 7},{100 + n % 13},{n % 5 + 1},{START + n * SECOND // 4}" for n in range(2_000)
    ]
    (tmp_path / "ticks.csv").write_text("\n".join(lines) + "\n")
    ours = {
        "CANDLEWICK_BROKER__URL": kafka.url,
        "CANDLEWICK_SINKS__DRIVERS": "archive",
        "CANDLEWICK_TOPIC_PREFIX": f"{unique}.",
    }
    choices = ("--deployment", "d", "--partitions", "2", "--intervals", "1s,1m", "--json")
    ended = candlewick(
        *(tmp_path, "run", "--replay", "ticks.csv", "--until-drained", *choices), settings=ours
    )
    assert ended.code == exits.OK, ended.errors
    ours["CANDLEWICK_DEPLOYMENT"] = "d"

    found = candlewick(
        *(tmp_path, "query", "SELECT count(*) n, sum(price * size) v FROM ticks", "--json"),
        settings=ours,
    )
    assert found.code == exits.OK, found.errors
    (row,) = json.loads(found.output)
    assert row["n"] == 2_000
    assert row["v"] == sum((100 + n % 13) * (n % 5 + 1) for n in range(2_000))

    ours["CANDLEWICK_TOPICS__PARTITIONS"] = "2"
    status = candlewick(
        *(tmp_path, "sink", "status", "--json"), settings=ours | {"CANDLEWICK_AGENTS": "bars"}
    )
    assert status.code == exits.OK, status.errors
    (told,) = json.loads(status.output)
    assert (told["sink"], told["state"], told["lag"]) == ("archive", "Empty", 0)
    assert {"ticks", "bars"} <= told["topics"].keys()


async def test_a_process_of_its_own_runs_the_sinks_until_it_is_stopped(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    sinks = {"drivers": ("archive",), "in_worker": False}
    settings = await prepared(
        worker_settings(kafka, unique, tmp_path, sinks=sinks, archive={"age": "200ms"})
    )
    await send(settings, {number: market(number, 2, 500) for number in range(2)})
    process = start(tmp_path, ["sink", "run"], ours_of(settings))
    try:
        left = -1

        async def done() -> bool:
            nonlocal left
            (found,) = await standings(settings, [make_driver(settings, "archive")])
            left = found.lag
            return left == 0 and found.state == "Stable"

        await until(done, lambda: f"{left} records are not written")
    finally:
        process.terminate()
        ended = await asyncio.to_thread(finish, process, 30.0)
    assert ended.code == exits.OK, ended.errors
    assert "writing to archive" in ended.errors
    assert "the sinks are stopped" in ended.errors
    assert "Traceback" not in ended.errors
    found = await command(tmp_path, settings, "query", "SELECT count(*) n FROM ticks", "--json")
    assert json.loads(found.output)[0]["n"] > 900


async def test_a_sink_that_is_never_there_holds_back_neither_the_worker_nor_its_end(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = await prepared(
        worker_settings(
            *(kafka, unique, tmp_path),
            sinks={"drivers": ("influx",), "first_backoff": "20ms", "rest": "200ms"},
            influx={"url": f"http://127.0.0.1:{closed_port()}", "token": "secret-word"},
        )
    )
    parts = {number: [HISTORICAL, *market(number, 2, 500), FLUSH] for number in range(2)}
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await send(settings, parts)
        await wait_drained(settings, worker)

        async def resting() -> bool:
            text = (await worker.get("/metrics"))[1]
            return 'candlewick_sink_breaker{sink="influx",state="open"} 1.0' in text

        await until(resting, lambda: worker.tail)

        async def behind() -> bool:
            text = (await worker.get("/metrics"))[1]
            lags = re.findall(r"^candlewick_sink_lag_records\{.*\} ([\d.]+)$", text, re.MULTILINE)
            return sum(map(float, lags)) >= 1_000

        await until(behind, lambda: worker.tail)
        assert (await worker.get("/readyz"))[0] == 200
        assert "Traceback" not in worker.log
        assert "secret-word" not in worker.log
        told = await command(tmp_path, settings, "sink", "status", "--json")
        (status,) = json.loads(told.output)
        assert status["state"] == "Stable"
        assert status["lag"] >= 1_000
        checked = await command(tmp_path, settings, "sink", "check")
        assert checked.code == exits.FAILURE
        assert checked.output.startswith("influx: ")
        assert await worker.stop(20.0) == exits.OK
    assert "sink influx ended: 0 written" in worker.log
