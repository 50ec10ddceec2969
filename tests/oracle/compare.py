"""A deployment's outputs on the broker against the reference, run on the same input topic.

    python -m tests.oracle.compare --broker kafka://127.0.0.1:9092 --deployment default \\
        --intervals 1s,1m --policy all [--prefix P.] [--sip-table FILE.json] [--list 20]
        [--kind quotes]

Read it when the deployment has drained: what is not committed yet counts as lost. Exit code 1
on any difference.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tests.oracle.log import LogRecord, partitions_of, read_partition
from tests.oracle.quotes_reference import QuotePublication, QuotesReference
from tests.oracle.reference import Reference, Settings
from tests.oracle.rules import SECOND, Flags
from tests.oracle.window import Publication

_UNITS = {"ms": 1_000_000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
AnyPublication = Publication | QuotePublication


@dataclass
class TopicComparison:
    """One output topic, all partitions. The lists hold one line a record.

    Attributes:
        lost: expected and not there.
        doubled: there more than once, with the same bytes.
        wrong: two bodies for one identity, or another body than expected.
        unexpected: there, and of no expected identity in this partition.
        disordered: partitions whose identities are right and in another order.
    """

    topic: str
    expected: int = 0
    found: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)

    @property
    def faults(self) -> dict[str, list[str]]:
        """The lines by kind of fault."""
        kinds = ("lost", "doubled", "wrong", "unexpected", "disordered")
        return {kind: getattr(self, kind) for kind in kinds}

    @property
    def passes(self) -> bool:
        """Whether nothing differs."""
        return not any(self.faults.values())

    def __str__(self) -> str:
        counts = ", ".join(f"{kind} {len(lines)}" for kind, lines in self.faults.items())
        return f"{self.topic}: expected {self.expected}, found {self.found}, {counts}"


@dataclass
class DeploymentComparison:
    """All output topics of a deployment, and the reference's outcomes over all partitions."""

    topics: list[TopicComparison]
    outcomes: Counter[str]

    @property
    def passes(self) -> bool:
        """Whether nothing differs."""
        return all(topic.passes for topic in self.topics)

    def report(self, most: int = 20) -> str:
        """Text with at most so many lines of each kind of fault."""
        records = sum(self.outcomes.values())
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.outcomes.items()))
        lines = [f"{records} records: {counts}"]
        for topic in self.topics:
            lines.append(str(topic))
            for kind, faults in topic.faults.items():
                lines += [f"  {kind}: {fault}" for fault in faults[:most]]
        lines.append("equal" if self.passes else "DIFFERENT")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Found:
    """A record of an output topic: identity, body to compare, and its bytes."""

    identity: tuple[Any, ...]
    body: Any
    raw: tuple[Any, ...]


@dataclass(frozen=True)
class Kind:
    """What differs between trades and quotes.

    Attributes:
        source: the input topic, after the prefix.
        bars, stem: the topic of bars, and what `.late` and `.dead` follow, after the deployment.
    """

    source: str
    bars: str
    stem: str
    reference: type[Reference] | type[QuotesReference]
    publication: type[AnyPublication]


KINDS = {
    "trades": Kind("ticks", "bars", "bars", Reference, Publication),
    "quotes": Kind("quotes", "quotes.bars", "quotes", QuotesReference, QuotePublication),
}


def _body(bar: AnyPublication) -> list[tuple[str, str]]:
    """A bar as comparable fields in order; `repr` tells 1 from 1.0 and 0.0 from -0.0."""
    return [(each.name, repr(getattr(bar, each.name))) for each in fields(bar)]


def found_bar(record: LogRecord, publication: type[AnyPublication] = Publication) -> Found:
    """A record of a topic of bars, decoded; its body is a text where it is no bar."""
    declared = fields(publication)
    raw = (record.key, record.value)
    try:
        pairs = json.loads(record.value or b"", object_pairs_hook=list)
        names = [name for name, _ in pairs]
        values = dict(pairs)
        if names != [each.name for each in declared] or record.key != values["symbol"].encode():
            raise ValueError
        for name in [each.name for each in declared if "float" in str(each.type)]:
            if isinstance(values[name], int) and not isinstance(values[name], bool):
                values[name] = float(values[name])
        values["sources"] = tuple(values["sources"])
        bar = publication(**values)
    except (ValueError, TypeError, AttributeError, KeyError):
        return Found(("no bar", record.offset), repr(raw), raw)
    return Found(bar.identity, _body(bar), raw)


def found_source(record: LogRecord, with_reason: bool) -> Found:
    """A late or dead record: identity is its source's position."""
    names = ("topic", "partition", "offset")
    identity = tuple(record.headers.get(name) for name in names)
    # The key of a dead record is not judged.
    body = (record.value, record.headers.get("reason") if with_reason else record.key)
    return Found(identity, body, (record.key, record.value, sorted(record.headers.items())))


