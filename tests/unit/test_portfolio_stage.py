"""The portfolio stage against a reference of its own, in any order of arrival, with restarts."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.portfolio.book import Refused
from tables.portfolio.configuration import PortfolioConfiguration
from tables.portfolio.intake import decode
from tables.portfolio.partition import OUTCOMES, PortfolioPartition
from tests.oracle.portfolio import Reference, Rules
from tests.oracle.portfolio_log import (
    BASE,
    INPUTS,
    LABEL,
    MINUTE,
    SPAN,
    Row,
    interleaved,
    streams,
)

#: The broker took everything long after it happened.
APPENDED = BASE + 2 * SPAN * 1_000_000_000
LATE_HORIZON = 2 * MINUTE
IDENTIFIER_HORIZON = 5 * MINUTE
LIMITS = {
    "max_position": 30.0,
    "max_short": 5.0,
    "max_gross_exposure": 2_000.0,
    "max_leverage": 1.5,
    "max_concentration": 0.6,
    "max_session_loss": 100.0,
}
BASES = ("fifo", "average")


def configuration(basis: str, **changes: Any) -> PortfolioConfiguration:
    values: dict[str, Any] = {
        "inputs": INPUTS,
        "pricing_interval": MINUTE,
        "pricing_label": LABEL,
        "cost_basis": basis,
        "limits": LIMITS,
        "late_horizon": LATE_HORIZON,
        "identifier_horizon": IDENTIFIER_HORIZON,
    }
    return PortfolioConfiguration(**values | changes)


def rules(basis: str) -> Rules:
    average = basis == "average"
    return Rules(INPUTS, MINUTE, LABEL, average, LATE_HORIZON, IDENTIFIER_HORIZON, LIMITS)


def plain(stage: PortfolioPartition) -> list[Row]:
    """The outputs so far as plain values, cleared in the stage."""
    rows: list[Row] = []
    for output in stage.outputs:
        if isinstance(output, Refused):
            rows.append({"refused": getattr(output.record, "update_id", "a transaction")})
        else:
            rows.append(msgspec.structs.asdict(output))
    stage.outputs.clear()
    return rows


def run(log: list[Row], basis: str, **changes: Any) -> tuple[list[Row], list[str]]:
    """All outputs and outcomes of a log."""
    stage = PortfolioPartition(configuration(basis, **changes))
    outcomes = [
        stage.take(decode(json.dumps(row).encode()), offset, APPENDED).name
        for offset, row in enumerate(log)
    ]
    assert len(stage.held) == 0
    assert stage.counts == {name: outcomes.count(name) for name in OUTCOMES}
    return plain(stage), outcomes


def assert_agrees(ours: list[Row], theirs: list[Row], tolerance: float) -> None:
    """The same rows; numbers within a relative tolerance (0: the nearest double)."""
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        for name, value in other.items():
            if value is None or isinstance(value, str | int):
                assert mine[name] == value, (name, mine, other)
            elif tolerance == 0:
                assert mine[name] == float(value), (name, mine, other)
            else:
                expected = pytest.approx(float(value), rel=tolerance, abs=1e-9)
                assert mine[name] == expected, (name, mine, other)


@pytest.mark.parametrize("basis", BASES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_stage_says_what_the_reference_says(basis: str, data: st.DataObject) -> None:
    log = data.draw(interleaved(data.draw(streams(splits=False))))
    reference = Reference(rules(basis), log)
    ours, outcomes = run(log, basis)
    assert outcomes == reference.outcomes
    # Averages do not end; lots do.
    assert_agrees(ours, reference.rows, 0 if basis == "fifo" else 1e-12)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_splits_are_those_of_the_reference_but_for_the_grid(data: st.DataObject) -> None:
    log = data.draw(interleaved(data.draw(streams())))
    # Limits compare what is rounded to the grid: leave them to the test without splits.
    log = [row for row in log if row.get("action") != "set_limit"]
    reference = Reference(
        Rules(INPUTS, MINUTE, LABEL, False, LATE_HORIZON, IDENTIFIER_HORIZON), log
    )
    ours, outcomes = run(log, "fifo", limits={})
    assert outcomes == reference.outcomes
    by_us, by_them = ([row for row in rows if "cash" in row] for rows in (ours, reference.rows))
    assert len(by_us) == len(by_them)
    for mine, other in zip(by_us, by_them, strict=True):
        for name in ("cash", "net_contributions", "realised", "unrealised", "equity", "pnl"):
            assert mine[name] == pytest.approx(float(other[name]), rel=1e-9, abs=1e-4), name


@pytest.mark.parametrize("basis", BASES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_order_of_arrival_between_inputs_changes_nothing(
    basis: str, data: st.DataObject
) -> None:
    parts = data.draw(streams())
    one, other = data.draw(interleaved(parts)), data.draw(interleaved(parts))
    assert run(one, basis)[0] == run(other, basis)[0]


@pytest.mark.parametrize("basis", BASES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_restart_from_rows_at_any_records_changes_nothing(
    basis: str, data: st.DataObject
) -> None:
    log = data.draw(interleaved(data.draw(streams())))
    restarts = data.draw(st.sets(st.integers(0, len(log)), max_size=4))
    stage = PortfolioPartition(configuration(basis))
    rows: dict[str, Any] = {}
    found: list[Row] = []
    for offset, row in enumerate(log):
        if offset in restarts:
            for name, value in stage.changed_rows().items():
                # As it is stored: only what JSON holds comes back.
                rows[name] = None if value is None else json.loads(json.dumps(value))
            rows = {name: value for name, value in rows.items() if value is not None}
            found += plain(stage)
            stage = PortfolioPartition.from_rows(configuration(basis), 0, rows)
        stage.take(decode(json.dumps(row).encode()), offset, APPENDED)
    found += plain(stage)
    whole = PortfolioPartition(configuration(basis))
    for offset, row in enumerate(log):
        whole.take(decode(json.dumps(row).encode()), offset, APPENDED)
    assert found == plain(whole)
    assert stage.counts == whole.counts
    assert stage.reasons == whole.reasons
    assert stage.held.records() == whole.held.records() == []
    for account in whole.book.accounts.values():
        again = stage.book.accounts[account.name]
        assert again.state() == account.state()
        assert {symbol: each.content() for symbol, each in again.positions.items()} == {
            symbol: each.content() for symbol, each in account.positions.items()
        }


@pytest.mark.parametrize("basis", BASES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_cash_and_cost_are_what_came_in_and_what_was_earned_to_the_last_unit(
    basis: str, data: st.DataObject
) -> None:
    log = data.draw(interleaved(data.draw(streams())))
    stage = PortfolioPartition(configuration(basis, max_lots=data.draw(st.integers(1, 4))))
    for offset, row in enumerate(log):
        stage.take(decode(json.dumps(row).encode()), offset, APPENDED)
        for account in stage.book.accounts.values():
            cost = sum(position.cost for position in account.positions.values())
            earned = account.realised + account.income - account.fees
            assert account.cash + cost == account.contributions + earned
            valuation = account.valuate(stage.book.prices)
            equity = account.cash + valuation.value
            assert equity == account.contributions + account.profit(valuation)
            for position in account.positions.values():
                assert position.quantity == sum(quantity for quantity, _ in position.lots)
                assert position.cost == sum(cost for _, cost in position.lots)
                assert all(quantity for quantity, _ in position.lots)
                assert len(position.lots) <= (1 if basis == "average" else 4)
