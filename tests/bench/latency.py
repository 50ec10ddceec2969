"""`python -m tests.bench.latency`: how long a trade takes into memory, forming and closed bars.

An embedded broker, one worker with the default settings, and an open-loop load: a process of its
own sends trades of the full contract by a schedule that is fixed beforehand, whatever becomes of
them (`latency_load.py`). Each carries the time at which it was due, and every latency is counted
from there, so nothing is left out where load, broker or worker fall behind (coordinated omission),
and from its append, of which the goals are; how late the load itself was is told. It lingers 5 ms,
as Kafka's own client does since 4.0 (KIP-1030). For each rate topics, deployment and processes are
new. A run before the first one is not counted: until then the broker compiles itself, and takes
twice the processor time that it takes afterwards.

- row in memory: the worker notes when each batch is applied (`latency_worker.py`);
- forming bar published: a consumer finds a forming bar of the longest interval that has it;
- closed bar readable: a `read_committed` consumer has the bar, counted from the trade that moves
  the watermark of its partition past the bar's end;
- floor: bare aiokafka has the trade, with the fetch settings of the worker (`latency_readers.py`).

Every closed bar's number of trades is compared with the schedule's: exit code 1 where one is wrong.
Goals are printed beside, and do not change the exit code.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from app.admin import ensure_topics
from app.broker import BrokerConfig, BrokerError, EmbeddedBroker
from app.broker.process import find_process, read_record
from app.durations import format_duration
from app.identity import group_id
from app.run.environment import settings_environment
from app.settings import Settings
from app.topics import output_topic, ticks_topic
from app.web.bind import free_port
from tests.bench.apart import apart, say
from tests.bench.child import STOP_SECONDS, Child, ChildError, running
from tests.bench.latency_figures import make_load
from tests.bench.latency_results import Result, as_text, evaluate
from tests.bench.log import GroupWatch, servers
from tests.bench.report import surroundings
from tests.bench.soak_samples import used_cpu

RATES = "1000,10000,50000,200000"
#: Trades a second of the run that warms the broker.
WARMING_RATE = 20_000
#: Seconds beyond its schedule that a load may take.
SPARE_SECONDS = 60.0
#: Seconds in which the last records of the readers come, after the worker has committed its last
#: trade: forming bars come each 0.2 s.
LAST_SECONDS = 1.0
#: Lines of the worker's log that are printed.
COMPLAINTS = ("[warning", "[error", "[critical", "Traceback")


class Bench:
    """One broker, and a run for each rate."""

    def __init__(self, chosen: argparse.Namespace, folder: Path, url: str) -> None:
        self._chosen = chosen
        self._folder = folder
        self._url = url
        self._name = f"latency-{secrets.token_hex(4)}"
        record = read_record(folder / "kafka")
        self._broker = None if record is None else find_process(record)

    def settings(self, name: str) -> Settings:
        """Defaults but for places and partitions; a worker and topics of its own for each run."""
        return Settings(
            broker={"url": self._url},  # type: ignore[arg-type]
            topics={"partitions": self._chosen.partitions},  # type: ignore[arg-type]
            topic_prefix=f"{self._name}-{name}.",
            data_dir=self._folder / name / "data",
            web={"port": free_port()},  # type: ignore[arg-type]
        )

    def measure(self, rate: int, name: str) -> Result:
        """Run a rate, under a name of its own.

        Raises:
            ChildError: a process has ended early, or does not come to its end.
        """
        chosen = self._chosen
        settings, folder = self.settings(name), self._folder / name
        asyncio.run(ensure_topics(settings))
        span = chosen.warm_up + chosen.seconds
        with running(
            "tests.bench.latency_worker",
            folder / "worker",
            {},
            environment=settings_environment(settings),
        ) as worker:
            worker.wait_until(lambda: _is_ready(settings.web.port), "readiness")
            with running(
                "tests.bench.latency_readers", folder / "readers", self._of_readers(settings)
            ) as readers:
                readers.mark("ready")
                told = self._of_load(settings, rate, span)
                with running("tests.bench.latency_load", folder / "load", told) as load:
                    cores = self._watch(worker, readers, load, span)
                self._wait_committed(settings, worker)
                time.sleep(LAST_SECONDS)
                _end(readers)
            _end(worker)
        for line in (folder / "worker" / "log").read_text(errors="replace").splitlines():
            if any(word in line for word in COMPLAINTS):
                say(f"the worker said: {line}")
        schedule = make_load(rate, span, chosen.symbols, chosen.partitions)
        return evaluate(folder, schedule, rate, chosen.warm_up, settings.bars, cores)

    def _of_readers(self, settings: Settings) -> dict[str, Any]:
        return {
            "servers": servers(settings),
            "topic": ticks_topic(settings),
            "forming": output_topic(settings, "bars.forming"),
            "closed": output_topic(settings, "bars"),
            "partitions": settings.topics.partitions,
            "interval": format_duration(settings.bars.intervals[-1]),
            "fetch_max_bytes": settings.broker.fetch_max_bytes,
            "fetch_max_wait_ms": settings.broker.fetch_max_wait // 1_000_000,
        }

    def _of_load(self, settings: Settings, rate: int, span: float) -> dict[str, Any]:
        return {
            "servers": servers(settings),
            "topic": ticks_topic(settings),
            "partitions": settings.topics.partitions,
            "symbols": self._chosen.symbols,
            "rate": rate,
            "seconds": span,
            "compression": settings.topics.compression,
            "linger_ms": self._chosen.linger_ms,
            "window": settings.bars.intervals[-1],
        }

    def _watch(self, worker: Child, readers: Child, load: Child, span: float) -> dict[str, float]:
        """Wait until all is sent; how many cores each process kept busy meanwhile."""
        began = load.mark("begin")
        watched: dict[str, psutil.Process | None] = {
            "worker": psutil.Process(worker.process.pid),
            "broker": self._broker,
            "readers": psutil.Process(readers.process.pid),
        }
        before = {name: used_cpu(each) for name, each in watched.items()}
        try:
            load.process.wait(span + SPARE_SECONDS)
        except subprocess.TimeoutExpired:
            raise ChildError(f"the load does not come to its end: {load.log}") from None
        cores = {name: used_cpu(each) - before[name] for name, each in watched.items()}
        if load.process.returncode:
            raise ChildError(f"the load ended with {load.process.returncode}: {load.log}")
        ended = load.mark("end")
        cores["load"] = ended["cpu"] - began["cpu"]
        return {name: each / (ended["time"] - began["time"]) for name, each in cores.items()}

    def _wait_committed(self, settings: Settings, worker: Child) -> None:
        watch = GroupWatch(settings, group_id(settings))
        try:
            worker.wait_until(watch.at_end, "commit of the last trade")
        finally:
            watch.close()


def _end(child: Child) -> None:
    """Ask a child to end, and wait until it has written what it noted.

    Raises:
        ChildError: it does not end.
    """
    child.process.terminate()
    try:
        child.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise ChildError(f"it does not end: {child.log}") from None


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def run(chosen: argparse.Namespace, folder: Path) -> bool:
    """Start a broker, measure, report; whether all was right."""
    broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
    results = []
    try:
        broker.start()
        broker.wait_ready()
        bench = Bench(chosen, folder, broker.url)
        say(f"the broker is warmed by {WARMING_RATE:,} trades/s, not counted ...")
        warming = bench.measure(WARMING_RATE, "warming")
        for rate in chosen.rates:
            say(f"{rate:,} trades/s for {chosen.warm_up + chosen.seconds:g} s ...")
            results.append(bench.measure(rate, str(rate)))
            say("\n".join(as_text(results[-1])))
    finally:
        broker.stop()
    about = surroundings(shlex.join(["python", "-m", "tests.bench.latency", *sys.argv[1:]]))
    about["input"] = (
        f"{chosen.seconds:g} s after {chosen.warm_up:g} s of warm-up, {chosen.symbols} symbols "
        f"over {chosen.partitions} partitions, linger of the load {chosen.linger_ms:g} ms"
    )
    say("")
    for name, text in about.items():
        say(f"{name}: {text}")
    if chosen.json:
        document = {"rates": [each.as_json() for each in results], **about}
        chosen.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return not any(each.faults for each in [warming, *results])


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rates", default=RATES, help="trades a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="measured (%(default)s)")
    parser.add_argument("--warm-up", type=float, default=20.0, help="seconds before (%(default)s)")
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument(
        "--linger-ms", type=float, default=5.0, help="of the load's client (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    chosen.rates = [int(each) for each in chosen.rates.split(",")]
    if min(chosen.rates) < 1 or len(set(chosen.rates)) < len(chosen.rates):
        parser.error("--rates: expected numbers above 0, each once")
    if chosen.json is not None:
        chosen.json = chosen.json.resolve()
    return chosen


def main() -> int:
    """Run in a temporary folder; the exit code."""
    chosen = parse()
    with apart("latency") as folder:
        try:
            return 0 if run(chosen, folder) else 1
        except (BrokerError, ChildError) as error:
            print(f"bench failed: {error}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
