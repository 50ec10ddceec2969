"""Which lines are to blame: a model of InfluxDB that answers by its rules, or says little."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sinks.influx_culprits import SEARCHED, find_culprits
from app.sinks.influx_http import Refusal
from app.sinks.line_batches import LineBatch

#: Time that one shard of the model is of.
SHARD = 10
_LINE = re.compile(r"m,s=(\w+) (.*) (\d+)")


@dataclass
class Model:
    """An InfluxDB with one measurement.

    Attributes:
        types: of fields, by shard and name: `float` or `integer`.
        names: how many of the lines that it cannot read it names.
        most: lines that it takes in one request.
        points: by series and time, its fields.
        requests: lines of each.
    """

    types: dict[tuple[int, str], str] = field(default_factory=dict)
    names: int = 1_000_000
    most: int = 1_000_000
    points: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict)
    requests: list[list[str]] = field(default_factory=list)

    def write(self, lines: Sequence[str]) -> Refusal | None:
        """Take a request."""
        self.requests.append(list(lines))
        assert lines
        if len(lines) > self.most:
            return Refusal("the request is too large (HTTP 413)", whole=True)
        bad = [line for line in lines if "=x" in line]
        if bad:
            told = [f"unable to parse '{line}': invalid boolean" for line in bad[: self.names]]
            return Refusal("\n".join(told) or "cannot be read")
        dropped: dict[int, list[str]] = {}
        for line in lines:
            shard = int(line.rpartition(" ")[2]) // SHARD
            reason = self._conflict(line, shard)
            if reason is not None:
                dropped.setdefault(shard, []).append(reason)
                continue
            found = _LINE.fullmatch(line)
            assert found is not None
            key = found[1], int(found[3])
            self.points.setdefault(key, {}).update(fields(line))
        if not dropped:
            return None
        # Of one shard, and of that the first.
        reasons = dropped[max(dropped)]
        return Refusal(f"partial write: {reasons[0]} dropped={len(reasons)}", dropped=len(reasons))

    def _conflict(self, line: str, shard: int) -> str | None:
        for name, value in fields(line).items():
            kind = "integer" if value.endswith("i") else "float"
            known = self.types.setdefault((shard, name), kind)
            if kind != known:
                return (
                    f'field type conflict: input field "{name}" on measurement "m" is type {kind}, '
                    f"already exists as type {known}"
                )
        return None

    def takes_alone(self, line: str) -> bool:
        """Whether it would write a line, without doing so."""
        if "=x" in line:
            return False
        return self._conflict(line, int(line.rpartition(" ")[2]) // SHARD) is None


def fields(line: str) -> dict[str, str]:
    found = _LINE.fullmatch(line)
    assert found is not None
    return dict(each.split("=") for each in found[2].split(","))


def write_all(model: Model, lines: Sequence[str]) -> dict[int, str]:
    """Write lines as the driver does; the reasons of culprits by row."""
    part = LineBatch(lines, list(range(len(lines))), len(lines))
    refusal = model.write(lines)
    if refusal is None:
        return {}
    search = find_culprits(part, refusal)
    try:
        rows = next(search)
        while True:
            rows = search.send(model.write([lines[row] for row in rows.tolist()]))
    except StopIteration as end:
        found = end.value
    if found is not None:
        return dict(found)
    assert len(lines) > SEARCHED
    whole: dict[int, str] = {}
    for begin in range(0, len(lines), SEARCHED):
        own = write_all(model, lines[begin : begin + SEARCHED])
        whole |= {begin + row: reason for row, reason in own.items()}
    return whole


#: Series, time, and what is wrong: few of each, so that lines are versions of one point, or twins.
LINES = st.lists(
    st.builds(
        lambda series, time, values: (
            f"m,s={series} {','.join(f'{name}={value}' for name, value in values.items())} {time}"
        ),
        st.sampled_from("ab"),
        st.integers(0, 3 * SHARD - 1),
        st.dictionaries(
            st.sampled_from(["v", "w"]),
            st.sampled_from(["1.5", "2.5", "3.5", "7i", "x"]),
            min_size=1,
        ),
    ),
    max_size=60,
)
TYPES = st.dictionaries(
    st.tuples(st.integers(0, 2), st.sampled_from(["v", "w"])),
    st.sampled_from(["float", "integer"]),
)


@given(LINES, TYPES, st.sampled_from([0, 1, 1_000_000]), st.sampled_from([7, 1_000_000]))
def test_culprits_are_those_that_are_refused_alone_and_all_others_are_written_in_order(
    lines: list[str], types: dict[tuple[int, str], str], names: int, most: int
) -> None:
    # Of a shard that nobody has written to, the first line says the types.
    types = {(shard, name): "float" for shard in range(3) for name in "vw"} | types
    model, alone = Model(dict(types), names, most), Model(dict(types))
    found = write_all(model, lines) if lines else {}
    good = [row for row, line in enumerate(lines) if alone.takes_alone(line)]
    assert sorted(found) == [row for row in range(len(lines)) if row not in good]
    assert all("invalid boolean" in each or "conflict" in each or "cannot be read" in each
               for each in found.values())  # fmt: skip
    if good:
        assert alone.write([lines[row] for row in good]) is None
    assert model.points == alone.points


def bars(count: int, bad: set[int], text: str = "1i") -> list[str]:
    return [f"m,s=s{row % 7} v={text if row in bad else '1.5'},w=2.5 {row}" for row in range(count)]


def test_named_lines_cost_one_request_more_however_many() -> None:
    bad = set(range(0, 5_000, 100))
    model = Model()
    found = write_all(model, bars(5_000, bad, "x"))
    assert found.keys() == bad
    assert set(found.values()) == {"InfluxDB: unable to parse ...: invalid boolean"}
    assert [len(lines) for lines in model.requests] == [5_000, 4_950]
    assert len(model.points) == 4_950


def test_lines_of_a_conflict_are_told_by_their_number() -> None:
    bad = set(range(3, 5_000, 100))
    lines = [line.rpartition(" ")[0] + " 5" for line in bars(5_000, bad)]
    lines = [line.replace("s=s", f"s={row}_") for row, line in enumerate(lines)]
    model = Model({(0, "v"): "float"})
    found = write_all(model, lines)
    assert found.keys() == bad
    assert len(model.requests) == 2
    (reason,) = set(found.values())
    assert reason.endswith('"m" is type integer, already exists as type float')


def test_a_shard_of_another_type_is_found_by_time() -> None:
    lines = bars(200, set())
    model = Model(
        {(shard, "v"): "integer" if shard in (4, 5, 6) else "float" for shard in range(20)}
    )
    found = write_all(model, lines)
    assert sorted(found) == list(range(40, 70))
    # By halves it would be 60 at least.
    assert len(model.requests) < 40


def test_where_nothing_is_named_many_lines_are_cut_first() -> None:
    model = Model(names=0)
    bad = {17, 300, 4_000}
    assert write_all(model, bars(5_000, bad, "x")).keys() == bad
    assert max(len(lines) for lines in model.requests[1:]) == SEARCHED
    # A level of halves takes one or two.
    assert len(model.requests) <= 1 + 5_000 // SEARCHED + 3 * 16


@given(st.sets(st.integers(0, 49), max_size=4), st.sampled_from([49, 50]))
def test_halves_are_not_asked_for_where_the_answer_is_known(bad: set[int], count: int) -> None:
    model = Model(names=0)
    assert write_all(model, bars(count, bad, "x")).keys() == bad & set(range(count))
    written: set[str] = set()
    for number, lines in enumerate(model.requests):
        known = [line for line in lines if line not in written]
        # Where all lines but these are written, and some line of these was refused with them.
        assert known
        earlier = [set(each) for each in model.requests[:number] if refused(each)]
        if len(lines) > 1:
            assert not any(each - written == set(lines) for each in earlier if each != set(lines))
        if not refused(lines):
            written |= set(lines)


def refused(lines: list[str]) -> bool:
    return any("=x" in line for line in lines)


def test_a_line_that_was_spoiled_on_the_way_is_named_by_its_point() -> None:
    lines = ["m,s=a v=1.5 1", "m,s=a v=2.5 2", "m,s=b v=1.5 1", "m,s=b v=2.5 1"]
    message = "\n".join(
        f"unable to parse '{line}': missing field value"
        # Of the last one there are two versions.
        for line in ("m,s=a spoiled=,v=2.5 2", "m,s=b spoiled=,v=1.5 1")
    )
    search = find_culprits(LineBatch(lines, [0, 1, 2, 3], 4), Refusal(message))
    assert next(search).tolist() == [0, 2, 3]
    assert search.send(Refusal(message)).tolist() == [0, 2]
    # Of these only one can be meant.
    assert search.send(Refusal(message)).tolist() == [0]
    assert search.send(None).tolist() == [3]
    with pytest.raises(StopIteration) as end:
        search.send(None)
    assert list(end.value.value) == [1, 2]


@pytest.mark.parametrize(
    "message",
    [
        # A line that an open quote takes along is not to blame.
        "unable to parse 'm,s=a v=\"1 5\nm,s=b v=1.5 6': unbalanced quotes",
        "unable to parse 'm,s=b v=1.5': invalid",
        "unable to parse 'm,s=b v=1.5 6",
        "unable to parse ''",
        "m,s=b v=1.5 6",
        'field type conflict: input field "u" on measurement "m" is type float, already exists as '
        "type integer dropped=1",
        'field type conflict: input field "v" on measurement "n" is type float, already exists as '
        "type integer dropped=2",
        "partial write: something else dropped=1",
    ],
)
def test_an_answer_that_names_no_line_of_ours_leaves_it_to_halves(message: str) -> None:
    lines = ['m,s=a v="1 5', "m,s=b v=1.5 6", "m,s=c v=1.5 7"]
    number = re.search(r"dropped=(\d)", message)
    refusal = Refusal(message, dropped=int(number[1]) if number else None)
    search = find_culprits(LineBatch(lines, [0, 1, 2], 3), refusal)
    assert np.array_equal(next(search), [0, 1])
    assert np.array_equal(search.send(Refusal("no")), [0])
    assert np.array_equal(search.send(Refusal("no")), [1])
    assert np.array_equal(search.send(None), [2])
    with pytest.raises(StopIteration) as end:
        search.send(None)
    assert end.value.value == {0: "InfluxDB: no"}


def test_a_reason_that_holds_a_lines_text_names_no_other_line() -> None:
    lines = ["m v=x", "m v=x': m v=y", "m v=z"]
    message = "unable to parse 'm v=x': m v=y': invalid boolean\nunable to parse 'm v=z': bad"
    search = find_culprits(LineBatch(lines, [0, 1, 2], 3), Refusal(message))
    # The first of them may be of either line; the last one is certain.
    assert next(search).tolist() == [0, 1]


def test_a_text_that_looks_like_a_field_of_a_conflict_costs_requests_and_nothing_else() -> None:
    lines = ['m,s=a t="q v=1i " 1', "m,s=b v=1i 2", "m,s=c v=1.5 3"]
    message = (
        'field type conflict: input field "v" on measurement "m" is type integer, already exists '
        "as type float dropped=1"
    )
    search = find_culprits(LineBatch(lines, [0, 1, 2], 3), Refusal(message, dropped=1))
    assert next(search).tolist() == [0, 1]
    assert search.send(Refusal(message, dropped=1)).tolist() == [0]
    assert search.send(None).tolist() == [1]
    assert search.send(Refusal(message, dropped=1)).tolist() == [2]
    with pytest.raises(StopIteration) as end:
        search.send(None)
    assert list(end.value.value) == [1]
