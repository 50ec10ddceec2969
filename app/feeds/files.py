"""What every reader of recorded files offers, and how text files come in blocks of lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from app.feeds.columns import TickColumns, Vocabulary

#: What a file holds and a replay sends, each to a topic of its own.
Kind = Literal["trades", "quotes"]
#: Bytes of text that are parsed at once; about 30,000 trades.
BLOCK_BYTES = 1 << 20
#: A line longer than this is not one of ours.
MAX_LINE_BYTES = 1 << 16


class Binary(Protocol):
    """An open file, plain or inside a zip."""

    def read(self, size: int, /) -> bytes: ...


class FeedFile(Protocol):
    """One recorded file that can be read again and again, in blocks."""

    @property
    def path(self) -> Path: ...

    @property
    def kind(self) -> Kind: ...

    def columns(self, vocabulary: Vocabulary, left_out: Counter[str]) -> Iterator[TickColumns]:
        """Its records in the file's order, none of the blocks empty, all of `kind`.

        What is left out on purpose is counted in `left_out` by the reason, in the words of the
        replay's summary. A row with a `value` is sent as those bytes: a control record, or a
        line that cannot be read and is to become a dead letter.

        Raises:
            FeedError: the file is broken, with its line.
        """


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not replayed, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What reading a file through has shown.

    `first` is its smallest event time in ns; `ordered`: by (event time, sequence); `raw` of the
    `rows` have a `value` of their own; `left_out` are no rows: records by why they were left out.
    """

    rows: int
    first: int
    ordered: bool
    left_out: dict[str, int] = field(default_factory=dict)
    raw: int = 0


class LineTooLongError(ValueError):
    """A text file without line ends."""


def line_blocks(stream: Binary, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Cut a stream into blocks of whole lines of about `size` bytes.

    A last line without its end is given as it is.

    Raises:
        LineTooLongError: no line end in `MAX_LINE_BYTES` bytes.
    """
    rest = b""
    while block := stream.read(size):
        end = block.rfind(b"\n") + 1
        if not end:
            rest += block
            if len(rest) > MAX_LINE_BYTES:
                raise LineTooLongError(f"no line end within {MAX_LINE_BYTES} bytes")
            continue
        yield rest + block[:end]
        rest = block[end:]
        if len(rest) > MAX_LINE_BYTES:
            raise LineTooLongError(f"no line end within {MAX_LINE_BYTES} bytes")
    if rest:
        yield rest


def facts_of(file: FeedFile, vocabulary: Vocabulary) -> Facts:
    """Read a file through, keeping nothing.

    Raises:
        FeedError: the file is broken.
    """
    rows = first = last = sequence = raw = 0
    ordered = True
    left_out: Counter[str] = Counter()
    for columns in file.columns(vocabulary, left_out):
        times, sequences = columns.event_time, columns.sequence
        if ordered:
            later = np.diff(times, prepend=times[0] if rows == 0 else last)
            order = np.diff(sequences, prepend=sequences[0] if rows == 0 else sequence)
            ordered = not bool(np.any((later < 0) | ((later == 0) & (order < 0))))
        first = int(times.min()) if rows == 0 else min(first, int(times.min()))
        rows += len(columns)
        raw += raw_rows(columns)
        last, sequence = int(times[-1]), int(sequences[-1])
    return Facts(rows, first, ordered, dict(left_out), raw)


def raw_rows(columns: TickColumns) -> int:
    """How many rows are sent as their `value`."""
    if columns.value is None:
        return 0
    return sum(value is not None for value in columns.value.tolist())
