"""Histories by seed: whatever happens to the workers, the outputs are the reference's.

A few run with all tests; `make simulate SEEDS=2000` runs as many as one has time for.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from faust.types import TP

from tests.simulation.history import FOLD, INDICATORS, STAGE, History, Outcome
from tests.simulation.judge import faults
from tests.simulation.plan import QUIETABLE, Plan
from tests.simulation.running import quiet, run_all, shortest
from tests.simulation.shrink import Shrinker

#: How many histories, from which seed on.
SEEDS, FIRST = int(os.environ.get("SEEDS", "40")), int(os.environ.get("FIRST", "0"))
PROCESSES = int(os.environ.get("PROCESSES", "1"))
__all__ = ["faults"]


def outcome_of(plan: Plan) -> Outcome:
    with quiet():
        return History(plan).run()


def test_whatever_happens_the_outputs_are_the_references() -> None:
    tally = run_all(FIRST, SEEDS, PROCESSES)
    assert tally.histories == SEEDS
    assert not tally.divergences, shortest(min(tally.divergences))
    # They were histories of something.
    assert tally.published > 20 * SEEDS
    assert tally.counts["rebalance"] > SEEDS


def test_the_same_plan_is_the_same_history() -> None:
    first, second = (outcome_of(Plan(7)) for _ in range(2))
    assert first == second


def test_another_process_runs_the_same_history() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seed", "7"]
    texts = {
        subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


@pytest.mark.parametrize("change", ["lost", "doubled", "reordered", "wrong"])
@pytest.mark.parametrize(
    "topic", [STAGE.outputs["bars"], FOLD.outputs["folds"], INDICATORS.outputs["indicators"]]
)
def test_the_judge_sees_what_is_wrong(topic: str, change: str) -> None:
    outcome = outcome_of(Plan(3))
    records = next(
        records for tp, records in outcome.outputs.items() if tp.topic == topic and len(records) > 3
    )
    assert not faults(outcome)
    if change == "lost":
        del records[2]
    elif change == "doubled":
        records.insert(2, records[2])
    elif change == "reordered":
        records[1], records[2] = records[2], records[1]
    else:
        key, value, headers = records[1]
        assert value is not None
        records[1] = (key, value.replace(b"1", b"2"), headers)
    assert faults(outcome)


def test_a_plan_that_fails_is_shrunk_to_what_it_needs() -> None:
    def fails(plan: Plan) -> bool:
        faults_there = {1, 4} <= set(plan.fault_numbers())
        records = plan.records > 30 and 20 not in plan.skip_records
        return faults_there and records and "slow" not in plan.quiet

    seed = next(seed for seed in range(100) if fails(Plan(seed)) and Plan(seed).weights().slow)
    plan = Shrinker(fails).shrink(Plan(seed))
    assert fails(plan)
    assert plan.fault_numbers() == [1, 4]
    assert plan.records == 31
    assert set(range(31)) - plan.skip_records == {20}
    drawn = {name for name in QUIETABLE if getattr(Plan(seed).weights(), name)}
    assert plan.quiet == drawn - {"slow"}


def test_what_is_left_out_changes_no_other_draw() -> None:
    whole = outcome_of(Plan(5, faults=0))
    values = [value for _, _, value in whole.logs[0]]
    shorter = outcome_of(Plan(5, faults=0, skip_records=frozenset({0, 1})))
    ours = [value for _, _, value in shorter.logs[0] if value and b"clock" not in value]
    assert ours == [value for value in values if value and b"clock" not in value][-len(ours) :]
    assert TP(STAGE.outputs["bars"], 1) in shorter.outputs
