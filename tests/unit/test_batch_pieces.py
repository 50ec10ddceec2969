"""Pieces of a batch: together they are the batch."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch


@given(st.lists(st.integers(1, 5), max_size=30), st.integers(0, 3), st.integers(1, 9))
def test_pieces_follow_each_other_and_leave_nothing_out(
    gaps: list[int], behind: int, size: int
) -> None:
    offsets = 10 + np.cumsum(np.array(gaps, dtype=np.int64))
    end = int(offsets[-1]) + 1 if gaps else 10
    values: list[bytes | None] = [b"%d" % offset for offset in offsets.tolist()]
    batch = RecordBatch("topic", 3, 10, end + behind, values, offsets, offsets * 1_000)
    pieces = list(batch.pieces(size))
    assert (pieces[0].base, pieces[-1].next) == (batch.base, batch.next)
    for one, two in pairwise(pieces):
        assert one.next == two.base
        assert len(one.values) == size
    assert [value for piece in pieces for value in piece.values] == values
    assert [time for piece in pieces for time in piece.append_times.tolist()] == [
        offset * 1_000 for offset in offsets.tolist()
    ]
    for piece in pieces:
        inside = piece.offsets.tolist()
        assert all(piece.base <= offset < piece.next for offset in inside)