def compare_partition(
    result: TopicComparison,
    partition: int,
    expected: Sequence[tuple[tuple[Any, ...], Any]],
    found: Iterable[Found],
) -> None:
    """Add one partition's differences; `expected` are (identity, body) in order."""
    bodies = dict(expected)
    assert len(bodies) == len(expected), "the reference published an identity twice"
    first: dict[tuple[Any, ...], Found] = {}
    result.expected += len(expected)
    for each in found:
        result.found += 1
        line = f"partition {partition} {each.identity}"
        if each.identity not in bodies:
            result.unexpected.append(f"{line} {each.body}")
        elif each.identity in first:
            if first[each.identity].raw == each.raw:
                result.doubled.append(line)
            else:
                result.wrong.append(f"{line} two bodies: {first[each.identity].raw} {each.raw}")
        else:
            first[each.identity] = each
            if each.body != bodies[each.identity]:
                result.wrong.append(f"{line} expected {bodies[each.identity]}, found {each.body}")
    result.lost += [
        f"partition {partition} {identity}" for identity, _ in expected if identity not in first
    ]
    order = [identity for identity, _ in expected if identity in first]
    if order != list(first):
        pairs = zip(order, first, strict=True)
        place, (mine, theirs) = next(
            (place, pair) for place, pair in enumerate(pairs) if pair[0] != pair[1]
        )
        result.disordered.append(
            f"partition {partition} record {place}: expected {mine}, found {theirs}"
        )


def expected_sources(
    topic: str, partition: int, records: Iterable[tuple[int, Any]]
) -> list[tuple[tuple[Any, ...], Any]]:
    """(identity, body) of late or dead records, given as (offset, body)."""
    position = (topic.encode(), str(partition).encode())
    return [((*position, str(offset).encode()), body) for offset, body in records]


def compare_deployment(
    broker: str, prefix: str, deployment: str, settings: Settings, kind: str = "trades"
) -> DeploymentComparison:
    """Run the reference on every partition of the input topic and compare its outputs.

    Args:
        broker: `kafka://host:port`.
        prefix: of the topics, with its dot, or empty.
        settings: as the deployment has them.
        kind: `trades` or `quotes`: which agent.

    Raises:
        UnreadableTopicError: a topic is missing or cannot be read.
    """
    chosen = KINDS[kind]
    source, stem = f"{prefix}{chosen.source}", f"{prefix}{deployment}."
    bars, late, dead = (
        TopicComparison(f"{stem}{chosen.bars}"),
        TopicComparison(f"{stem}{chosen.stem}.late"),
        TopicComparison(f"{stem}{chosen.stem}.dead"),
    )
    outcomes: Counter[str] = Counter()
    partitions = partitions_of(broker, source)
    for partition in range(partitions):
        reference = chosen.reference(partition, partitions, settings)
        for record in read_partition(broker, source, partition):
            reference.feed(record.offset, record.append_time, record.value)
        outcomes += reference.outcomes
        compare_partition(
            bars,
            partition,
            [(bar.identity, _body(bar)) for bar in reference.bars],
            (
                found_bar(each, chosen.publication)
                for each in read_partition(broker, bars.topic, partition)
            ),
        )
        compare_partition(
            late,
            partition,
            expected_sources(
                source,
                partition,
                ((each.offset, (each.value, each.symbol.encode())) for each in reference.late),
            ),
            (found_source(each, False) for each in read_partition(broker, late.topic, partition)),
        )
        compare_partition(
            dead,
            partition,
            expected_sources(
                source,
                partition,
                ((each.offset, (each.value, each.reason.encode())) for each in reference.dead),
            ),
            (found_source(each, True) for each in read_partition(broker, dead.topic, partition)),
        )
    return DeploymentComparison([bars, late, dead], outcomes)


def duration(text: str) -> int:
    """`900ms`, `1s`, `15m`, `2h` in ns."""
    number = text.rstrip("msh")
    return int(number) * _UNITS[text.removeprefix(number)]


def read_sip_table(path: Path) -> dict[str, Flags]:
    """A JSON object: condition -> list of `extremes`, `last`, `volume`."""
    table = json.loads(path.read_text(encoding="utf-8"))
    return {
        condition: Flags("extremes" in flags, "last" in flags, "volume" in flags)
        for condition, flags in table.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0 where nothing differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.compare", description=__doc__)
    parser.add_argument("--broker", required=True, help="kafka://host:port")
    parser.add_argument("--prefix", default="", help="of the topics, with its dot")
    parser.add_argument("--deployment", default="default")
    parser.add_argument("--kind", default="trades", choices=KINDS)
    parser.add_argument("--intervals", default="1s,10s,1m,5m,15m")
    parser.add_argument("--policy", default="all", choices=("all", "sip", "algoseek"))
    parser.add_argument("--sip-table", type=Path, help="JSON: condition -> list of flags")
    parser.add_argument("--grace", type=duration, default=Settings.grace)
    parser.add_argument("--horizon", type=duration, default=Settings.correction_horizon)
    parser.add_argument("--recall-horizon", type=duration, default=Settings.recall_horizon)
    parser.add_argument("--list", type=int, default=20, help="lines a kind of difference")
    chosen = parser.parse_args(arguments)
    if chosen.policy == "sip" and chosen.sip_table is None:
        parser.error("--policy sip needs --sip-table")
    settings = Settings(
        intervals=tuple(duration(text) for text in chosen.intervals.split(",")),
        policy=chosen.policy,
        grace=chosen.grace,
        correction_horizon=chosen.horizon,
        recall_horizon=chosen.recall_horizon,
        sip_matrix=read_sip_table(chosen.sip_table) if chosen.sip_table else {},
    )
    comparison = compare_deployment(
        chosen.broker, chosen.prefix, chosen.deployment, settings, chosen.kind
    )
    print(comparison.report(chosen.list))
    return 0 if comparison.passes else 1


if __name__ == "__main__":
    sys.exit(main())
