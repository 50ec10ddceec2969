"""`candlewick run` and `--reset`: what they start they stop, what they remove comes again."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.broker import BrokerConfig, EmbeddedBroker
from app.exits import FAILURE, OK, REFUSED, USAGE
from app.run.drain import input_bounds, wait_until_drained
from app.run.export import read_bars
from app.settings import Settings
from app.web.bind import free_port
from tests.command import Finished, candlewick, finish, run, start
from tests.oracle.compare import compare_deployment
from tests.oracle.reference import Settings as ReferenceSettings

pytestmark = [pytest.mark.broker, pytest.mark.slow]

SYMBOLS = ("A", "B", "C", "D")
TRADES = 2_000
QUOTES = 1_000
SECOND = 1_000_000_000
START = 1_381_154_400  # 2013-10-07 10:00 in New York
PROCESS = re.compile(r"^worker-0 started: process (\d+)$")
WORKER = re.compile(r"^worker-\d+ started: process (\d+)$")


@pytest.fixture
def ticks(tmp_path: Path) -> Path:
    """A trade each 0.25 s, symbol by symbol."""
    path = tmp_path / "ticks.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["symbol", "price", "size", "event_time"])
        for number in range(TRADES):
            time_ns = START * 1_000_000_000 + number * 250_000_000
            price = 100 + number * 7 % 31 / 8
            writer.writerow([SYMBOLS[number % len(SYMBOLS)], price, 1, time_ns])
    return path


@pytest.fixture
def own(kafka: EmbeddedBroker, unique: str) -> dict[str, str]:
    """Settings of a log of one's own; a killed or stopped worker is noticed soon."""
    return {
        "CANDLEWICK_BROKER__URL": kafka.url,
        "CANDLEWICK_BROKER__SESSION_TIMEOUT": "3s",
        "CANDLEWICK_BROKER__HEARTBEAT_INTERVAL": "300ms",
        "CANDLEWICK_TOPIC_PREFIX": f"{unique}.",
    }


def rows_of(export: Path) -> list[dict[str, str]]:
    """The rows of an exported CSV file."""
    with export.open(newline="") as file:
        return list(csv.DictReader(file))


def processes_of(folder: Path) -> list[list[str]]:
    """Command lines of processes that stand in a folder or name it: what was left behind."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if any(str(folder) in word for word in [*words, process.info["cwd"] or ""]):
            found.append(words)
    return found


def said(process: subprocess.Popen[str], pattern: re.Pattern[str]) -> re.Match[str]:
    """Wait for a line of a command's standard error; the command's end ends it, too."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if match := pattern.match(line.rstrip("\n")):
            return match
    raise AssertionError(f"it has not said {pattern.pattern!r}: {lines}")


def test_a_run_from_nothing_leaves_a_file_of_bars_and_its_log(ticks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    chosen = ("--data-dir", folder, "--intervals", "1s,1m")
    first = run(tmp_path, tmp_path / "bars.csv", "--replay", ticks, *chosen)
    assert processes_of(folder) == []
    status = EmbeddedBroker(BrokerConfig(folder / "broker")).status()
    assert not status.running
    port = int((folder / "broker" / "port").read_text())
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    rows = rows_of(tmp_path / "bars.csv")
    assert len(rows) == first["bars"]
    assert sum(int(row["trades"]) for row in rows if row["interval"] == "1m") == TRADES
    assert rows[0] | {"vwap": ""} == {
        "symbol": "A", "interval": "1s", "start_ns": str(START * 10**9), "open": "100.0",
        "high": "100.0", "low": "100.0", "close": "100.0", "volume": "1.0", "vwap": "",
        "trades": "1", "revision": "0",
    }  # fmt: skip
    assert first["outcomes"]["counts"]["applied"] == TRADES
    again = run(tmp_path, tmp_path / "again.csv", "--from-log", first["prefix"], *chosen)
    assert again["replayed"] is None
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "bars.csv").read_bytes()
    assert processes_of(folder) == []


