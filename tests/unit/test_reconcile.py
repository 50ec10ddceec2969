"""Recomputing bars in batch: equal to the state machine's, and a wrong bar is found."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from app import exits
from app.cli import candlewick
from app.reconcile.batch import FIELDS, Values
from app.reconcile.compare import Drift, compare
from app.reconcile.judging import Key, Span
from app.reconcile.windows import LogPartition, Recomputed
from tables.bars import BarsPartition
from tables.configuration import BarsConfiguration
from tables.policies import policy_of
from tables.quotes import QuotesPartition
from tests.unit.bars_log import (
    SECOND,
    START,
    Log,
    Run,
    batch,
    configuration,
    random_log,
    run_whole,
    trade,
)
from tests.unit.test_quotes import random_quotes

KINDS: dict[str, Any] = {"bars": BarsPartition, "quotes": QuotesPartition}
FLUSH = b'{"type":"flush"}'


def published(run: Run, agent: str, span: Span | None = None) -> dict[Key, Values]:
    """The highest revisions of a run, as they are read from the topic."""
    highest: dict[Key, Values] = {}
    revisions: dict[Key, int] = {}
    for record in run.published["bars"]:
        bar = json.loads(record.value or b"")
        key = (bar["symbol"], bar["interval"], bar["start"])
        if (span is None or span.holds(bar["start"])) and bar["revision"] > revisions.get(key, -1):
            revisions[key] = bar["revision"]
            highest[key] = {name: bar[name] for name in FIELDS[agent]}
    return highest


def recomputed(
    config: BarsConfiguration, agent: str, log: Log, seed: int = 0, span: Span | None = None
) -> Recomputed:
    """The log in chunks that the state machine has not seen."""
    rng = random.Random(seed)
    partition = LogPartition(config, agent, 0, span or Span())
    begin = 0
    while begin < len(log):
        end = min(len(log), begin + rng.choice((1, 3, 20, 100)))
        partition.take(batch(log, begin, end))
        begin = end
    return partition.result()


def make_log(agent: str, seed: int) -> Log:
    """A random log of an agent."""
    rng = random.Random(seed)
    if agent == "quotes":
        return random_quotes(seed, rng.randrange(1, 250))
    return random_log(seed, rng.randrange(1, 250), historical=rng.random() < 0.3)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    choice=st.sampled_from([("bars", "all"), ("bars", "sip"), ("quotes", "all")]),
)
def test_bars_in_batch_are_those_of_the_state_machine(seed: int, choice: tuple[str, str]) -> None:
    agent, policy = choice
    config = configuration(policy=policy_of(policy))
    log = make_log(agent, seed)
    run = run_whole(config, log, KINDS[agent])
    assert recomputed(config, agent, log, seed).bars == published(run, agent)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), agent=st.sampled_from(list(KINDS)))
def test_a_span_holds_the_bars_that_start_in_it(seed: int, agent: str) -> None:
    span = Span(START + 20 * SECOND, START + 90 * SECOND)
    log = make_log(agent, seed)
    run = run_whole(configuration(), log, KINDS[agent])
    found = recomputed(configuration(), agent, log, seed, span)
    assert found.bars == published(run, agent, span)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), agent=st.sampled_from(list(KINDS)))
def test_a_worker_that_goes_on_meanwhile_causes_no_drift(seed: int, agent: str) -> None:
    """Bars are read at any moment between two markers; what changes between them is left out."""
    log = make_log(agent, seed)
    rng = random.Random(seed)
    before, read, after = sorted(rng.randrange(len(log) + 1) for _ in range(3))
    run = run_whole(configuration(), log[:read], KINDS[agent])
    partition = LogPartition(configuration(), agent, 0, Span())
    partition.take(batch(log, 0, before))
    partition.mark()
    partition.take(batch(log, before, after))
    drift = compare(agent, partition.result(), published(run, agent))
    assert drift.above(0.0) == []


@pytest.mark.parametrize("worst", [0, 1, 2])
def test_all_is_counted_however_few_are_listed(log: Log, worst: int) -> None:
    drift = drift_of(log, {("AAA", "1s", START): {"open": 1.0, "low": 2.0}}, worst)
    assert (drift.bars, len(drift.worst)) == (200, worst)
    assert [one.unequal for one in drift.fields] == [1, 0, 1, 0, 0, 0, 0]


@pytest.fixture(name="log")
def _log() -> Log:
    values = [trade("AAA", 10.0 + number, 100, START + number * SECOND) for number in range(200)]
    return [(value, START + 300 * SECOND) for value in [*values, FLUSH]]


def drift_of(log: Log, changes: Mapping[Key, Values | None], worst: int = 9) -> Drift:
    """Compare a log with its bars but for some; None removes one."""
    config = configuration(intervals=(SECOND,))
    bars = published(run_whole(config, log), "bars")
    template = bars["AAA", "1s", START]
    for key, values in changes.items():
        if values is None:
            del bars[key]
        else:
            bars[key] = {**bars.get(key, template), **values}
    return compare("bars", recomputed(config, "bars", log), bars, worst)


def test_nothing_differs(log: Log) -> None:
    drift = drift_of(log, {})
    assert (drift.bars, drift.missing, drift.extra, drift.worst) == (200, 0, 0, [])
    assert [one.unequal for one in drift.fields] == [0] * 7
    assert drift.left_out == {"open": 0, "moving": 0, "cut": 0}


def test_a_tampered_bar_is_found(log: Log) -> None:
    first, second = ("AAA", "1s", START), ("AAA", "1s", START + SECOND)
    drift = drift_of(log, {first: {"close": 12.5, "vwap": None}, second: {"close": 11.000001}})
    by_name = {one.name: one for one in drift.fields}
    assert (by_name["close"].unequal, by_name["vwap"].unequal, by_name["open"].unequal) == (2, 1, 0)
    assert (by_name["close"].absolute, by_name["close"].relative) == (2.5, 0.2)
    assert drift.share(by_name["close"]) == 0.01
    assert [one.name for one in drift.above(0.005)] == ["close"]
    worst = drift.worst[0]
    assert (worst.symbol, worst.interval, worst.start) == first
    assert (worst.field, worst.published, worst.recomputed) == ("close", 12.5, 10.0)
    assert len(drift.worst) == 3
    assert json.loads(json.dumps(drift.to_json()))["fields"]["close"]["drift"] == 0.01


def test_missing_and_extra_bars_are_drift_of_every_field(log: Log) -> None:
    drift = drift_of(log, {("AAA", "1s", START): None, ("BBB", "1s", START + SECOND): {}}, 2)
    assert (drift.bars, drift.missing, drift.extra) == (199, 1, 1)
    assert len(drift.above(0.005)) == 7
    assert {(each.symbol, each.field) for each in drift.worst} == {("AAA", "bar"), ("BBB", "bar")}


def test_open_windows_are_left_out() -> None:
    log = [(trade("AAA", 1.0, 1, START + each * SECOND), START + 9 * SECOND) for each in range(3)]
    found = recomputed(configuration(), "bars", log)
    assert list(found.bars) == [("AAA", "1s", START)]
    # Two of 1 s; those of 10 s and of 1 min.
    assert found.left_out["open"] == 4


def test_windows_that_a_cut_log_may_have_lost_records_of_are_left_out() -> None:
    config = configuration(intervals=(SECOND,), max_ahead=2 * SECOND)
    log = [
        (trade("AAA", 1.0, 1, START + each * SECOND), START + each * SECOND) for each in range(10)
    ]
    partition = LogPartition(config, "bars", 0, Span(), whole=False)
    partition.take(batch(log, 4, len(log)))
    found = partition.result()
    assert [(key[2] - START) // SECOND for key in found.bars] == [7]
    assert found.left_out == {"open": 2, "moving": 0, "cut": 3}


@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [
        ([], {"CANDLEWICK_BARS__POLICY": "algoseek"}, "policy algoseek"),
        ([], {"CANDLEWICK_BARS__FILL_FORWARD": "true"}, "FILL_FORWARD"),
        (["--from", "5", "--to", "5"], {}, "--from is not before --to"),
        (["--from", "yesterday"], {}, "expected 2026-11-20T14:30:00Z or ns"),
        (["--threshold", "2"], {}, "is not a share"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(
    arguments: list[str], environment: dict[str, str], text: str
) -> None:
    result = CliRunner().invoke(candlewick, ["reconcile", *arguments], env=environment)
    assert result.exit_code == exits.USAGE
    assert text in " ".join(result.output.split())
