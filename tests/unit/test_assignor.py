"""Who gets which partitions: evenly, whatever happens, and no more moves than there must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from faust.assignor.client_assignment import CopartitionedAssignment
from hypothesis import given
from hypothesis import strategies as st

from app.streaming.assignor import EvenAssignor

TOPICS = {"ticks", "changelog"}
Shares = Mapping[str, set[int]]


def assign(shares: Shares, partitions: int, replicas: int = 0) -> dict[str, set[int]]:
    clients = {
        name: CopartitionedAssignment(actives=set(share), standbys=set(), topics=TOPICS)
        for name, share in shares.items()
    }
    done = EvenAssignor(TOPICS, clients, partitions, replicas).get_assignment()
    return {name: set(client.actives) for name, client in done.items()}


def moved(before: Shares, after: Shares) -> int:
    """Partitions that somebody has who did not have them."""
    return sum(len(share - before.get(name, set())) for name, share in after.items())


def fewest(before: Shares, members: Sequence[str], partitions: int) -> int:
    """The fewest moves that even shares allow, from the sizes alone."""
    share, more = divmod(partitions, len(members))
    sizes = sorted((len(before.get(name, ())) for name in members), reverse=True)
    kept = sum(min(size, share + (place < more)) for place, size in enumerate(sizes))
    return partitions - kept


def test_a_third_worker_takes_two_of_eight_and_nothing_else_moves() -> None:
    before = {"a": {0, 1, 2, 3}, "b": {4, 5, 6, 7}, "c": set[int]()}
    after = assign(before, 8)
    assert {name: len(share) for name, share in after.items()} == {"a": 3, "b": 3, "c": 2}
    assert after["a"] < before["a"]
    assert after["b"] < before["b"]


def test_who_stays_keeps_everything_when_another_leaves() -> None:
    before = {"a": {0, 1, 2}, "b": {3, 4, 5}}
    after = assign(before, 8)
    assert after["a"] > before["a"]
    assert after["b"] > before["b"]
    assert len(after["a"]) == len(after["b"]) == 4


def test_with_standbys_it_is_fausts_own() -> None:
    assert sorted(map(len, assign({"a": {0, 1, 2}, "b": set()}, 4, replicas=1).values())) == [2, 2]


@given(
    st.integers(1, 24),
    st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=6),
    st.data(),
)
def test_any_change_of_members_is_even_and_moves_the_fewest(
    partitions: int, changes: list[set[int]], data: st.DataObject
) -> None:
    shares: dict[str, set[int]] = {}
    for members in changes:
        names = [f"w{number}" for number in sorted(members)] or ["w0"]
        order = data.draw(st.permutations(names))
        before = {name: shares.get(name, set()) for name in order}
        shares = assign(before, partitions)
        assert sorted(each for share in shares.values() for each in share) == list(
            range(partitions)
        )
        sizes = [len(share) for share in shares.values()]
        assert max(sizes) - min(sizes) <= 1
        assert moved(before, shares) == fewest(before, names, partitions)


def test_two_that_claim_the_same_do_not_both_keep_it() -> None:
    after = assign({"a": {0, 1, 2}, "b": {1, 2, 3}}, 4)
    assert sorted(after["a"] | after["b"]) == [0, 1, 2, 3]
    assert len(after["a"]) == len(after["b"]) == 2
