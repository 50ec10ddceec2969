"""How long checkpoints of many changed rows take: a worker, Kafka's transaction, RocksDB.

One partition. Each round sends a trade of every symbol, all within one second of event time of a
partition that is marked historical: no window closes, so a second after the first of them a
checkpoint is due that holds a changed row for each symbol, their trade ids, and no bar. Times are
those of the worker's own metrics.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from app.admin import ensure_topics
from app.feeds.producer import TickSender
from app.settings import Settings
from app.streaming.runner import PHASES
from tests.bench.log import HISTORICAL
from tests.bench.scale_state import trade
from tests.bench.ticks import BEGIN
from tests.broker.worker import WorkerProcess, until

MILLISECOND = 1_000_000
_SECONDS = "candlewick_checkpoint_seconds"
_PHASE = "candlewick_checkpoint_phase_seconds_sum"
_RECORDS = "candlewick_checkpoint_records_total"


@dataclass(frozen=True)
class Checkpoints:
    """What a checkpoint took on average, in ms; `rows` are those of one of them."""

    symbols: int
    checkpoints: int
    rows: float
    milliseconds: float
    phases: dict[str, float]


async def measure_checkpoints(settings: Settings, symbols: int, rounds: int) -> Checkpoints:
    """Run a worker of a new deployment through some rounds, after one that is not counted.

    Args:
        settings: of one partition.

    Raises:
        NotInTimeError: a round is not committed in time.
    """
    await ensure_topics(settings)
    async with WorkerProcess(settings) as worker, TickSender(settings) as sender:
        await worker.wait_ready()
        await sender.send(0, [(None, HISTORICAL)])
        samples = [await _round(worker, sender, symbols, 0, 0.0)]
        for number in range(1, rounds + 1):
            samples.append(await _round(worker, sender, symbols, number, samples[-1]["rows"]))
        await worker.stop()
    first, last = samples[0], samples[-1]
    spent = {name: last[name] - first[name] for name in last}
    count = spent["count"]
    return Checkpoints(
        symbols,
        int(count),
        spent["rows"] / count,
        spent["sum"] / count * 1e3,
        {name: spent[name] / count * 1e3 for name in PHASES},
    )


async def _round(
    worker: WorkerProcess, sender: TickSender, symbols: int, number: int, rows: float
) -> dict[str, float]:
    """Send a trade of every symbol; the metrics once their rows are committed.

    Args:
        rows: how many are committed so far.
    """
    moment = BEGIN + number * MILLISECOND
    values = (trade(n, moment, number * symbols + n, identified=True) for n in range(symbols))
    await sender.send(0, ((None, value) for value in values))
    await sender.flush()
    found: dict[str, float] = {}

    async def committed() -> bool:
        nonlocal found
        status, text = await worker.get("/metrics")
        found = _samples(text) if status == 200 else {}
        return found.get("rows", 0.0) >= rows + symbols

    await until(committed, lambda: f"{symbols} rows committed; {worker.tail}")
    return found


def _samples(text: str) -> dict[str, float]:
    """The metrics that are needed here, of the bars agent: rows, count, sum, and the phases."""
    totals: defaultdict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("agent") != "bars":
                continue
            if sample.name == _RECORDS and sample.labels["kind"] == "row":
                totals["rows"] += sample.value
            elif sample.name in (f"{_SECONDS}_sum", f"{_SECONDS}_count"):
                totals[sample.name.rpartition("_")[2]] += sample.value
            elif sample.name == _PHASE:
                totals[sample.labels["phase"]] += sample.value
    return dict(totals)
