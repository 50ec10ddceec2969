"""The same trades give the same bytes, however they are spread, batched, fetched and read.

The data are IBM's recorded morning, and parts of it under other names, so that of four partitions
all have trades. `tests/shows.py` does the same with all that was recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.broker import EmbeddedBroker
from app.feeds.partitioning import partition_of
from tests.command import EQUITY, batch_sizes, lean_file, lean_lines, run, tell, without_revisions

pytestmark = [pytest.mark.realdata, pytest.mark.broker, pytest.mark.slow]

DAY = "20131007"
#: Of IBM's trades of the day; every `STEP`-th is one of these, too: with IBM, one a partition.
TRADES = 12_000
OTHERS = ("AAPL", "MSFT", "C")
STEP = 8
ALGOSEEK = ("--policy", "algoseek")
READY = re.compile(r"ready with (\d+) partitions")


@dataclass(frozen=True)
class Way:
    """One way to replay and to read; `rate` is in records a second."""

    partitions: int
    workers: int
    batch: int
    fetch: int
    rate: int | None = None

    def __str__(self) -> str:
        return f"{self.partitions}p-{self.workers}w-batch{self.batch}-fetch{self.fetch}"

    @property
    def options(self) -> list[str]:
        """Of `candlewick run`."""
        given = [
            *("--partitions", str(self.partitions), "--workers", str(self.workers)),
            *("--batch-records", str(self.batch), "--fetch-max-bytes", str(self.fetch)),
        ]
        return given if self.rate is None else [*given, "--rate", str(self.rate)]


#: Every value at least once, the extremes together. The paced one is shared by both workers.
WAYS = [
    Way(1, 1, 1, 1024),
    Way(16, 2, 1, 8 << 20),
    Way(4, 2, 100, 1024, rate=6_000),
    Way(16, 1, 10_000, 1024),
    Way(1, 2, 100, 64 << 10),
]
REFERENCE = Way(4, 1, 10_000, 8 << 20)

Replay = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def ticks(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = lean_lines(realdata / EQUITY / "ibm" / f"{DAY}_trade.zip")[:TRADES]
    folder = tmp_path_factory.mktemp("ticks")
    lean_file(folder, DAY, "IBM", lines)
    for number, symbol in enumerate(OTHERS):
        lean_file(folder, DAY, symbol, lines[number::STEP])
    assert {partition_of(symbol, 4) for symbol in ("IBM", *OTHERS)} == {0, 1, 2, 3}
    return folder


@pytest.fixture(scope="module")
def replay(
    kafka: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Replay:
    """Runs the command with all state in one folder; tells the number of fetches."""
    folder = tmp_path_factory.mktemp("runs")

    def once(name: str, *arguments: str | Path) -> dict[str, Any]:
        export = folder / f"{name}.parquet"
        settings = {"CANDLEWICK_BROKER__URL": kafka.url}
        summary = run(folder, export, *ALGOSEEK, *arguments, settings=settings, seconds=200)
        records, counts = sum(summary["outcomes"]["counts"].values()), summary["batches"]
        figures = f"{records:,} records in {counts:,} fetches, {summary['seconds']:.1f} s"
        tell(pytestconfig, f"{name}: {figures}")
        assert summary["restarts"] == 0
        logs = [each.read_text() for each in folder.glob(f"data/logs/{summary['prefix']}.*.log")]
        return summary | {
            "export": export,
            "producer_batches": batch_sizes(kafka.config.folder, f"{summary['prefix']}.ticks"),
            "ready": [max(map(int, READY.findall(text)), default=0) for text in logs],
        }

    return once


@pytest.fixture(scope="module")
def reference(replay: Replay, ticks: Path) -> dict[str, Any]:
    """The export that all others must equal."""
    return replay("reference", "--replay", ticks, *REFERENCE.options)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_partitions_workers_batches_and_fetches_do_not_show(
    way: Way, replay: Replay, ticks: Path, reference: dict[str, Any]
) -> None:
    summary = replay(str(way), "--replay", ticks, *way.options)
    assert summary["export"].read_bytes() == reference["export"].read_bytes()
    assert summary["replayed"]["trades"] == reference["replayed"]["trades"] > TRADES
    assert max(summary["producer_batches"]) == way.batch
    if way.fetch == 1024:
        # No fetch holds more than one batch, or more than 1 KB of them.
        size = max(way.batch, 8)
        assert summary["batches"] >= summary["replayed"]["sent"] // size
    assert len(summary["ready"]) == way.workers
    if way.rate is not None:
        assert all(summary["ready"]), "a worker had no partition"


def test_the_reference_has_large_batches_and_few_fetches(reference: dict[str, Any]) -> None:
    assert max(reference["producer_batches"]) == 10_000
    assert reference["batches"] < 50
    assert reference["bars"] > 5_000


def test_disorder_within_the_grace_shows_in_revisions_at_most(
    replay: Replay, ticks: Path, reference: dict[str, Any]
) -> None:
    chosen = ("--disorder", "900ms", "--seed", "1", *REFERENCE.options)
    summary = replay("disorder", "--replay", ticks, *chosen)
    assert without_revisions(summary["export"]) == without_revisions(reference["export"])


def test_a_second_deployment_of_the_same_log_with_late_records_gives_the_same_bytes(
    replay: Replay, ticks: Path, reference: dict[str, Any]
) -> None:
    chosen = ("--late", "1%", "--seed", "1", "--batch-records", "1000")
    first = replay("late", "--replay", ticks, *chosen)
    counts = first["outcomes"]["counts"]
    assert counts["late"] > 30
    assert counts["revised"] > 30
    second = replay("late-again", "--from-log", first["prefix"], *("--fetch-max-bytes", "1024"))
    assert second["batches"] > first["batches"]
    assert second["outcomes"] == first["outcomes"]
    assert second["export"].read_bytes() == first["export"].read_bytes()
    assert without_revisions(second["export"]) != without_revisions(reference["export"])
