"""The bench of scaling tells outputs that differ and partitions that are not spread evenly."""

from __future__ import annotations

from dataclasses import replace

from tests.bench.scaling import Round, faults, lines

ONE = Round(
    workers=1,
    seconds=10.0,
    started=12.0,
    partitions=[4],
    records=[1000],
    cpu=[8.0],
    broker_cpu=2.0,
    others_cpu=1.0,
    digests={"bars": {0: "a", 1: "b"}, "bars.late": {0: "c", 1: "d"}},
    committed={"bars": 10, "bars.late": 1},
)
TWO = replace(ONE, workers=2, seconds=5.0, partitions=[2, 2], records=[600, 400], cpu=[4.0, 4.0])


def test_equal_outputs_and_an_even_spread_have_no_fault() -> None:
    assert list(faults([ONE, TWO])) == []


def test_another_digest_is_a_fault() -> None:
    other = replace(TWO, digests=TWO.digests | {"bars.late": {0: "c", 1: "x"}})
    assert list(faults([ONE, other])) == ["2 workers: bars.late 1 is not that of 1"]


def test_an_uneven_spread_is_a_fault() -> None:
    assert list(faults([ONE, replace(TWO, partitions=[3, 1])])) == [
        "2 workers: partitions spread [3, 1]"
    ]


def test_the_speed_up_is_told_against_the_cores_and_the_greatest_share() -> None:
    text = "\n".join(lines([ONE, TWO], 1000, 2))
    assert "2.00      100%" in text
    assert "--workers 2: 2.00 cores busy" in text
    assert "above 1.67 on however many cores" in text
