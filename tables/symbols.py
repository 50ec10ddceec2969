"""What is known of the symbols, sources and conditions of a partition, by small codes.

Codes are private to a process (they depend on the order of first sight), so nothing that is
published or stored may depend on them; order is always that of the names.
"""

from __future__ import annotations

import re

import msgspec
import numpy as np
import numpy.typing as npt

from app.contracts.conditions import mask_of
from app.contracts.records import SYMBOL_PATTERN
from app.contracts.wire import ConditionNames
from tables.partitioning import partition_of
from tables.policies import Policy
from tables.texts import TextTable

_SYMBOL = re.compile(SYMBOL_PATTERN.removesuffix("$") + r"\Z")
#: Distinct sources of a partition: one bit each of a signed 64-bit mask, with some to spare.
MAX_SOURCES = 60
#: Symbols whose fault, or lack of one, is remembered.
MAX_FAULTS = 100_000
#: Texts that no state refers to are forgotten at this many.
MAX_TEXTS = 4096
_UNKNOWN = -1


def symbol_fault(name: str, partition: int, partitions: int) -> str | None:
    """Why a symbol is refused: its characters, or that it belongs to another partition."""
    if _SYMBOL.match(name) is None:
        return "bad_symbol"
    if partition_of(name.encode(), partitions) != partition:
        return "wrong_partition"
    return None


class SymbolFaults:
    """Why symbols of a partition are refused, remembered for a bounded number of them."""

    def __init__(self, partition: int, partitions: int) -> None:
        self._partition, self._partitions = partition, partitions
        self._known: dict[str, str | None] = {}

    def of(self, name: str) -> str | None:
        """Why a symbol is refused; None where it is not."""
        if name not in self._known:
            if len(self._known) >= MAX_FAULTS:
                self._known.clear()
            self._known[name] = symbol_fault(name, self._partition, self._partitions)
        return self._known[name]