@pytest.fixture
def quotes(tmp_path: Path) -> Path:
    """A quote each 0.25 s; of each 100 one is crossed and two have a side of zero."""
    path = tmp_path / "quotes.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["symbol", "bid", "ask", "event_time"])
        for number in range(QUOTES):
            bid, ask = 100 + number % 7 / 8, 101 + number % 5 / 8
            if number % 100 == 50:
                bid, ask = ask, bid
            elif number % 50 == 10:
                bid, ask = 0, ask
            time_ns = START * 1_000_000_000 + number * 250_000_000
            writer.writerow([SYMBOLS[number % len(SYMBOLS)], bid, ask, time_ns])
    return path


def test_quotes_run_through_their_own_agent(
    own: dict[str, str], quotes: Path, ticks: Path, tmp_path: Path
) -> None:
    chosen = ("--kind", "quotes", "--intervals", "1s,1m")
    first = run(tmp_path, tmp_path / "q.csv", "--replay", quotes, *chosen, settings=own)
    prefix = first["prefix"]
    assert first["group"] == f"{prefix}.run.quotes"
    assert first["kind"] == first["replayed"]["kind"] == "quotes"
    counts = first["outcomes"]["counts"]
    assert counts["applied"] + counts["ignored"] == first["replayed"]["trades"] == QUOTES
    assert sum(counts.values()) == first["replayed"]["sent"]
    assert first["outcomes"]["details"] == {"crossed": QUOTES // 100, "zero": QUOTES // 50}
    rows = rows_of(tmp_path / "q.csv")
    assert len(rows) == first["bars"]
    assert sum(int(row["quotes"]) for row in rows if row["interval"] == "1m") == counts["applied"]
    assert rows[0] == {
        "symbol": "A", "interval": "1s", "start_ns": str(START * 10**9),
        "bid_open": "100.0", "bid_high": "100.0", "bid_low": "100.0", "bid_close": "100.0",
        "ask_open": "101.0", "ask_high": "101.0", "ask_low": "101.0", "ask_close": "101.0",
        "mid_open": "100.5", "mid_high": "100.5", "mid_low": "100.5", "mid_close": "100.5",
        "quotes": "1", "revision": "0",
    }  # fmt: skip
    # The same log through a fresh deployment gives the same bytes; trades beside it touch nothing.
    beside = (*("--from-log", prefix), "--deployment", "trades", "--replay", ticks)
    wanting = candlewick(tmp_path, "run", *beside, "--until-drained", settings=own)
    assert wanting.code == FAILURE
    assert f"--from-log: there is no topic {prefix}.ticks" in wanting.errors
    again = run(tmp_path, tmp_path / "again.csv", "--from-log", prefix, *chosen, settings=own)
    assert again["replayed"] is None
    assert again["outcomes"] == first["outcomes"]
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "q.csv").read_bytes()
    whose = ("--deployment", "run", "--prefix", f"{prefix}.")
    table = candlewick(
        tmp_path, "bars", "A", "--kind", "quotes", "--last", "3", *whose, settings=own
    )
    assert table.code == OK, table.errors
    lines = table.output.splitlines()
    assert "spread" in lines[0]
    assert len(lines) == 1 + 3 * 2


def test_what_is_published_of_bad_quotes_is_the_references(
    own: dict[str, str], quotes: Path, tmp_path: Path
) -> None:
    own["CANDLEWICK_BARS__CORRECTION_HORIZON"] = "30s"
    mangled = ("--disorder", "5s", "--late", "2%", "--corrupt", "5%", "--seed", "1")
    chosen = ("--kind", "quotes", "--replay", quotes, "--intervals", "2s,3s,1m", *mangled)
    summary = run(tmp_path, tmp_path / "q.csv", *chosen, settings=own)
    settings = ReferenceSettings(
        (2 * SECOND, 3 * SECOND, 60 * SECOND), correction_horizon=30 * SECOND
    )
    arguments = (own["CANDLEWICK_BROKER__URL"], f"{summary['prefix']}.", "run")
    compared = compare_deployment(*arguments, settings, "quotes")
    assert compared.passes, compared.report()
    counts = {outcome: n for outcome, n in summary["outcomes"]["counts"].items() if n}
    assert counts == compared.outcomes
    assert counts.keys() == {"applied", "revised", "late", "ignored", "dead", "control"}
    assert counts["dead"] == summary["replayed"]["corrupt"]
    # The comparison tells other settings.
    assert not compare_deployment(*arguments, ReferenceSettings((SECOND,)), "quotes").passes


