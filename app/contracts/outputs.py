"""What leaves with a checkpoint: records of the output topics and state rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Headers = list[tuple[str, bytes]]
#: Of the many records that have none; nobody adds to it.
NO_HEADERS: Headers = []
#: Header of a letter whose value did not fit into its topic: how many bytes it has in its source.
LEFT_OUT = "value_bytes"


class OutputRecord(NamedTuple):
    """One record for an output (`bars`, `late`, `dead`), sent to the source's partition."""

    key: bytes | None
    value: bytes | None
    headers: Headers


class RoutedRecord(NamedTuple):
    """One record for another partition than the source's: the next stage has other keys."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int


@dataclass(slots=True)
class Taken:
    """The content of one checkpoint, frozen: outputs by name, rows (None deletes), position.

    An output has records of one kind.
    """

    next: int
    outputs: Mapping[str, Sequence[OutputRecord | RoutedRecord]] = field(default_factory=dict)
    rows: list[tuple[bytes, bytes | None]] = field(default_factory=list)
