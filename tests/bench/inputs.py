"""One input of the bench: written once, what should become of it, and a round of each way."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.settings import Settings
from tests.bench import ways
from tests.bench.expected import INTERVALS, PEER_INTERVAL, Bar, Key, expected_bars
from tests.bench.log import write_ticks
from tests.bench.peers import rounds as peers
from tests.bench.profiling import profile
from tests.bench.report import Measured
from tests.bench.ticks import FOUR, JSON, RATE, Ticks, first_of, make_ticks

#: Trades a second of event time and symbol, at least: a bar then holds about as many with few
#: symbols as with many, and what is compared is the symbols and not the bars.
RATE_OF_SYMBOL = 40
#: Trades that a peer reads unless told otherwise: some ten seconds each.
PEER_RECORDS = {"faust": 30_000, "quix": 100_000, "bytewax": 400_000, "streams": 2_000_000}
#: Ways that are measured with every number of symbols; the others with one.
EVERYWHERE = ("bare", "ours")


def rate_of(symbols: int) -> int:
    """Trades a second of event time, over all symbols."""
    return max(RATE, RATE_OF_SYMBOL * symbols)


@dataclass(frozen=True)
class Plan:
    """What all inputs share.

    Attributes:
        records: of bare clients and ours.
        record: of `ticks.RECORDS`.
        peer_records: of the others, by way.
        disorder: ms that a trade may come late.
        fetch_bytes: of a partition and fetch, for the bare clients and ours.
        form: of `ticks.FORMS`, for the bare clients and ours.
    """

    url: str
    folder: Path
    records: int
    record: str
    partitions: int
    disorder: int
    fetch_bytes: int
    peer_records: Mapping[str, int] = field(default_factory=lambda: dict(PEER_RECORDS))
    form: str = JSON

    @property
    def intervals(self) -> dict[str, int]:
        """Bars of ours, name to seconds: with four fields only those of a second."""
        return {PEER_INTERVAL: INTERVALS[PEER_INTERVAL]} if self.record == FOUR else INTERVALS


class Input:
    """Seeded trades of so many symbols."""

    def __init__(self, plan: Plan, symbols: int, chosen: Collection[str]) -> None:
        self.symbols = symbols
        self._plan = plan
        self._chosen = chosen
        self._name = f"bench-{symbols}-{secrets.token_hex(4)}"
        self._folder = plan.folder / self._name
        self._written = 0
        self.expected: dict[Key, Bar] = {}
        self._expected_of: dict[str, dict[Key, Bar]] = {}

    def settings(self, suffix: str = "", deployment: str = "bench") -> Settings:
        """Defaults, on our broker; the input topic's name has the suffix."""
        return Settings(
            broker={"url": self._plan.url, "fetch_max_bytes": self._plan.fetch_bytes},  # type: ignore[arg-type]
            topics={"partitions": self._plan.partitions},  # type: ignore[arg-type]
            bars={"intervals": ",".join(self._plan.intervals)},  # type: ignore[arg-type]
            topic_prefix=f"{self._name}{suffix}.",
            deployment=deployment,
            agents=("bars",),
        )

    def prepare(self) -> str:
        """Write the trades for each way, compute the bars; a line about it."""
        plan = self._plan
        began = time.monotonic()
        peer_records = {way: plan.peer_records[way] for way in self._chosen if way in peers.STARTS}
        count = max([plan.records, *peer_records.values()])
        every = make_ticks(
            count, self.symbols, plan.disorder * 1_000_000, rate=rate_of(self.symbols)
        )
        ticks = first_of(every, plan.records)
        self._written = write_ticks(
            self.settings(), ticks, control=True, record=plan.record, form=plan.form
        )
        self.expected = self._bars_of(ticks, plan.intervals)
        for way, records in peer_records.items():
            few = first_of(every, records)
            settings = self.settings(f"-{way}")
            # Idiomatic Faust takes the symbol from the value, as ours does.
            keyed = way != "faust"
            write_ticks(settings, few, control=False, record=plan.record, keyed=keyed)
            self._expected_of[way] = self._bars_of(few, {PEER_INTERVAL: INTERVALS[PEER_INTERVAL]})
        return (
            f"input: {plan.records:,} trades of {self.symbols:,} symbols, "
            f"{len(self.expected):,} bars to come of them ({time.monotonic() - began:.0f} s)"
        )

    def _bars_of(self, ticks: Ticks, intervals: Mapping[str, int]) -> dict[Key, Bar]:
        return expected_bars(ticks, intervals, sources=self._plan.record != FOUR)

    def measure(self, way: str, number: int) -> ways.Round:
        """One round of a way.

        Raises:
            WrongBarsError: its bars are not those of the trades.
        """
        folder = self._folder / f"{way}-{number}"
        if way in peers.STARTS:
            return peers.measure(
                way, self.settings(f"-{way}"), folder, self._plan.peer_records[way], number,
                self._expected_of[way],
            )  # fmt: skip
        return self._own_ways()[way](folder, number)

    def _own_ways(self) -> dict[str, Callable[[Path, int], ways.Round]]:
        def bare(client: str, slim: bool = False) -> Callable[[Path, int], ways.Round]:
            return lambda folder, _: ways.bare(self.settings(), folder, self._written, client, slim)

        def ours(workers: int) -> Callable[[Path, int], ways.Round]:
            return lambda folder, number: ways.ours(
                self.settings(deployment=f"bench-{workers}-{number}"), folder, self._written,
                self.expected, workers=workers,
            )  # fmt: skip

        return {
            "bare": bare("bare_client"),
            "slim": bare("bare_client", slim=True),
            "confluent": bare("bare_confluent"),
            "ours": ours(1),
            "ours2": ours(2),
        }

    def stage_costs(self) -> dict[str, float]:
        """Processor us a trade of each stage of ours, of a round with clocks in it."""
        settings = self.settings(deployment="bench-stages")
        return ways.stage_costs(settings, self._folder / "stages", self._written, self.expected)

    def profile(self, result: Path) -> str:
        """One round of ours under a profiler."""
        return profile(
            self.settings(), self._folder / "profile", self._written, self.expected, result
        )

    def measured(
        self, rounds: Mapping[str, list[ways.Round]], stages: Mapping[str, float]
    ) -> Measured:
        """The rounds with what they are of."""
        plan = self._plan
        text = (
            f"{plan.records:,} trades over {plan.partitions} partitions, "
            f"{rate_of(self.symbols):,} a second of event time, disorder {plan.disorder} ms, "
            f"{self.settings().topics.compression}, fetches of {plan.fetch_bytes:,} bytes; "
            f"{len(self.expected):,} bars of {', '.join(plan.intervals)}"
        )
        return Measured(self.symbols, plan.record, text, rounds, stages)
