"""Text files as they are or compressed: `trades.csv` and `trades.csv.gz` are read the same way."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Final

from app.feeds.errors import FeedError

SUFFIX: Final = ".gz"
#: What is read of a file to tell its kind by its first line.
FIRST_LINE_BYTES: Final = 1 << 16


@contextmanager
def reading(path: Path) -> Iterator[BufferedIOBase]:
    """A file's text as a stream; unpacked while it is read, so that memory is bounded.

    Raises:
        FeedError: the file cannot be read, or is truncated or damaged, found out by its checksum
            when the stream has been read to its end (line None).
    """
    packed = path.suffix.lower() == SUFFIX
    try:
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            yield stream
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise FeedError(path, None, f"not a whole gzip file: {error}") from error
    except OSError as error:
        raise FeedError(path, None, f"cannot be read: {error}") from error


def first_line(path: Path) -> bytes:
    """The first line without its end, at most `FIRST_LINE_BYTES` of it.

    Raises:
        FeedError: see `reading`.
    """
    with reading(path) as stream:
        return stream.readline(FIRST_LINE_BYTES).rstrip(b"\r\n")
