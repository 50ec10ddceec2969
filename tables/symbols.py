"""Interning: text to small codes, and what is known of each symbol of a partition.

Codes are private to a process (they depend on the order of first sight), so nothing that is
published or stored may depend on them; order is always that of the names.
"""

from __future__ import annotations

import re
from collections.abc import KeysView

import numpy as np
import numpy.typing as npt

from app.contracts.conditions import mask_of
from app.contracts.records import SYMBOL_PATTERN
from tables.partitioning import partition_of
from tables.policies import Policy

_SYMBOL = re.compile(SYMBOL_PATTERN.removesuffix("$") + r"\Z")
#: Distinct sources of a partition: one bit each of a signed 64-bit mask, with some to spare.
MAX_SOURCES = 60


class Symbols:
    """The symbols of one partition.

    A symbol is *interned* when first seen and *registered* with its first record that is not dead;
    only registered ones count against `limit` and are stored.
    """

    def __init__(self, partition: int, partitions: int, limit: int) -> None:
        self.partition = partition
        self.partitions = partitions
        self.limit = limit
        self.codes: dict[str, int] = {}
        self.names: list[str] = []
        self.faults: list[str | None] = []
        self.registered: list[bool] = []
        self.count = 0
        self._any_fault: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._registered: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._registered_fresh = False

    def intern(self, names: list[str]) -> npt.NDArray[np.int32]:
        """Codes of the names, shape (n,)."""
        codes = self.codes
        try:
            return np.array([codes[name] for name in names], dtype=np.int32)
        except KeyError:
            for name in names:
                if name not in codes:
                    self._add(name)
            return np.array([codes[name] for name in names], dtype=np.int32)

    def _add(self, name: str) -> int:
        code = self.codes[name] = len(self.names)
        self.names.append(name)
        fault: str | None = None
        if _SYMBOL.match(name) is None:
            fault = "bad_symbol"
        elif partition_of(name.encode(), self.partitions) != self.partition:
            fault = "wrong_partition"
        self.faults.append(fault)
        self.registered.append(False)
        return code

    def faulty(self, symbol: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Whether each code's symbol is refused, shape (n,)."""
        if len(self._any_fault) != len(self.faults):
            self._any_fault = np.array([fault is not None for fault in self.faults])
        return self._any_fault[symbol]

    def all_registered(self, symbol: npt.NDArray[np.int32]) -> bool:
        """Whether every code's symbol is registered."""
        if len(self._registered) != len(self.registered) or not self._registered_fresh:
            self._registered = np.array(self.registered, dtype=np.bool_)
            self._registered_fresh = True
        return bool(self._registered[symbol].all())

    def register(self, code: int) -> bool:
        """Count the symbol as one of the partition; false where the limit is reached."""
        if not self.registered[code]:
            if self.count >= self.limit:
                return False
            self.registered[code] = True
            self._registered_fresh = False
            self.count += 1
        return True

    def restore(self, name: str) -> int:
        """Register a stored symbol."""
        code = self._add(name) if name not in self.codes else self.codes[name]
        self.register(code)
        return code


class Sources:
    """The distinct sources of one partition, in order of first sight; stored with the marker."""

    def __init__(self, names: list[str] | None = None) -> None:
        self.names: list[str] = list(names or [])
        self._bits: dict[str | None, int] = {None: 0}
        self._bits.update({name: 1 << index for index, name in enumerate(self.names)})

    @property
    def known_names(self) -> KeysView[str | None]:
        """Names that have a bit, None among them."""
        return self._bits.keys()

    def bits(self, names: list[str | None], distinct: set[str | None]) -> npt.NDArray[np.int64]:
        """One-bit masks of known names, shape (n,); `distinct` holds at least those."""
        bits = self._bits
        if len(distinct) == 1:
            return np.full(len(names), bits[next(iter(distinct))], dtype=np.int64)
        return np.array([bits[name] for name in names], dtype=np.int64)

    def add(self, name: str) -> bool:
        """Give a name its bit; false where none is left."""
        if name not in self._bits:
            if len(self.names) >= MAX_SOURCES:
                return False
            self._bits[name] = 1 << len(self.names)
            self.names.append(name)
        return True

    def of(self, mask: int) -> tuple[str, ...]:
        """The names of a mask, sorted."""
        return tuple(sorted(name for index, name in enumerate(self.names) if mask & (1 << index)))


class Conditions:
    """Condition tuples to small codes, with the policy's flags of each code as tables.

    The decoder lets only names of the vocabulary through.

    Bounded: at most `LIMIT` different tuples are kept, then the tables start anew (codes live
    for one batch only).
    """

    LIMIT = 4096

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._start()

    def _start(self) -> None:
        self.codes: dict[tuple[str, ...], int] = {}
        self._flags: list[list[int]] = [[] for _ in range(self._policy.classes)]
        self.tables: list[npt.NDArray[np.int8]] = [np.zeros(0, dtype=np.int8)]
        self.encode([()])

    def encode(self, conditions: list[tuple[str, ...]]) -> npt.NDArray[np.int32]:
        """Codes of the condition tuples, shape (n,)."""
        try:
            return np.array([self.codes[names] for names in conditions], dtype=np.int32)
        except KeyError:
            if len(self.codes) > self.LIMIT:
                self._start()
            for names in conditions:
                if names not in self.codes:
                    self._add(names)
            return np.array([self.codes[names] for names in conditions], dtype=np.int32)

    def _add(self, names: tuple[str, ...]) -> None:
        mask = mask_of(names)
        self.codes[names] = len(self.codes)
        for interval_class, flags in enumerate(self._flags):
            flags.append(self._policy.flags(mask, interval_class))
        self.tables = [np.array(flags, dtype=np.int8) for flags in self._flags]
