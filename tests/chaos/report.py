"""What a chaos run found, as text and as JSON."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.chaos.checker import Verdict
from tests.chaos.ending import Findings, commit, machine, versions
from tests.chaos.fleet import Exit

#: Lines of each kind of deviation that are kept.
MOST_LINES = 20
#: Outcomes without which a run would have shown little.
NEEDED = {
    "trades": ("applied", "revised", "late", "dead", "duplicate", "control"),
    "quotes": ("applied", "revised", "late", "dead", "ignored", "control"),
}


@dataclass(frozen=True)
class FaultRecord:
    """One fault; times in seconds.

    Attributes:
        lasted: until the cause was gone.
        first_bar: from its beginning to the first bar that every partition has published since.
        after_end: the same from the end of the cause.
        gap: the longest time between two bars of a partition, until then.
    """

    number: int
    kind: str
    at: float
    detail: str
    lasted: float
    first_bar: float
    after_end: float
    gap: float

    def __str__(self) -> str:
        return (
            f"{self.at:6.1f} s  {self.number:3} {self.kind:20} first bar {self.first_bar:5.1f} s, "
            f"{self.after_end:5.1f} s after its end, longest gap {self.gap:5.1f} s  {self.detail}"
        )


@dataclass
class Report(Findings):
    """A whole run.

    Attributes:
        seconds: of the load, from its beginning to its end.
        usual_gap: longest gap between two bars of a partition without a fault, in s.
        findings: lines; each makes the run fail.
        omitted: kinds that this machine cannot do, and why.
    """

    seed: int
    minutes: float
    workers: int
    command: str
    least_faults: int
    least_kinds: int
    kinds: tuple[str, ...]
    began: str = field(default_factory=lambda: datetime.now(tz=UTC).isoformat(timespec="seconds"))
    seconds: float = 0.0
    drained: float = 0.0
    usual_gap: float = 0.0
    faults: list[FaultRecord] = field(default_factory=list)
    exits: list[Exit] = field(default_factory=list)
    starts: int = 0
    findings: list[str] = field(default_factory=list)
    omitted: dict[str, str] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    verdict: Verdict | None = None

    @property
    def by_kind(self) -> dict[str, list[FaultRecord]]:
        """Faults by kind, in the order in which the kinds came first."""
        found: dict[str, list[FaultRecord]] = {}
        for each in self.faults:
            found.setdefault(each.kind, []).append(each)
        return found

    @property
    def faults_found(self) -> list[str]:
        """Why the run fails; empty where it passes."""
        found = list(self.findings)
        if len(self.faults) < self.least_faults:
            found.append(f"{len(self.faults)} faults, at least {self.least_faults} are demanded")
        if len(self.by_kind) < self.least_kinds:
            found.append(f"{len(self.by_kind)} kinds of faults, at least {self.least_kinds}")
        if self.verdict is None:
            return [*found, "nothing was compared"]
        found += [f"{count} {kind}" for kind, count in self.verdict.counts.items() if count]
        for kind, names in NEEDED.items():
            lacking = [name for name in names if not self.verdict.outcomes[kind][name]]
            found += [
                f"no record of the {kind} was {name}: the load is too thin" for name in lacking
            ]
        return found

    def text(self) -> str:
        """Of the terminal."""
        lines = [
            "",
            f"chaos {self.began}, {machine()}, commit {commit()}",
            f"replay: {self.command}",
        ]
        lines.append(
            f"{len(self.faults)} faults of {len(self.by_kind)} kinds in {self.seconds:.0f} s, "
            f"{self.workers} workers; seconds to the first bar of every partition, "
            f"worst and median:"
        )
        for kind, records in self.by_kind.items():
            lines.append(f"  {kind:22} {len(records):3}  {_times(records)}")
        if self.faults:
            lines.append(f"  {'all':22} {len(self.faults):3}  {_times(self.faults)}")
        lines.append(
            f"  longest gap between two bars of a partition without a fault: {self.usual_gap:.1f} s"
        )
        for kind, why in self.omitted.items():
            lines.append(f"left out: {kind}: {why}")
        lines += self._exit_lines()
        lines += self._verdict_lines()
        return "\n".join([*lines, *self.verdict_lines()])

    def _exit_lines(self) -> list[str]:
        codes = Counter((each.code, each.expected, each.during) for each in self.exits)
        ours = sum(count for (_, expected, _), count in codes.items() if expected)
        lines = [f"worker processes: {self.starts} started, {ours} ended by a fault's signal"]
        for (code, expected, during), count in sorted(codes.items(), key=str):
            if not expected:
                lines.append(f"  ended by itself with code {code}, {count} times, during {during}")
        return lines

    def _verdict_lines(self) -> list[str]:
        if self.verdict is None:
            return []
        lines = [f"drained {self.drained:.1f} s after the load; by the oracle, from the log:"]
        for kind, outcomes in self.verdict.outcomes.items():
            told = ", ".join(f"{name} {count:,}" for name, count in sorted(outcomes.items()))
            lines.append(f"  {kind}: {sum(outcomes.values()):,} records: {told}")
        for topic in self.verdict.topics:
            told = ", ".join(f"{len(rows)} {kind}" for kind, rows in topic.deviations.items())
            lines.append(
                f"  {topic.topic}: expected {topic.expected:,}, found {topic.found:,}: {told}"
            )
            for kind, rows in topic.deviations.items():
                lines += [f"    {kind}: {row}" for row in rows[:MOST_LINES]]
        return lines

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        verdict = self.verdict
        return {
            "seed": self.seed,
            "minutes": self.minutes,
            "workers": self.workers,
            "command": self.command,
            "began": self.began,
            "seconds": self.seconds,
            "machine": machine(),
            "commit": commit(),
            "versions": versions(),
            "passes": self.passes,
            "findings": self.faults_found,
            "omitted": self.omitted,
            "faults": [asdict(each) for each in self.faults],
            "seconds_to_first_bar": {
                name: _summary(records)
                for name, records in [*self.by_kind.items(), ("all", self.faults)]
                if records
            },
            "usual_gap": self.usual_gap,
            "starts": self.starts,
            "exits": [asdict(each) for each in self.exits],
            "sent": dict(self.sent),
            "drained_seconds": self.drained,
            "outcomes": {} if verdict is None else verdict.outcomes,
            "deviations": {} if verdict is None else verdict.counts,
            "topics": [] if verdict is None else [_topic(each) for each in verdict.topics],
        }


def _topic(topic: Any) -> dict[str, Any]:
    lines = {kind: rows[:MOST_LINES] for kind, rows in topic.deviations.items() if rows}
    return {
        "topic": topic.topic,
        "expected": topic.expected,
        "found": topic.found,
        "counts": {kind: len(rows) for kind, rows in topic.deviations.items()},
        "lines": lines,
    }


def _summary(records: Iterable[FaultRecord]) -> dict[str, float]:
    records = list(records)
    figures: dict[str, float] = {"faults": len(records)}
    for name in ("first_bar", "after_end", "gap"):
        values = [getattr(each, name) for each in records]
        figures |= {f"{name}_worst": max(values), f"{name}_median": statistics.median(values)}
    return {name: round(value, 2) for name, value in figures.items()}


def _times(records: Iterable[FaultRecord]) -> str:
    told = _summary(records)
    parts = (("since its beginning", "first_bar"), ("since its end", "after_end"), ("gap", "gap"))
    return ", ".join(
        f"{text} {told[f'{name}_worst']:5.1f} {told[f'{name}_median']:5.1f}" for text, name in parts
    )
