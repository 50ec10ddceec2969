"""A set of codes is Python's own, but for columns."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tables.code_set import CodeSet

CODES = st.integers(0, 2_000)
STEPS = st.lists(
    st.tuples(st.just("add"), CODES.map(lambda code: [code]))
    | st.tuples(st.sampled_from(("update", "add_all")), st.lists(CODES, max_size=20))
    | st.tuples(st.just("clear"), st.just([])),
    max_size=20,
)


@given(STEPS, st.lists(CODES, max_size=5))
def test_it_holds_what_a_set_holds(steps: list[tuple[str, list[int]]], asked: list[int]) -> None:
    ours, theirs = CodeSet(), set[int]()
    for step, codes in steps:
        if step == "clear":
            ours.clear()
            theirs.clear()
            continue
        theirs.update(codes)
        if step == "add":
            ours.add(codes[0])
        elif step == "update":
            ours.update(codes)
        else:
            ours.add_all(np.array(codes, dtype=np.int32))
        assert list(ours) == sorted(theirs)
        assert len(ours) == len(theirs)
        assert ours.has_all(np.array(asked, dtype=np.int32)) == theirs.issuperset(asked)
        assert [code in ours for code in asked] == [code in theirs for code in asked]
