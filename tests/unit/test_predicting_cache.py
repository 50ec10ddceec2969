"""The cache of loaded versions: bounded, least recently used, each key loaded once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.predicting.cache import LoadedCache


@dataclass(frozen=True)
class Loaded:
    key: int
    size: int


def size_of(key: int) -> int:
    """Of key 9 larger than any bound below."""
    return 1_000 if key == 9 else key + 1


@given(keys=st.lists(st.integers(0, 9)), most=st.integers(1, 5), most_bytes=st.integers(1, 30))
def test_it_keeps_what_a_plain_list_would(keys: list[int], most: int, most_bytes: int) -> None:
    loads: list[int] = []

    def load(key: int) -> Loaded:
        loads.append(key)
        return Loaded(key, size_of(key))

    cache = LoadedCache(load, most, most_bytes)
    kept: list[int] = []
    expected: list[int] = []
    for key in keys:
        if key in kept:
            kept.remove(key)
            kept.append(key)
        else:
            expected.append(key)
            if size_of(key) <= most_bytes:
                kept.append(key)
                while len(kept) > most or sum(map(size_of, kept)) > most_bytes:
                    kept.pop(0)
        assert cache.get(key) == Loaded(key, size_of(key))
        assert cache.keys == tuple(kept)
        assert len(cache) == len(kept) <= most
        assert cache.size == sum(map(size_of, kept)) <= most_bytes
    assert loads == expected


def test_bounds_of_nothing_are_refused() -> None:
    for most, most_bytes in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="at least 1 of each"):
            LoadedCache(lambda key: Loaded(key, 1), most, most_bytes)


def test_an_error_is_told_and_not_kept() -> None:
    faults = [OSError("not there yet")]

    def load(key: int) -> Loaded:
        if faults:
            raise faults.pop()
        return Loaded(key, 1)

    cache = LoadedCache(load, 1, 1)
    with pytest.raises(OSError, match="not there yet"):
        cache.get(1)
    assert cache.get(1) == Loaded(1, 1)


def test_who_asks_at_once_waits_for_one_loading_and_others_are_served() -> None:
    loads: list[int] = []
    begun, end = threading.Event(), threading.Event()

    def load(key: int) -> Loaded:
        loads.append(key)
        if key == 1:
            begun.set()
            assert end.wait(30)
        return Loaded(key, 1)

    cache = LoadedCache(load, 2, 10)
    with ThreadPoolExecutor(4) as threads:
        slow = [threads.submit(cache.get, 1) for _ in range(3)]
        assert begun.wait(30)
        assert cache.get(2) == Loaded(2, 1)
        end.set()
        assert len({id(each.result()) for each in slow}) == 1
    assert loads == [1, 2]


def test_an_error_reaches_all_who_wait() -> None:
    begun, end = threading.Event(), threading.Event()
    loads: list[int] = []

    def load(key: int) -> Loaded:
        loads.append(key)
        begun.set()
        assert end.wait(30)
        raise OSError("gone")

    cache = LoadedCache(load, 1, 1)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.get, 1)
        assert begun.wait(30)
        loading = cache._loading[1]
        second = threads.submit(loading.result)
        end.set()
        for each in (first, second):
            with pytest.raises(OSError, match="gone"):
                each.result()
    assert loads == [1]
    assert cache.keys == ()
