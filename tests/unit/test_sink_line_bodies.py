"""Lines as bytes against the same lines as a list of texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.sinks.line_batches import LineBatch, LineBatcher
from app.sinks.line_bodies import Lines, merged

_LINES = st.lists(
    st.builds(
        "{} {}".format, st.sampled_from(["m a=1", "é b=2i", 'ü c="x y"']), st.integers(-9, 99)
    )
)


@settings(deadline=None)
@given(_LINES, st.integers(-12, 12), st.integers(-12, 12), st.sampled_from([None, 1, 2, -1, -3]))
def test_they_are_the_sequence_of_their_texts(
    texts: list[str], first: int, last: int, step: int | None
) -> None:
    lines = Lines.of(texts)
    assert Lines.of(lines) is lines
    assert (len(lines), list(lines), lines == texts) == (len(texts), texts, True)
    assert [lines[row] for row in range(-len(texts), len(texts))] == [*texts, *texts]
    part = lines[first:last:step]
    assert list(part) == texts[first:last:step]
    assert part.times.tolist() == [int(line.split(" ")[-1]) for line in part]
    assert part.body == "".join(f"{line}\n" for line in part).encode()
    assert part[:1] == texts[first:last:step][:1]
    assert lines != [*texts, "one more"]
    with pytest.raises(IndexError):
        lines[len(texts)]


@settings(deadline=None)
@given(_LINES, st.data())
def test_chosen_rows_come_in_their_order(texts: list[str], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1)) if texts else st.just([]))
    chosen = Lines.of(texts).chosen(rows)
    assert list(chosen) == [texts[row] for row in rows]
    of_batch = LineBatch(texts, list(range(len(texts))), 99).chosen(rows)
    assert of_batch == LineBatch([texts[row] for row in rows], rows, 99)
    assert of_batch.times.tolist() == chosen.times.tolist()


@settings(deadline=None)
@given(st.lists(_LINES))
def test_parts_are_joined(parts: list[list[str]]) -> None:
    joined = Lines.joined([Lines.of(part) for part in parts])
    assert list(joined) == [line for part in parts for line in part]
    again = Lines.joined([joined[:1], joined[1:]])
    assert (again == joined, again.times.tolist()) == (True, joined.times.tolist())


@settings(deadline=None)
@given(st.lists(st.booleans()))
def test_two_are_merged_by_their_places(owners: list[bool]) -> None:
    texts = [f"m a={n} {n}" for n in range(len(owners))]
    places = np.arange(len(owners), dtype=np.int64) * 3
    mine = np.array(owners, dtype=np.bool_)
    ours = Lines.of([text for text, own in zip(texts, owners, strict=True) if own])
    others = Lines.of([text for text, own in zip(texts, owners, strict=True) if not own])
    lines, found = merged(ours, places[mine], others, places[~mine])
    assert list(lines) == texts
    assert found.tolist() == places.tolist()
    assert lines.times.tolist() == list(range(len(owners)))


def test_a_line_without_a_time_has_none() -> None:
    with pytest.raises(ValueError, match="substring not found"):
        _ = Lines.of(["a"]).times


def test_a_batch_of_several_pieces_is_one_body() -> None:
    batcher = LineBatcher(0, 3)
    batcher.put(Lines.of(["a 1", "b 2"]), [0, 1], 2)
    batcher.put(["c 3", "d 4", "e 5"], [2, 3, 4], 7)
    (full,) = batcher.full()
    assert (full.body(), full.offsets, full.next) == (b"a 1\nb 2\nc 3\n", [0, 1, 2], 3)
    rest = batcher.rest()
    assert (rest.body(), rest.body(range(1, 2)), rest.next) == (b"d 4\ne 5\n", b"e 5\n", 7)
    assert rest.culprits([1]) == [(4, "e 5")]
    assert batcher.rest() == LineBatch([], [], 7)
