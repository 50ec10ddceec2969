"""A fault of a recorded file: which file, which line, what is wrong."""

from __future__ import annotations

from pathlib import Path


class FeedError(Exception):
    """A file that cannot be replayed: truncated, broken, or of another kind.

    Attributes:
        file: the file at fault.
        line: its line (rows of a Parquet file count from 1), None when the fault is the whole
            file's.
        message: what was found and what was expected.
        sent: records that Kafka had acknowledged before the fault was met; 0 as a rule, because
            all files are read through before the first record is sent.
    """

    def __init__(self, file: Path, line: int | None, message: str, sent: int = 0) -> None:
        self.file = file
        self.line = line
        self.message = message
        self.sent = sent
        super().__init__(file, line, message)

    def __str__(self) -> str:
        place = str(self.file) if self.line is None else f"{self.file}:{self.line}"
        unfinished = f" ({self.sent} records had been sent)" if self.sent else ""
        return f"{place}: {self.message}{unfinished}"
