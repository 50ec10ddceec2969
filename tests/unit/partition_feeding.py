"""What a partition of a test stores and publishes, kept as the engine would keep it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any


class Kept:
    """A store and a log of outputs; a subclass makes the state, and feeds it.

    Attributes:
        rows: what is stored, by key.
        published: records by output.
    """

    state: Any

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.published: dict[str, list[Any]] = {}

    def checkpoint(self) -> None:
        """Publish, and store the rows."""
        taken = self.state.take("topic")
        for output, records in taken.outputs.items():
            self.published.setdefault(output, []).extend(records)
        for key, row in taken.rows:
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        self.state.stored()


def loaded_rows(
    rows: Mapping[bytes, bytes], prefixes: Container[bytes]
) -> list[tuple[bytes, bytes]]:
    """Return the rows that a restart reads at once, in the order of their keys."""
    return [(key, row) for key, row in sorted(rows.items()) if key[:1] in prefixes]