def test_ctrl_c_stops_everything(ticks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    process = start(tmp_path, ["run", "--replay", ticks, "--data-dir", folder])
    said(process, PROCESS)
    assert processes_of(folder)
    process.send_signal(signal.SIGINT)
    ended = finish(process, 60)
    assert ended.code == FAILURE
    assert ended.errors.splitlines()[0] == "stopping"
    assert ended.last_words == ["candlewick: stopped"]
    assert processes_of(folder) == []


def test_workers_end_in_order_when_their_run_is_killed(
    own: dict[str, str], ticks: Path, tmp_path: Path
) -> None:
    arguments: list[str | Path] = ["run", "--replay", ticks, "--rate", "100", "--workers", "2"]
    process = start(tmp_path, arguments, settings=own)
    workers = [psutil.Process(int(said(process, WORKER)[1])) for _ in range(2)]
    logs = tmp_path / "data" / "logs"
    try:
        until(lambda: all("ready with" in text for text in texts(logs)) and len(texts(logs)) == 2)
        process.kill()
        process.communicate(timeout=30)
        _, alive = psutil.wait_procs(workers, 60)
        assert alive == []
    finally:
        for worker in workers:
            if worker.is_running():
                worker.kill()
    for text in texts(logs):
        assert "the supervisor of this worker has ended" in text
        assert "stopped: " in text  # with a checkpoint, as at any stop
        assert "Traceback" not in text
        # The clients may complain: the other worker's stop is a rebalance that this one ends in.
        errors = [line for line in text.splitlines() if "[error" in line]
        assert not [line for line in errors if "[app." in line or "[faust" in line], errors
    assert processes_of(tmp_path) == []


def texts(logs: Path) -> list[str]:
    """What all workers have said."""
    return [path.read_text(errors="replace") for path in sorted(logs.glob("*.log"))]


def until(met: Callable[[], bool], seconds: float = 90.0) -> None:
    """Ask until it is so: another process brings it about."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.05)


def test_a_worker_that_dies_is_started_again_and_counted(
    own: dict[str, str], ticks: Path, tmp_path: Path
) -> None:
    undisturbed = run(tmp_path, tmp_path / "whole.csv", "--replay", ticks, settings=own)
    export = tmp_path / "bars.csv"
    arguments = ["run", "--replay", ticks, "--rate", "400"]
    process = start(
        tmp_path, [*arguments, "--until-drained", "--export", export, "--json"], settings=own
    )
    os.kill(int(said(process, PROCESS)[1]), signal.SIGKILL)
    os.kill(int(said(process, PROCESS)[1]), signal.SIGKILL)
    ended = finish(process, 90)
    assert ended.code == OK, ended.errors
    summary = json.loads(ended.output)
    assert summary["restarts"] == 2
    assert summary["outcomes"] == undisturbed["outcomes"]
    assert export.read_bytes() == (tmp_path / "whole.csv").read_bytes()


class Deployment:
    """A deployment of `--deployment d`, and its worker as a command."""

    def __init__(self, folder: Path, own: dict[str, str]) -> None:
        self.folder, self.own = folder, own

    def run(self, *arguments: str | Path) -> Finished:
        chosen = ("run", "--deployment", "d", "--until-drained", *arguments)
        return candlewick(self.folder, *chosen, settings=self.own)

    def settings(self, **bars: Any) -> Settings:
        return Settings(
            deployment="d",
            agents=("bars",),
            topic_prefix=self.own["CANDLEWICK_TOPIC_PREFIX"],
            broker={"url": self.own["CANDLEWICK_BROKER__URL"]},
            bars=bars,
        )

    def worker(self, *arguments: str) -> subprocess.Popen[str]:
        port = ("--web-port", str(free_port()))
        named = self.own | {"CANDLEWICK_DEPLOYMENT": "d"}
        return start(self.folder, ["worker", *port, *arguments], settings=named)


@pytest.fixture
def deployment(own: dict[str, str], ticks: Path, tmp_path: Path) -> Iterator[Deployment]:
    """One that is drained."""
    made = Deployment(tmp_path, own)
    ended = made.run("--replay", ticks)
    assert ended.code == OK, ended.errors
    yield made
    assert processes_of(tmp_path) == []


async def drained(settings: Settings) -> list[tuple[Any, ...]]:
    """The bars once the group has committed the whole log."""
    await wait_until_drained(settings, await input_bounds(settings), stall_seconds=60)
    return list((await read_bars(settings)).rows())


def test_a_worker_starts_from_the_log_after_a_reset(deployment: Deployment, tmp_path: Path) -> None:
    with_all = asyncio.run(drained(deployment.settings()))
    deployment.own["CANDLEWICK_BARS__INTERVALS"] = "1s,1m"
    assert finish(deployment.worker(), 60).code == REFUSED
    worker = deployment.worker("--reset", "--yes")
    try:
        said(worker, re.compile("^removed$"))
        rows = asyncio.run(drained(deployment.settings(intervals="1s,1m")))
    finally:
        worker.terminate()
        ended = finish(worker, 60)
    assert ended.code == OK, ended.errors
    assert rows == [row for row in with_all if row[1] in ("1s", "1m")]
    assert (tmp_path / "data" / "state").is_dir()


def test_a_run_starts_from_the_log_after_a_reset(deployment: Deployment, tmp_path: Path) -> None:
    export = tmp_path / "bars.csv"
    log = ("--from-log", deployment.own["CANDLEWICK_TOPIC_PREFIX"], "--export", export)
    other = ("--intervals", "1m", "--json", *log)
    assert deployment.run(*other).code == REFUSED
    ended = deployment.run(*other, "--reset", "--yes")
    assert ended.code == OK, ended.errors
    assert json.loads(ended.output)["outcomes"]["counts"]["applied"] == TRADES
    assert {row["interval"] for row in rows_of(export)} == {"1m"}


def test_a_reset_that_is_not_confirmed_removes_nothing(deployment: Deployment) -> None:
    before = asyncio.run(drained(deployment.settings()))
    for ended in (
        finish(deployment.worker("--reset"), 60),
        deployment.run("--from-log", deployment.own["CANDLEWICK_TOPIC_PREFIX"], "--reset"),
        candlewick(deployment.folder, "up", "--reset", settings=deployment.own),
    ):
        assert ended.code == FAILURE
        assert "topics: " in ended.errors
        assert "remove deployment" in ended.errors
        assert "removed" not in ended.errors
    assert asyncio.run(drained(deployment.settings())) == before


def test_a_reset_beside_a_running_worker_is_one_line(deployment: Deployment) -> None:
    worker = deployment.worker("-l", "info")
    try:
        said(worker, re.compile(r".*ready with \d+ partitions"))
        prefix = deployment.own["CANDLEWICK_TOPIC_PREFIX"]
        arguments = ("reset", "--deployment", "d", "--yes")
        ended = candlewick(deployment.folder, *arguments, settings=deployment.own)
    finally:
        worker.terminate()
        stopped = finish(worker, 60)
    assert ended.code == FAILURE
    assert len(ended.last_words) == 1
    # Its worker runs all agents; the run before it had a group of its own, which is empty.
    assert (
        f"group {prefix}d.bars-quotes: a worker of deployment 'd' is running" in ended.last_words[0]
    )
    assert stopped.code == OK, stopped.errors


def test_a_reset_needs_the_name_of_a_deployment(ticks: Path, tmp_path: Path) -> None:
    ended = candlewick(tmp_path, "run", "--replay", ticks, "--reset", "--yes")
    assert ended.code == USAGE
    assert "--reset needs --deployment" in ended.errors
