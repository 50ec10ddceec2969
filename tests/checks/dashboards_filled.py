"""A worker with all agents whose outputs the dashboards draw, its Prometheus and its InfluxDB.

Eight minutes of a simulated market, then some seconds of it live, so that rates are there.
The worker writes to InfluxDB by its own sink, and everything is asked with the reader's token.
"""

from __future__ import annotations

import asyncio
import csv
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.broker import EmbeddedBroker
from app.feeds.market import MarketOptions
from app.feeds.simulator import Faults, Pace, simulate
from app.influx.setup import set_up
from app.settings import Settings
from app.web.bind import free_port
from models.predicting.conformal import Calibration
from models.predicting.features_returns import Returns
from models.predicting.registry import Registry
from tables.indicators.registry import DEFAULT_INDICATORS, parse_indicators
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.influx_server import InfluxServer
from tests.unit.model_records import boosted, described
from tests.unit.test_prometheus_rules import FOLDER

AGENTS = (*("bars", "quotes", "indicators", "anomalies", "quality", "predictions"),)
#: Of the bars that are drawn, and that the model predicts.
INTERVAL = "1s"
MODEL = "returns"
HISTORY_SECONDS = 480.0
LIVE_SECONDS = 25.0
#: For each of what has to happen; a busy machine is slow.
WAIT_SECONDS = 180.0
MARKET = MarketOptions(symbols=4, rate=50.0, quotes_per_trade=1.0, seed=7)
FAULTS = Faults(late=0.002, duplicates=0.002, corrupt=0.01)
_SCRAPE = "1s"


