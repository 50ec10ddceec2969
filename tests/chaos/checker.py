"""What a `read_committed` reader has of a deployment, against the oracle on the same log.

No engine code: the log is read with confluent-kafka (`tests/oracle/log.py`), bars, late and dead
records are recomputed by `tests/oracle`, and compared by key: (symbol, interval, start, revision)
of a bar and of its indicators (`SMA(3),EMA(3)`), the source's position of a late or dead record.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from tests.oracle.averages import averages_of, found_averages
from tests.oracle.compare import KINDS, Found, _body, expected_sources, found_bar, found_source
from tests.oracle.log import read_partition
from tests.oracle.reference import Settings
from tests.oracle.window import Publication

#: What no output may have.
DEVIATIONS = ("lost", "doubled", "differing", "two_bodies", "unexpected", "disordered")
Expected = Sequence[tuple[tuple[Any, ...], Any]]


@dataclass
class TopicVerdict:
    """One output topic, all partitions; each list holds one line a deviation.

    Attributes:
        expected, found: records.
        lost: of the oracle, and not there.
        doubled: there again, with the same bytes.
        differing: there once, with another body than the oracle's.
        two_bodies: there again, with other bytes.
        unexpected: there, and not of the oracle.
        disordered: keys whose records are not in the oracle's order (a bar's key is its symbol;
            late and dead records are in the order of the log, a partition at a time).
    """

    topic: str
    expected: int = 0
    found: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    two_bodies: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)

    @property
    def deviations(self) -> dict[str, list[str]]:
        """The lines by kind."""
        return {kind: getattr(self, kind) for kind in DEVIATIONS}

    @property
    def exact(self) -> bool:
        """Whether nothing deviates."""
        return not any(self.deviations.values())

    def add(self, partition: int, expected: Expected, found: Iterable[Found]) -> None:
        """Compare one partition; `expected` are (identity, body) in order."""
        bodies = dict(expected)
        assert len(bodies) == len(expected), "the oracle published an identity twice"
        first: dict[tuple[Any, ...], Found] = {}
        self.expected += len(expected)
        for each in found:
            self.found += 1
            line = f"partition {partition} {each.identity}"
            if each.identity not in bodies:
                self.unexpected.append(f"{line}: {each.body}")
            elif each.identity not in first:
                first[each.identity] = each
                if each.body != bodies[each.identity]:
                    self.differing.append(
                        f"{line}: expected {bodies[each.identity]}, found {each.body}"
                    )
            elif first[each.identity].raw == each.raw:
                self.doubled.append(line)
            else:
                self.two_bodies.append(f"{line}: {first[each.identity].raw}, {each.raw}")
        self.lost += [
            f"partition {partition} {identity}" for identity in bodies if identity not in first
        ]
        mine, theirs = _by_key(each for each in bodies if each in first), _by_key(first)
        self.disordered += [
            f"partition {partition} {key}" for key, order in mine.items() if order != theirs[key]
        ]


def _by_key(identities: Iterable[tuple[Any, ...]]) -> dict[Any, list[tuple[Any, ...]]]:
    """Identities in order, by their first part: a bar's symbol, or the source's topic."""
    found: dict[Any, list[tuple[Any, ...]]] = {}
    for identity in identities:
        found.setdefault(identity[0], []).append(identity)
    return found


@dataclass
class Verdict:
    """All outputs of a deployment.

    Attributes:
        topics: each output.
        outcomes: records of the log by kind and outcome, as the oracle judges them.
    """

    topics: list[TopicVerdict] = field(default_factory=list)
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether nothing deviates."""
        return all(each.exact for each in self.topics)

    @property
    def counts(self) -> dict[str, int]:
        """Deviations of all topics by kind."""
        return {
            kind: sum(len(each.deviations[kind]) for each in self.topics) for kind in DEVIATIONS
        }


def check(
    broker: str,
    prefix: str,
    deployment: str,
    partitions: int,
    settings: Settings,
    ended: threading.Event,
) -> Verdict:
    """Recompute every partition of both input topics and compare what came of it.

    Read when all has drained: what is not committed counts as lost.

    Args:
        ended: once it is set nobody waits for the result any more.

    Raises:
        UnreadableTopicError: a topic cannot be read.
    """
    verdict = Verdict()
    indicators = TopicVerdict(f"{prefix}{deployment}.indicators")
    for name, kind in KINDS.items():
        source, stem = f"{prefix}{kind.source}", f"{prefix}{deployment}."
        bars = TopicVerdict(f"{stem}{kind.bars}")
        late, dead = (
            TopicVerdict(f"{stem}{kind.stem}.late"),
            TopicVerdict(f"{stem}{kind.stem}.dead"),
        )
        outcomes: Counter[str] = Counter()
        for partition in range(partitions):
            reference = kind.reference(partition, partitions, settings)
            for record in read_partition(broker, source, partition):
                if ended.is_set():
                    return verdict
                reference.feed(record.offset, record.append_time, record.value)
            outcomes += reference.outcomes
            bars.add(
                partition,
                [(bar.identity, _body(bar)) for bar in reference.bars],
                (
                    found_bar(each, kind.publication)
                    for each in read_partition(broker, bars.topic, partition)
                ),
            )
            lates = [(each.offset, (each.value, each.symbol.encode())) for each in reference.late]
            deads = [(each.offset, (each.value, each.reason.encode())) for each in reference.dead]
            for topic, records, with_reason in ((late, lates, False), (dead, deads, True)):
                topic.add(
                    partition,
                    expected_sources(source, partition, records),
                    (
                        found_source(each, with_reason)
                        for each in read_partition(broker, topic.topic, partition)
                    ),
                )
            if name == "trades":
                indicators.add(
                    partition,
                    [
                        (each.identity, each.body)
                        for each in averages_of(cast("list[Publication]", reference.bars))
                    ],
                    (
                        found_averages(each)
                        for each in read_partition(broker, indicators.topic, partition)
                    ),
                )
        verdict.topics += [bars, late, dead]
        verdict.outcomes[name] = outcomes
    verdict.topics.append(indicators)
    return verdict
