"""Histories by seed: whatever happens to the workers, the outputs are the reference's."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from tests.chaos.deployment import _body
from tests.oracle.compare import TopicComparison, compare_partition, found_bar, found_source
from tests.oracle.log import LogRecord
from tests.oracle.reference import Reference
from tests.oracle.reference import Settings as ReferenceSettings
from tests.simulation.history import SETTINGS, STAGE, History, Outcome, Plan

#: How many histories; they are run where it is set, as `make simulate` does.
SEEDS = int(os.environ.get("SEEDS", "0"))
pytestmark = pytest.mark.skipif(
    not SEEDS, reason="`make simulate SEEDS=200` runs histories; planted faults are still to come"
)


def faults(outcome: Outcome) -> list[str]:
    """What readers of the outputs see that is not the reference's; empty where all is right."""
    bars = SETTINGS.bars
    reference = Reference(
        0,
        1,
        ReferenceSettings(
            intervals=bars.intervals,
            policy=bars.policy,
            grace=bars.grace,
            correction_horizon=bars.correction_horizon,
            max_message_bytes=SETTINGS.topics.max_message_bytes,
        ),
    )
    for offset, timestamp, value in outcome.log:
        reference.feed(offset, timestamp, value)
    place = (STAGE.source.encode(), b"0")
    wanted: dict[str, Sequence[tuple[tuple[Any, ...], Any]]] = {
        "bars": [(bar.identity, _body(bar)) for bar in reference.bars],
        "late": [
            ((*place, b"%d" % each.offset), (each.value, each.symbol.encode()))
            for each in reference.late
        ],
        "dead": [
            ((*place, b"%d" % each.offset), (each.value, each.reason.encode()))
            for each in reference.dead
        ],
    }
    found: list[str] = []
    for name, expected in wanted.items():
        result = TopicComparison(name)
        records: Iterable[LogRecord] = (
            LogRecord(0, 0, key, value, dict(headers))
            for key, value, headers in outcome.outputs[name]
        )
        there = (
            found_bar(record) if name == "bars" else found_source(record, name == "dead")
            for record in records
        )
        compare_partition(result, 0, expected, there)
        for kind in ("lost", "doubled", "wrong", "unexpected", "disordered"):
            lines = getattr(result, kind)
            if lines:
                found.append(f"{name}: {len(lines)} {kind}, first {lines[0]}")
    return found


@pytest.fixture(autouse=True)
def quiet() -> Iterable[None]:
    """What workers say of faults that were made on purpose."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", range(SEEDS or 1))
def test_whatever_happens_the_outputs_are_the_references(seed: int) -> None:
    outcome = History(Plan(seed)).run()
    wrong = faults(outcome)
    assert not wrong, "\n".join([*wrong, f"Plan({seed}):", *outcome.events])
    assert outcome.outputs["bars"]


def test_the_same_seed_is_the_same_history() -> None:
    first, second = (History(Plan(7)).run() for _ in range(2))
    assert first == second
