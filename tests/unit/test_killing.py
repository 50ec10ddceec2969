"""The comparison of two exports finds each difference, also in one value."""

from __future__ import annotations

import pyarrow as pa

from tests.chaos.killing import differences

ROWS = {"symbol": ["A", "B"], "start_ns": [1, 2], "close": [1.5, 2.5], "vwap": [None, 2.25]}


def changed(name: str, *values: object) -> pa.Table:
    return pa.table(ROWS | {name: list(values)})


def test_equal_exports_have_no_difference() -> None:
    assert list(differences(pa.table(ROWS), pa.table(ROWS))) == []


def test_one_value_is_one_difference() -> None:
    found = list(differences(pa.table(ROWS), changed("close", 1.5, 2.5000000000000004)))
    assert found == ["row 1 ('B', 2, 2.5): close is 2.5000000000000004, expected 2.5"]
    assert len(list(differences(changed("vwap", 1.0, 2.25), changed("vwap", None, 2.25)))) == 1


def test_a_missing_row_and_one_too_many_are_told() -> None:
    whole, part = pa.table(ROWS), pa.table(ROWS).slice(0, 1)
    assert [line.split(":")[0] for line in differences(whole, part)] == [
        "1 rows, expected 2",
        "row 1",
    ]
    assert "missing" in list(differences(whole, part))[1]
    assert "not expected" in list(differences(part, whole))[1]


def test_other_columns_are_told() -> None:
    (found,) = differences(pa.table(ROWS), pa.table(ROWS).drop_columns(["vwap"]))
    assert "the columns are" in found