@dataclass(frozen=True)
class Filled:
    """Where the data is."""

    settings: Settings
    prometheus: str
    influx: str
    token: str
    began: float

    def rates(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression over the time since the worker began."""
        asked = {
            "query": expression,
            "start": f"{self.began:.0f}",
            "end": f"{time.time():.0f}",
            "step": "2s",
        }
        found: list[dict[str, Any]] = self.ask("query_range", asked)["result"]
        return found

    def label_values(self, metric: str, label: str) -> list[str]:
        """Return the values of a metric's label."""
        values: list[str] = self.ask(f"label/{label}/values", {"match[]": metric})
        return values

    def ask(self, page: str, query: dict[str, str]) -> Any:
        """Return the data of Prometheus' answer.

        Raises:
            ValueError: it refuses; with its own words.
        """
        url = f"{self.prometheus}/api/v1/{page}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from error

    def flux(self, text: str) -> list[dict[str, str]]:
        """Return the rows of a query, as text.

        Raises:
            ValueError: InfluxDB refuses; with its own words.
        """
        body = json.dumps({"query": text, "type": "flux", "dialect": {"annotations": []}})
        organization = urllib.parse.quote(self.settings.influx.organization)
        request = urllib.request.Request(
            f"{self.influx}/api/v2/query?org={organization}",
            body.encode(),
            {
                "Authorization": f"Token {self.token}",
                "Content-Type": "application/json",
                "Accept": "application/csv",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return _rows(answer.read().decode())
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from error


def _rows(text: str) -> list[dict[str, str]]:
    """Return the rows of InfluxDB's CSV; a blank line ends a table with its header."""
    rows: list[dict[str, str]] = []
    for part in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line for line in csv.reader(part.splitlines()) if line]
        if lines and lines[0][1:2] == ["error"]:
            raise ValueError(lines[1][1])
        rows += [dict(zip(lines[0], cells, strict=True)) for cells in lines[1:]]
    return rows


@asynccontextmanager
async def filled(
    kafka: EmbeddedBroker, influxd: Path, prometheus: Path, folder: Path, name: str
) -> AsyncIterator[Filled]:
    """Fill an InfluxDB and a Prometheus by a worker; they are there until the end.

    Raises:
        AssertionError: something does not start, or is not written in time.
    """
    with InfluxServer(influxd, folder / "influx") as influx:
        settings = _settings(kafka, name, folder, influx.url)
        tokens: dict[str, str] = {}
        set_up(settings, None, tokens.__setitem__)
        chosen = settings.influx.model_copy(update={"token": _secret(tokens["writer"])})
        settings = settings.model_copy(update={"influx": chosen})
        _publish(settings)
        async with WorkerProcess(settings) as worker:
            began = time.time()
            await worker.wait_ready(WAIT_SECONDS)
            target = worker.url.removeprefix("http://")
            async with _prometheus(prometheus, folder / "prometheus", target) as url:
                await _fill(settings)
                found = Filled(settings, url, influx.url, tokens["reader"], began)
                await _written(found, worker)
                yield found


def _settings(kafka: EmbeddedBroker, name: str, folder: Path, influx: str) -> Settings:
    chosen = worker_settings(
        *(kafka, name, folder),
        anomalies={"publish": "all", "warm_up": 150, "false_alarms_per_day": 500.0},
        indicators={"by_interval": {INTERVAL: _needed()}},
        predictions={"models": f"{Returns.NAME}@{INTERVAL}"},
        models={"registry": str(folder / "models"), "poll": "200ms"},
        influx={"url": influx, "delay": "100ms"},
        sinks={"drivers": ("influx",)},
    )
    return chosen.model_copy(update={"agents": AGENTS})


def _needed() -> str:
    """The default indicators, and those that the features read."""
    every = (*parse_indicators(DEFAULT_INDICATORS), *Returns.plan().requests)
    labels = dict.fromkeys([*(each.label for each in every), "CLOSE"])
    return ",".join(labels)


def _publish(settings: Settings) -> None:
    """Have a champion and a challenger before the first bar."""
    assert settings.models.registry is not None
    registry = Registry.at(settings.models.registry)
    plan = Returns.plan()
    for seed in (1, 2):
        description = described(
            name=MODEL,
            feature_set=plan.label,
            feature_names=tuple(plan.names),
            interval=INTERVAL,
            horizon=2,
            calibration=Calibration(tuple(number / 40 for number in range(200)), 1e-3),
        )
        registry.publish(description, {"model.ubj": boosted(len(plan.names), seed)})
    registry.promote(MODEL, "champion", 1, reason="a check", time=1)
    registry.promote(MODEL, "challenger", 2, reason="a check", time=1)


async def _fill(settings: Settings) -> None:
    """Send the market: history, then live; both have faults that leave something to draw."""
    begin = time.time_ns() - round((HISTORY_SECONDS + 5) * 1e9)
    history = Pace(unpaced=True, seconds=HISTORY_SECONDS, start=begin)
    await simulate(settings, MARKET, faults=FAULTS, pace=history)
    await go_on(settings)


async def go_on(settings: Settings) -> None:
    """Send some seconds of the market, live.

    With a seed of its own: the same trades once more would be duplicates, of which nothing comes.
    """
    market = replace(MARKET, seed=time.time_ns() % 2**31)
    await simulate(settings, market, faults=FAULTS, pace=Pace(seconds=LIVE_SECONDS))


async def _written(found: Filled, worker: WorkerProcess) -> None:
    """Wait until the last of what is computed is in InfluxDB, and nothing waits any more."""
    last = (
        f'from(bucket: "{found.settings.influx.bucket}") |> range(start: -1h) |> filter(fn: (r) => '
        'r._measurement == "prediction_outcomes" and r._field == "target") |> limit(n: 1)'
    )
    waiting = "sum(candlewick_sink_lag_records) + sum(candlewick_lag_records)"

    def met() -> bool:
        if not found.flux(last):
            return False
        result = found.ask("query", {"query": waiting})["result"]
        return bool(result) and float(result[0]["value"][1]) == 0

    async def asked() -> bool:
        return await asyncio.to_thread(met)

    await until(asked, lambda: f"sinks are behind; {worker.tail}", WAIT_SECONDS)


@asynccontextmanager
async def _prometheus(program: Path, folder: Path, target: str) -> AsyncIterator[str]:
    """Start a Prometheus with our configuration, for another target and at a faster pace."""
    _configure(folder, target)
    port = free_port()
    command: Sequence[str] = [
        str(program),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"

    async def met() -> bool:
        assert process.returncode is None, (folder / "log").read_text()[-2_000:]
        try:
            return bool(await asyncio.to_thread(_ready, url))
        except OSError:
            return False

    try:
        await until(met, lambda: f"Prometheus: {(folder / 'log').read_text()[-2_000:]}")
        yield url
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _configure(folder: Path, target: str) -> None:
    folder.mkdir(parents=True)
    text = (FOLDER / "prometheus.yml").read_text(encoding="utf-8")
    text = text.replace("127.0.0.1:6066", target).replace("_interval: 15s", f"_interval: {_SCRAPE}")
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")


def _ready(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as answer:
        return bool(answer.status == 200)


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)
