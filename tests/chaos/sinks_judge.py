"""The log of a run against its stores, and the latencies of its stretches."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.settings import Settings
from tests.chaos.run import PARTITIONS, _oracle
from tests.chaos.sinks_compare import EXPECTED, compare
from tests.chaos.sinks_culprits import Culprits
from tests.chaos.sinks_latency import Arrivals, Stretch, latency_of
from tests.chaos.sinks_log import Log, LogReader, judge_letters
from tests.chaos.sinks_report import Report
from tests.chaos.sinks_stores import InfluxStore, archive_tables, postgres_tables
from tests.postgres_server import PostgresServer


@dataclass
class Stores:
    """What the sinks of a run write to."""

    influx: InfluxStore | None = None
    postgres: PostgresServer | None = None
    archive: bool = False

    def readers(self, settings: Settings) -> dict[str, Callable[[], dict[str, Any]]]:
        """What reads each back, by sink."""
        found: dict[str, Callable[[], dict[str, Any]]] = {}
        if self.influx is not None:
            found["influx"] = self.influx.tables
        if (server := self.postgres) is not None:
            found["postgres"] = lambda: postgres_tables(server)
        if self.archive:
            found["archive"] = lambda: archive_tables(settings)
        return found


def judge(
    report: Report,
    settings: Settings,
    stores: Stores,
    culprits: Mapping[str, Culprits],
    arrivals: Arrivals,
    stretches: Sequence[Stretch],
    before: int,
    ended: threading.Event,
) -> None:
    """Compare everything, into the report.

    Args:
        culprits: by sink.
        before: ns; what was appended later need not be in a store.
        ended: once it is set nobody waits for the result any more.
    """
    log = LogReader(
        str(settings.broker.url),
        settings.topic_prefix,
        settings.deployment,
        PARTITIONS,
        _oracle(settings),
        culprits,
        arrivals.moments,
    ).read(ended)
    if ended.is_set():
        return
    report.sent = log.tables["ticks"].num_rows
    for sink, read in stores.readers(settings).items():
        found = read()
        report.tables += [
            compare(sink, table, log.tables, found[table], before) for table in EXPECTED[sink]
        ]
    _judge_letters(report, log)
    for table in report.tables:
        if (table.sink, table.table) == ("influx", "ticks"):
            ticks = ("influx", f"{settings.topic_prefix}ticks")
            refused = sum(key[:2] == ticks for key in log.refused)
            report.shared = report.sent - refused - table.expected
    # The calm ones first: all others are read against them.
    ordered = sorted(stretches, key=lambda each: not each.name.startswith("calm"))
    report.latencies = {
        topic: [latency_of(stretch, delays) for stretch in ordered]
        for topic, delays in log.delays.items()
    }


def _judge_letters(report: Report, log: Log) -> None:
    report.letters = judge_letters(log)
    report.letters_by_sink = dict(sorted(Counter(key[0] for key in log.refused).items()))
