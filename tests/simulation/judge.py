"""What is wrong with a history: its outputs against the reference, and what must hold beside them.

The first stage is judged by `tests/oracle`. What the second stage should have written is computed
here from the first stage's *expected* output, by the rule in the docstring of `second_stage.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from faust.types import TP

from tests.oracle.averages import Averages, averages_of
from tests.oracle.compare import (
    TopicComparison,
    _body,
    compare_partition,
    expected_sources,
    found_bar,
    found_source,
)
from tests.oracle.log import LogRecord
from tests.oracle.reference import Reference
from tests.oracle.reference import Settings as ReferenceSettings
from tests.oracle.window import Publication
from tests.simulation.history import FOLD, INDICATORS, SETTINGS, STAGE, Outcome
from tests.simulation.ticks import PARTITIONS


def reference_settings() -> ReferenceSettings:
    """The deployment's settings, as the reference wants them."""
    bars = SETTINGS.bars
    return ReferenceSettings(
        intervals=bars.intervals,
        policy=bars.policy,
        grace=bars.grace,
        correction_horizon=bars.correction_horizon,
        recall_horizon=bars.recall_horizon,
        max_message_bytes=SETTINGS.topics.max_message_bytes,
    )


def faults(outcome: Outcome) -> list[str]:
    """What is not as it must be, a line each; empty where all is right."""
    found = list(outcome.torn)
    for partition in range(PARTITIONS):
        reference = Reference(partition, PARTITIONS, reference_settings())
        for offset, timestamp, value in outcome.logs[partition]:
            reference.feed(offset, timestamp, value)
        found += _first_stage(outcome, partition, reference)
        found += _second_stage(outcome, partition, reference.bars)
        found += _indicators(outcome, partition, reference.bars)
    return found


def _first_stage(outcome: Outcome, partition: int, reference: Reference) -> list[str]:
    wanted: dict[str, Sequence[tuple[tuple[Any, ...], Any]]] = {
        "bars": [(bar.identity, _body(bar)) for bar in reference.bars],
        "late": expected_sources(
            STAGE.source,
            partition,
            [(each.offset, (each.value, each.symbol.encode())) for each in reference.late],
        ),
        "dead": expected_sources(
            STAGE.source,
            partition,
            [(each.offset, (each.value, each.reason.encode())) for each in reference.dead],
        ),
    }
    found: list[str] = []
    for name, expected in wanted.items():
        result = TopicComparison(name)
        records: Iterable[LogRecord] = (
            LogRecord(0, 0, key, value, dict(headers))
            for key, value, headers in outcome.outputs[TP(STAGE.outputs[name], partition)]
        )
        there = (
            found_bar(record) if name == "bars" else found_source(record, name == "dead")
            for record in records
        )
        compare_partition(result, partition, expected, there)
        for kind, lines in result.faults.items():
            if lines:
                found.append(f"{name}: {len(lines)} {kind}, first {lines[0]}")
    return found


def expected_folds(bars: Iterable[Publication]) -> list[tuple[bytes, bytes]]:
    """Keys and values that the second stage should write of these bars."""
    everything = ""
    seen: Counter[str] = Counter()
    chains: dict[str, str] = {}
    found = []
    for number, bar in enumerate(bars, 1):
        text = json.dumps(asdict(bar), sort_keys=True)
        everything = _link(everything, text)
        seen[bar.symbol] += 1
        # Each fifth bar ends a round, and the next round begins from all bars' chain.
        place = (seen[bar.symbol] - 1) % 5 + 1
        before = everything if place == 1 else chains[bar.symbol]
        chains[bar.symbol] = _link(before, text)
        if place in (2, 4):
            value = (
                f'{{"symbol":"{bar.symbol}","bars":{place},"all":{number},'
                f'"chain":"{chains[bar.symbol]}"}}'
            )
            found.append((bar.symbol.encode(), value.encode()))
    return found


def _link(chain: str, text: str) -> str:
    return hashlib.blake2b(f"{chain} {text}".encode(), digest_size=8).hexdigest()


def _second_stage(outcome: Outcome, partition: int, bars: Iterable[Publication]) -> list[str]:
    wanted = expected_folds(bars)
    there = [
        (key, value) for key, value, _ in outcome.outputs[TP(FOLD.outputs["folds"], partition)]
    ]
    return _differences("folds", partition, wanted, there, lambda one, other: one == other)


def _indicators(outcome: Outcome, partition: int, bars: Iterable[Publication]) -> list[str]:
    there = []
    for key, value, _ in outcome.outputs[TP(INDICATORS.outputs["indicators"], partition)]:
        record = json.loads(value or b"")
        assert key == record["symbol"].encode()
        there.append(record)
    found = _differences("indicators", partition, list(averages_of(bars)), there, _same_averages)
    if outcome.outputs[TP(INDICATORS.outputs["dead"], partition)]:
        found.append(f"indicators: partition {partition} has dead records")
    return found


def _same_averages(wanted: Averages, there: dict[str, Any]) -> bool:
    identity = ("symbol", "interval", "start", "revision")
    if any(there[name] != getattr(wanted, name) for name in identity):
        return False
    if not there["exact"] and not wanted.disturbed:
        return False
    pairs = ((wanted.simple, "SMA(3)"), (wanted.exponential, "EMA(3)"))
    return all(
        value == there["values"][name]
        if value is None or there["values"][name] is None
        else math.isclose(value, there["values"][name], rel_tol=1e-12)
        for value, name in pairs
    )


def _differences(
    name: str,
    partition: int,
    wanted: Sequence[Any],
    there: Sequence[Any],
    same: Callable[[Any, Any], bool],
) -> list[str]:
    pairs = enumerate(zip(wanted, there, strict=False))
    shorter = min(len(wanted), len(there))
    place = next((place for place, (one, other) in pairs if not same(one, other)), shorter)
    if place == len(wanted) == len(there):
        return []
    return [
        f"{name}: partition {partition} has {len(there)} records, expected {len(wanted)}; they "
        f"differ from record {place} on"
    ]
