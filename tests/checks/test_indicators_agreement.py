"""Our indicators against TA-Lib, ta, plain formulas and the tables of third parties."""

from __future__ import annotations

from pathlib import Path

import pytest

from tables.indicators.registry import indicators, parse_indicators
from tests.checks.indicators_agreement import (
    Agreement,
    against_formulas,
    against_libraries,
    against_table,
    relative,
)
from tests.checks.indicators_page import registry_part
from tests.checks.indicators_printed import PRINTED, Printed

ROOT = Path(__file__).resolve().parents[2]


def faults(found: list[Agreement]) -> list[str]:
    return [f"{one.name} {one.oracle}: {one.worst:g}" for one in found if not one.holds]


@pytest.fixture(scope="module")
def computed() -> list[Agreement]:
    return [*against_libraries(), *against_formulas()]


def test_libraries_and_formulas_agree_to_one_part_in_a_thousand_million(
    computed: list[Agreement],
) -> None:
    assert faults(computed) == []


def test_every_indicator_has_an_oracle(computed: list[Agreement]) -> None:
    judged = {parse_indicators(one.request)[0].kind for one in computed}
    assert {kind.NAME for kind in indicators().values() if kind not in judged} == set()


@pytest.mark.realdata
@pytest.mark.parametrize("printed", PRINTED, ids=lambda each: f"{each.file}-{each.request}")
def test_tables_of_third_parties_agree_as_printed(realdata: Path, printed: Printed) -> None:
    assert faults(list(against_table(realdata / "indicators", printed))) == []


def test_what_one_has_and_the_other_has_not_is_a_difference() -> None:
    assert relative([1.0, None], [1.0, 2.0])[1] == float("inf")
    assert relative([None, 2.0], [1.0, 2.0], first=1) == (1, 0.0)
    assert relative([1.0, 2.2], [1.0, 2.0])[1] == pytest.approx(0.1)


def test_the_documentation_names_the_indicators_that_there_are() -> None:
    text = (ROOT / "docs" / "indicators.md").read_text(encoding="utf-8")
    assert text.startswith(registry_part()), (
        "docs/indicators.md is out of date: run "
        "`python -m tests.checks.indicators_agreement --write docs/indicators.md`"
    )
