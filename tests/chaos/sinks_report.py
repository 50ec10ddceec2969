"""What a run with faults of the sinks' stores found, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.chaos.ending import Findings, commit, machine
from tests.chaos.sinks_compare import TableVerdict
from tests.chaos.sinks_latency import Latency
from tests.chaos.sinks_log import LetterVerdict

#: Lines of a kind that are told.
MOST_LINES = 10
_LETTER_FAULTS = ("missing", "unexpected", "differing")


@dataclass(frozen=True)
class FaultRecord:
    """One fault; times in seconds.

    Attributes:
        at: since the begin of the load.
        measured: without a kill, the stretch of which latency is told.
        lasted: until the harm was over.
        killed: whether the worker was, during it.
        caught_up: from the end of the harm until all sinks had written all there was then.
    """

    number: int
    name: str
    at: float
    measured: float
    lasted: float
    killed: bool
    caught_up: float

    def __str__(self) -> str:
        killed = "worker killed" if self.killed else "no kill"
        return (
            f"{self.at:6.1f} s  {self.number:3} {self.name:18} {self.lasted:6.1f} s, {killed}, "
            f"all written {self.caught_up:5.1f} s after its end"
        )


@dataclass
class Report(Findings):
    """A whole run.

    Attributes:
        sent: records in the ticks topic.
        drained: seconds from the end of the load until all was written.
        findings: lines; each makes the run fail.
        omitted: faults that this machine cannot do, and why.
        shared: ticks whose point in InfluxDB a later one has, too.
        latencies: by topic, of each stretch.
        retries: what InfluxDB's proxy counted.
    """

    seed: int
    command: str
    began: str = field(default_factory=lambda: datetime.now(tz=UTC).isoformat(timespec="seconds"))
    seconds: float = 0.0
    sent: int = 0
    drained: float = 0.0
    faults: list[FaultRecord] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    omitted: dict[str, str] = field(default_factory=dict)
    tables: list[TableVerdict] = field(default_factory=list)
    letters: LetterVerdict | None = None
    letters_by_sink: Mapping[str, int] = field(default_factory=dict)
    shared: int = 0
    latencies: dict[str, list[Latency]] = field(default_factory=dict)
    gate: Mapping[str, int] = field(default_factory=dict)
    worker_starts: int = 0

    @property
    def faults_found(self) -> list[str]:
        """Why the run fails; empty where it passes."""
        found = list(self.findings)
        if not self.faults:
            found.append("no fault was gone through")
        if not self.tables or self.letters is None:
            return [*found, "nothing was compared"]
        for table in self.tables:
            if not table.expected:
                found.append(f"{table.sink} {table.table}: nothing was expected of it")
            found += [
                f"{table.sink} {table.table}: {count:,} {kind}"
                for kind, count in table.counts.items()
                if count
            ]
        for kind in _LETTER_FAULTS:
            if lines := getattr(self.letters, kind):
                found.append(f"dead letters: {len(lines):,} {kind}")
        refusing = any(each.name.endswith("-refuses") for each in self.faults)
        if refusing and not self.letters.expected:
            found.append("no record was refused: the load is too thin")
        if impatient := self.gate.get("impatient", 0):
            found.append(f"{impatient} requests before InfluxDB's Retry-After was over")
        return found

    def text(self) -> str:
        """Of the terminal."""
        lines = [
            "",
            f"chaos of sinks {self.began}, {machine()}, commit {commit()}",
            f"replay: {self.command}",
            f"{len(self.faults)} faults in {self.seconds:.0f} s, {self.sent:,} ticks, the worker "
            f"started {self.worker_starts} times:",
            *(f"  {each}" for each in self.faults),
            *(f"left out: {name}: {why}" for name, why in self.omitted.items()),
            f"all written {self.drained:.1f} s after the load; rows of the log in each store:",
            *self._table_lines(),
            *self._letter_lines(),
        ]
        if self.gate:
            told = ", ".join(f"{count:,} {name}" for name, count in self.gate.items())
            lines.append(f"requests to InfluxDB: {told}")
        for topic, stretches in self.latencies.items():
            lines.append(
                f"{topic}: from the append of the record that closes a bar until it can be read:"
            )
            lines += [f"  {each}" for each in stretches]
        return "\n".join([*lines, *self.verdict_lines()])

    def _table_lines(self) -> list[str]:
        lines = []
        for table in self.tables:
            lines.append(f"  {table}")
            for kind, rows in table.examples.items():
                lines += [f"    {kind}: {row}" for row in rows]
        if self.shared:
            lines.append(f"  {self.shared} ticks have a point that a later one has, too")
        return lines

    def _letter_lines(self) -> list[str]:
        letters = self.letters
        if letters is None:
            return []
        by_sink = ", ".join(f"{name} {count:,}" for name, count in self.letters_by_sink.items())
        lines = [
            f"culprits {letters.expected:,} ({by_sink or 'none'}), records among the dead letters "
            f"{letters.found:,}, letters written again {letters.repeated:,}"
        ]
        for kind in _LETTER_FAULTS:
            rows: Sequence[str] = getattr(letters, kind)
            lines += [f"    {kind}: {row}" for row in rows[:MOST_LINES]]
        return lines

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        found = asdict(self) | {
            "machine": machine(),
            "commit": commit(),
            "passes": self.passes,
            "findings": self.faults_found,
        }
        if self.letters is not None:
            found["letters"] |= {kind: len(getattr(self.letters, kind)) for kind in _LETTER_FAULTS}
        return found
