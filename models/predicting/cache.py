"""Things that take long to load, held while they are used most: models by name and version."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What knows how much memory it takes."""

    @property
    def size(self) -> int:
        """Bytes."""


Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value", bound=Sized)


class LoadedCache(Generic[Key, Value]):
    """Loads by key and keeps what was used last, bounded in number and in bytes.

    Safe for threads: a key that several ask for at once is loaded once, and while it is loaded the
    others are served. An error is told to all who wait and not kept. What alone is larger than the
    bound is given out and not kept: who goes on using it holds it.

    Args:
        load: makes a value of its key.
        most: values kept, at least 1.
        most_bytes: the sum of their `size`s.
    """

    def __init__(self, load: Callable[[Key], Value], most: int, most_bytes: int) -> None:
        if most < 1 or most_bytes < 1:
            raise ValueError(f"{most} values of {most_bytes} bytes: expected at least 1 of each")
        self._load = load
        self._most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Key, Value] = OrderedDict()
        self._bytes = 0
        self._loading: dict[Key, Future[Value]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes of what is kept."""
        return self._bytes

    @property
    def keys(self) -> tuple[Key, ...]:
        """What is kept, the least recently used first."""
        with self._lock:
            return tuple(self._kept)

    def get(self, key: Key) -> Value:
        """Return the value of a key, loading it where it is not kept.

        Raises:
            whatever `load` raises.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            future = self._loading.get(key)
            ours = future is None
            if future is None:
                future = self._loading[key] = Future()
        if not ours:
            return future.result()
        try:
            value = self._load(key)
        except BaseException as error:
            with self._lock:
                del self._loading[key]
            future.set_exception(error)
            raise
        with self._lock:
            del self._loading[key]
            self._keep(key, value)
        future.set_result(value)
        return value

    def _keep(self, key: Key, value: Value) -> None:
        size = value.size
        if size > self._most_bytes:
            return
        self._kept[key] = value
        self._bytes += size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= gone.size
