"""The marks of a peer: after its warm-up and after its last record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.bench.marks import mark


class Counter:
    """Counts records that are done; called once for each.

    Args:
        told: `skip`, records of the warm-up, and `records`, all of them.
    """

    def __init__(self, told: Mapping[str, Any], note: Callable[[str], None] = mark) -> None:
        self._count = 0
        self._marks = {int(told["skip"]): "first", int(told["records"]): "last"}
        self._note = note

    def __call__(self, *_: object) -> None:
        """Count one."""
        self._count += 1
        name = self._marks.get(self._count)
        if name is not None:
            self._note(name)
