"""The bench of formats: the same trades in each form, and its table."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from tests.bench.formats import as_text, bytes_a_trade, figures, parse, stored_bytes, ways_of
from tests.bench.ticks import (
    ARRAY,
    ARRAY_TRADES,
    FORMS,
    FULL,
    JSON,
    MSGPACK,
    RECORDS,
    chunks,
    make_ticks,
)
from tests.bench.ways import Round

TICKS = make_ticks(2_000, 20, 0)


@pytest.mark.parametrize("record", RECORDS)
def test_the_trades_are_the_same_in_each_form(record: str) -> None:
    for plain, packed, arrays in zip(
        *(chunks(TICKS, 3, 700, record=record, form=form) for form in FORMS), strict=True
    ):
        trades = [[json.loads(value) for value in part] for part in plain]
        assert [[msgspec.msgpack.decode(value) for value in part] for part in packed] == trades
        whole = [[json.loads(value) for value in part] for part in arrays]
        assert [[trade for each in part for trade in each] for part in whole] == trades
        assert all(len(each) == ARRAY_TRADES for part in whole for each in part[:-1])


def test_messagepack_is_shorter_and_an_array_as_long_with_its_commas() -> None:
    plain, packed, array = (bytes_a_trade(20, FULL, form) for form in FORMS)
    assert packed < 0.8 * plain
    assert array == pytest.approx(plain + 1 + 1 / ARRAY_TRADES, abs=0.01)


def test_ours_reads_no_arrays() -> None:
    assert [ways_of(form) for form in FORMS] == [
        ("bare", "slim", "ours"),
        ("bare", "slim", "ours"),
        ("bare", "slim"),
    ]


def test_what_is_stored_is_that_of_the_topic_alone(tmp_path: Path) -> None:
    for name, size in (("a.ticks-0", 5), ("a.ticks-1", 7), ("a.ticks2-0", 100), ("b.ticks-0", 9)):
        place = tmp_path / "data" / name
        place.mkdir(parents=True)
        (place / "00.log").write_bytes(b"x" * size)
        (place / "00.index").write_bytes(b"x" * 50)
    assert stored_bytes(tmp_path, "a.ticks") == 12


def test_the_table_has_a_row_a_form_and_ratios_by_json() -> None:
    def rounds(rate: float, cpu: float) -> list[Round]:
        return [Round(1_000, 1_000 / rate, cpu / 1_000, 1), Round(1_000, 2_000 / rate, 1.0, 1)]

    known = {form: {"bytes": 160.0, "stored_bytes": 40.0} for form in FORMS}
    found = figures(
        known,
        {
            JSON: {"bare": rounds(500, 2), "slim": rounds(2_000, 0.5), "ours": rounds(800, 1)},
            MSGPACK: {"bare": rounds(550, 2), "slim": rounds(2_200, 0.4), "ours": rounds(1_000, 1)},
            ARRAY: {"bare": rounds(5_000, 0.2), "slim": rounds(9_000, 0.1)},
        },
    )
    assert found[MSGPACK]["ways"]["ours"] == {
        "trades_per_second": 1_000,
        "cpu_us": 1.0,
        "rounds": [1_000, 500],
    }
    names = ("date", "machine", "load", "versions", "command")
    text = as_text({"input": "trades", "forms": found} | {name: name for name in names})
    rows = {line.split()[0] + line.split()[1]: line for line in text.splitlines() if "x)" in line}
    assert "1,000 (1.25x)    1.00" in rows["MessagePackmap"]
    assert "5,000 (10.00x)    0.20" in rows["JSONarray"]
    assert "not read" in rows["JSONarray"]
    assert "at most what unpacking costs less: 0.40 us" in text


def test_a_record_of_another_kind_is_refused() -> None:
    assert parse([]).rounds == 3
    with pytest.raises(SystemExit):
        parse(["--record", "five"])