class Symbols:
    """The symbols of one partition; a code indexes `names` and `faults`.

    A symbol is *interned* when first seen and *registered* with its first record that is not dead;
    only registered ones count against `limit` and are stored.
    """

    def __init__(self, partition: int, partitions: int, limit: int) -> None:
        self.partition = partition
        self.partitions = partitions
        self.limit = limit
        self.table = TextTable()
        self.names: list[str] = []
        self.faults: list[str | None] = []
        self.registered: list[bool] = []
        self._codes: dict[str, int] = {}
        self.count = 0
        self._faulty: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._known: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        # Made when they are asked for: a restore brings one name at a time.
        self._ordinary: npt.NDArray[np.uint8] = np.zeros(0, dtype=np.uint8)
        self._faulty_is_fresh = self._known_is_fresh = self._ordinary_is_fresh = True

    def refresh(self) -> None:
        """Take in the names that the table has seen since the last call."""
        if len(self.table) == len(self.names):
            return
        for name in self.table.names[len(self.names) :]:
            self.names.append(name)
            self.faults.append(self.fault_of(name))
            self.registered.append(False)
        self._faulty_is_fresh = self._known_is_fresh = self._ordinary_is_fresh = False

    def fault_of(self, name: str) -> str | None:
        """Why a symbol is refused: its characters, or that it belongs to another partition."""
        return symbol_fault(name, self.partition, self.partitions)

    def faulty(self, symbol: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """Whether each code's symbol is refused, shape (n,)."""
        if not self._faulty_is_fresh:
            self._faulty = np.array([fault is not None for fault in self.faults], dtype=np.bool_)
            self._faulty_is_fresh = True
        return self._faulty[symbol]

    @property
    def ordinary(self) -> npt.NDArray[np.uint8]:
        """By code, whether a symbol is registered and not refused."""
        if not self._ordinary_is_fresh:
            self._ordinary = np.array(
                [
                    known and fault is None
                    for known, fault in zip(self.registered, self.faults, strict=True)
                ],
                dtype=np.uint8,
            )
            self._ordinary_is_fresh = True
        return self._ordinary

    def all_registered(self, symbol: npt.NDArray[np.int32]) -> bool:
        """Whether every code's symbol is registered."""
        if not self._known_is_fresh:
            self._known = np.array(self.registered, dtype=np.bool_)
            self._known_is_fresh = True
        return bool(self._known[symbol].all())

    def register(self, code: int) -> bool:
        """Count the symbol as one of the partition; false where the limit is reached."""
        if not self.registered[code]:
            if self.count >= self.limit:
                return False
            self.registered[code] = True
            self._known_is_fresh = self._ordinary_is_fresh = False
            self.count += 1
        return True

    def code_of(self, name: str) -> int | None:
        """The code of a registered symbol."""
        for known in self.names[len(self._codes) :]:
            self._codes[known] = len(self._codes)
        code = self._codes.get(name)
        return code if code is not None and self.registered[code] else None

    def restore(self, name: str) -> int:
        """Register a stored symbol."""
        code = self.table.intern(name)
        self.refresh()
        self.register(code)
        return code


class Sources:
    """The distinct sources of one partition, in order of first sight; stored with the marker.

    The parser's codes are 0 for none, else the table's code plus one.
    """

    def __init__(self, names: list[str] | None = None) -> None:
        self.names: list[str] = list(names or [])
        #: By mask: bars have few different ones.
        self._names_of: dict[int, tuple[str, ...]] = {}
        self._bits = {name: 1 << index for index, name in enumerate(self.names)}
        self.table = TextTable()
        self._by_code: list[int] = [0]
        #: By code, the mask; negative for a source without a bit.
        self.by_code: npt.NDArray[np.int64] = np.zeros(1, dtype=np.int64)

    def begin(self) -> None:
        """Begin a batch; codes live for one."""
        if len(self.table) > MAX_TEXTS:
            self.table = TextTable()
            self._by_code = [0]

    def refresh(self) -> None:
        """Take in the names that the table has seen since the last call."""
        for name in self.table.names[len(self._by_code) - 1 :]:
            self._by_code.append(self._bits.get(name, _UNKNOWN))
        if len(self.by_code) != len(self._by_code):
            self.by_code = np.array(self._by_code, dtype=np.int64)

    def bits(self, codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """One-bit masks of the codes, shape (n,); negative for a source without a bit."""
        return self.by_code[codes]

    def add(self, code: int) -> bool:
        """Give a code's source its bit; false where none is left."""
        if self._by_code[code] == _UNKNOWN:
            if len(self.names) >= MAX_SOURCES:
                return False
            name = self.table.names[code - 1]
            self._bits[name] = self._by_code[code] = 1 << len(self.names)
            self.by_code[code] = self._by_code[code]
            self.names.append(name)
        return True

    def of(self, mask: int) -> tuple[str, ...]:
        """The names of a mask, sorted."""
        found = self._names_of.get(mask)
        if found is None:
            if len(self._names_of) >= MAX_TEXTS:
                self._names_of.clear()
            found = self._names_of[mask] = tuple(
                sorted(name for index, name in enumerate(self.names) if mask & (1 << index))
            )
        return found


class Conditions:
    """Arrays of conditions, as they stand in the JSON, with the policy's flags as tables.

    Codes are 0 for none, else the table's code plus one. Each different array is decoded once.
    """

    _decode = msgspec.json.Decoder(ConditionNames).decode

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._start()

    def _start(self) -> None:
        self.table = TextTable()
        self._codes: dict[tuple[str, ...], int] = {(): 0}
        self._flags: list[list[int]] = [
            [self._policy.flags(0, each)] for each in range(self._policy.classes)
        ]
        self._valid = [True]
        self._build()

    def _build(self) -> None:
        #: Per interval class: flags by code.
        self.tables = [np.array(flags, dtype=np.int8) for flags in self._flags]
        self.valid: npt.NDArray[np.bool_] = np.array(self._valid, dtype=np.bool_)

    def begin(self) -> None:
        """Begin a batch; codes live for one."""
        if len(self.table) > MAX_TEXTS:
            self._start()

    def refresh(self) -> None:
        """Decode the arrays that the table has seen since the last call."""
        if len(self.table) + 1 == len(self._valid):
            return
        for text in self.table.names[len(self._valid) - 1 :]:
            try:
                mask = mask_of(self._decode(text))
            except (msgspec.DecodeError, UnicodeError):
                # The full decoder says what is wrong with such a record.
                self._valid.append(False)
                mask = 0
            else:
                self._valid.append(True)
            for interval_class, flags in enumerate(self._flags):
                flags.append(self._policy.flags(mask, interval_class))
        self._build()

    def code_of(self, names: tuple[str, ...]) -> int:
        """Code of decoded names, for records that the full decoder read."""
        code = self._codes.get(names)
        if code is None:
            text = msgspec.json.encode(names).decode()
            code = self._codes[names] = self.table.intern(text) + 1
        return code
