"""Lines against a reader of our own, batches against the log, rejected batches against culprits."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.sinks.line_batches import LineBatch, LineBatcher, bisect
from app.sinks.lines import (
    Column,
    Kind,
    UnwritableError,
    absent,
    column,
    encode_lines,
    escape_key,
    escape_measurement,
    mapped,
    numbers,
    quote,
    series,
)
from tests.unit.line_protocol import Point, parse

#: Anything that can be written, the characters with a meaning among it often.
_CHARACTERS = st.one_of(st.sampled_from(',= \\"#%'), st.characters(exclude_categories=("Cs", "Cc")))
_WRITABLE = st.text(_CHARACTERS, min_size=1, max_size=8).filter(lambda text: text[-1] != "\\")
_MEASUREMENT_NAMES = _WRITABLE.filter(lambda text: text[0] not in "#_")
_VALUES = {
    Kind.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    Kind.INTEGER: st.integers(-(2**63), 2**63 - 1),
    Kind.BOOLEAN: st.booleans(),
    Kind.STRING: st.text(_CHARACTERS, max_size=8),
}
_KINDS = st.dictionaries(_WRITABLE, st.sampled_from(Kind), max_size=5)


@st.composite
def _points(draw: st.DrawFn) -> tuple[dict[str, Kind], list[Point]]:
    """Points of one measurement: fields of fixed kinds, any of which may lack."""
    kinds = draw(_KINDS)
    name = draw(_MEASUREMENT_NAMES)
    point = st.builds(
        Point,
        st.just(name),
        st.dictionaries(_WRITABLE, _WRITABLE, max_size=3),
        st.fixed_dictionaries({}, optional={key: _VALUES[kind] for key, kind in kinds.items()}),
        st.integers(-(2**63) + 2, 2**63 - 2),
    )
    return kinds, draw(st.lists(point, max_size=4))


@given(_points())
def test_a_reader_of_the_specification_reads_what_was_written(
    drawn: tuple[dict[str, Kind], list[Point]],
) -> None:
    kinds, points = drawn
    found = encode_lines(
        [series(point.measurement, point.tags) for point in points],
        [column(key, kind, [p.fields.get(key) for p in points]) for key, kind in kinds.items()],
        [point.time for point in points],
    )
    assert [parse(line) if line else None for line in found] == [
        point if point.fields else None for point in points
    ]


@given(st.lists(st.floats(), min_size=1))
@example([0.1 + 0.2, -0.0, 5e-324, 1.7976931348623157e308, 1e22, 123456789012345680.0])
def test_floats_are_read_back_as_the_same_bits_and_what_is_no_number_is_a_gap(
    values: list[float],
) -> None:
    for value, text in zip(values, numbers(values), strict=True):
        if not math.isfinite(value):
            assert text == "null"
            continue
        assert struct.pack("d", float(text)) == struct.pack("d", value)
        assert len(_digits(text)) <= len(_digits(repr(value))), "not the shortest form"


def _digits(text: str) -> str:
    """The significant digits of a number, without zeros at its ends."""
    return text.lower().split("e")[0].replace(".", "").strip("-0")


def test_names_and_values_are_escaped_as_the_specification_says() -> None:
    assert escape_measurement("my =,bars") == r"my\ =\,bars"
    assert escape_key("MACD(12,26,9).signal a=b") == r"MACD(12\,26\,9).signal\ a\=b"
    assert quote('a "b" \\ c,d=e') == r'"a \"b\" \\ c,d=e"'
    assert quote("two\nlines") == '"two lines"'
    assert series("bars", {"symbol": "BTC=X", "interval": "1m", "source": None}) == (
        r"bars,interval=1m,symbol=BTC\=X"
    )


@pytest.mark.parametrize("text", ["", "ends\\", "a\nb", "a\rb", "a\x00b", "\x7f"])
def test_names_that_the_protocol_cannot_carry_are_refused(text: str) -> None:
    with pytest.raises(UnwritableError):
        escape_key(text)
    with pytest.raises(UnwritableError):
        escape_measurement(text)


@pytest.mark.parametrize("name", ["#bars", "_bars"])
def test_a_measurement_is_neither_a_comment_nor_the_databases_own(name: str) -> None:
    with pytest.raises(UnwritableError):
        escape_measurement(name)


def test_a_point_without_any_field_gives_no_line() -> None:
    columns = [
        column("a", Kind.FLOAT, [None, math.nan, 1.0, math.inf]),
        column("b", Kind.STRING, [None, (), None, "x"]),
    ]
    assert encode_lines(["m"] * 4, columns, [1, 2, 3, 4]) == [
        "",
        "",
        "m a=1.0 3",
        'm b="x" 4',
    ]
    assert encode_lines([], [Column("a", Kind.FLOAT, [], False)], []) == []
    assert encode_lines(["m", "m"], [], [1, 2], ["", ",a=1.5"]) == ["", "m a=1.5 2"]


def test_percent_signs_are_written_as_they_are() -> None:
    columns = [
        column("%s", Kind.FLOAT, [1.0, 2.0]),
        column("%d", Kind.STRING, ["5 %", "5 %"]),
        column("%", Kind.STRING, ["%s", None]),
    ]
    assert encode_lines(["%m", "%m"], columns, [1, 2], [",%=1", ""]) == [
        '%m %s=1.0,%d="5 %",%="%s",%=1 1',
        '%m %s=2.0,%d="5 %" 2',
    ]


def test_tuples_are_joined_and_mappings_are_json() -> None:
    joined = column("s", Kind.STRING, [("iso", "odd_lot"), ""])
    lines = encode_lines(["m", "m"], [joined], [1, 2])
    assert [parse(line).fields["s"] for line in lines] == ["iso,odd_lot", ""]
    (line,) = encode_lines(["m"], [column("s", Kind.STRING, [{"a": 1, "b": 'c"d'}])], [1])
    assert parse(line).fields["s"] == '{"a":1,"b":"c\\"d"}'


def test_fields_of_a_mapping_leave_out_what_is_null() -> None:
    assert mapped(["a", r"b\,c"], Kind.FLOAT, [None, 2.5]) == r",b\,c=2.5"
    assert mapped(["a"], Kind.INTEGER, [7]) == ",a=7i"
    assert mapped([], Kind.FLOAT, []) == ""
    assert absent(["a", "b"], numbers([None, 2.0])) == ["a"]


_STEPS = st.lists(st.lists(st.integers(0, 3), max_size=6), max_size=6)


@given(_STEPS, st.integers(1, 4))
def test_batches_carry_every_line_once_and_their_positions_cover_exactly_what_they_carry(
    fetches: list[list[int]], size: int
) -> None:
    # Each fetch has records with so many lines each; offsets have holes.
    batcher, batches, expected, offset = LineBatcher(100, size), [], [], 100
    for fetch in fetches:
        lines: list[tuple[int, str]] = []
        for count in fetch:
            lines += [(offset, f"{offset}/{number}") for number in range(count)]
            offset += 2
        batcher.put([line for _, line in lines], [place for place, _ in lines], offset)
        expected += lines
        batches += batcher.full()
        assert batcher.next == offset
    batches.append(batcher.rest())
    assert all(len(batch.lines) == size for batch in batches[:-1])
    assert len(batches[-1].lines) < size
    assert [
        pair for batch in batches for pair in zip(batch.offsets, batch.lines, strict=True)
    ] == expected
    assert batches[-1].next == offset
    done = 0
    for batch in batches:
        done += len(batch.lines)
        assert all(place < batch.next for place, _ in expected[:done] if place != batch.next)
        # Reading on from there misses no line that is not written.
        assert all(place >= batch.next for place, _ in expected[done:])


def test_records_without_lines_move_the_position_on() -> None:
    batcher = LineBatcher(5)
    batcher.put([], [], 9)
    assert batcher.full() == []
    assert batcher.rest() == LineBatch([], [], 9)
    assert batcher.rest().body() == b""


@pytest.mark.parametrize(
    ("offsets", "following"),
    [([4], 9), ([7, 6], 9), ([9], 9), ([], 4), ([6, 7, 8], 9)],
    ids=["before it", "falling", "beyond the end", "going back", "more than lines"],
)
def test_lines_that_do_not_follow_are_refused(offsets: list[int], following: int) -> None:
    batcher = LineBatcher(5)
    with pytest.raises(ValueError, match="lines of"):
        batcher.put(["a"] * min(len(offsets), 2), offsets, following)


def test_a_body_ends_each_line_and_says_what_a_dead_letter_needs() -> None:
    batch = LineBatch(["a", "é", "c"], [3, 3, 5], 6)
    assert batch.body() == "a\né\nc\n".encode()
    assert batch.body(range(1, 2)) == "é\n".encode()
    assert batch.culprits([1, 2]) == [(3, "é"), (5, "c")]


def _run(size: int, takes: Callable[[range], bool]) -> tuple[list[int], list[range]]:
    """Drive a search as a driver does; culprits, and all that was asked."""
    search, asked = bisect(size), []
    try:
        rows = next(search)
        while True:
            asked.append(rows)
            rows = search.send(takes(rows))
    except StopIteration as end:
        return end.value, asked


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
@example((5_000, set(range(0, 5_000, 100))))
@example((1, {0}))
@example((2, {1}))
def test_a_search_finds_the_culprits_and_writes_each_other_line_once(
    drawn: tuple[int, set[int]],
) -> None:
    size, bad = drawn
    if size == 1:
        bad = {0}
    written: list[int] = []

    def takes(rows: range) -> bool:
        assert rows
        if bad & set(rows):
            return False
        written.extend(rows)
        return True

    culprits, asked = _run(size, takes)
    assert culprits == sorted(bad)
    assert len(asked) <= max(2, 2 * len(bad) * math.ceil(math.log2(size)))
    if size > 1:
        assert sorted(written) == [row for row in range(size) if row not in bad]
        assert written == sorted(written), "not in the order of the log"


def test_a_batch_that_was_only_too_large_has_no_culprits() -> None:
    culprits, asked = _run(5_000, lambda rows: len(rows) <= 700)
    assert culprits == []
    assert len(asked) == 14
