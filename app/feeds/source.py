"""Any PATH as one stream of trades: files, folders, several of either."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from app.contracts.wire import TradeRecord
from app.feeds.columns import TradeColumns, Vocabulary, columns_of
from app.feeds.errors import FeedError
from app.feeds.files import Facts, FeedFile, Skipped, facts_of
from app.feeds.lean import open_lean
from app.feeds.merge import merged
from app.feeds.tabular import open_csv, open_parquet


class TradeSource(Protocol):
    """What can be replayed."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def skipped(self) -> Sequence[Skipped]: ...

    def verify(self) -> int:
        """Read everything through once; the number of trades.

        Raises:
            FeedError: a file is broken.
        """

    def chunks(self) -> Iterator[TradeColumns]:
        """All trades in (event time, sequence) order; after `verify`."""


@dataclass(slots=True)
class Source:
    """Recorded files as one stream. Memory is bounded by the files that overlap in time, except
    for a file whose own records are out of order: it is read whole and sorted.
    """

    files: list[FeedFile]
    skipped: list[Skipped]
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    facts: list[Facts] = field(default_factory=list)

    def verify(self) -> int:
        """Read every file through, so that nothing is sent of a set with a broken one."""
        self.facts = [facts_of(file, self.vocabulary) for file in self.files]
        return sum(facts.rows for facts in self.facts)

    def chunks(self) -> Iterator[TradeColumns]:
        """All trades in (event time, sequence, order of the files) order."""
        if len(self.facts) != len(self.files):
            self.verify()
        return merged(self.files, self.facts, self.vocabulary)


@dataclass(slots=True)
class MemorySource:
    """Trades from a list, in its order: for tests and generated loads."""

    trades: Sequence[TradeRecord]
    chunk: int = 32_768
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    skipped: Sequence[Skipped] = ()

    def verify(self) -> int:
        """The number of trades; they are taken as they are."""
        return len(self.trades)

    def chunks(self) -> Iterator[TradeColumns]:
        """The trades in the list's order; a missing sequence is the place in the list."""
        whole = columns_of(self.trades, self.vocabulary)
        for start in range(0, len(whole), self.chunk):
            yield whole.take(slice(start, start + self.chunk))


_OPENERS: Final[dict[str, Callable[[Path], FeedFile | str]]] = {
    ".zip": open_lean,
    ".csv": open_csv,
    ".parquet": open_parquet,
}


def open_source(paths: Iterable[Path]) -> Source:
    """Find and open what there is to replay, in the order of `paths`, folders by name.

    Files of another kind are skipped inside a folder and refused where they were named.

    Raises:
        FeedError: a path is missing, broken or of another kind, or nothing is left to replay.
    """
    files: list[FeedFile] = []
    skipped: list[Skipped] = []
    named = list(paths)
    for path in named:
        if path.is_dir():
            inside = sorted(entry for entry in path.rglob("*") if entry.is_file())
            for entry in inside:
                opened = _open(entry)
                if isinstance(opened, str):
                    skipped.append(Skipped(entry, opened))
                else:
                    files.append(opened)
        elif path.is_file():
            opened = _open(path)
            if isinstance(opened, str):
                raise FeedError(path, None, f"cannot be replayed: {opened}")
            files.append(opened)
        else:
            raise FeedError(path, None, "no such file or folder")
    if not files:
        where = named[0] if named else Path()
        raise FeedError(where, None, f"nothing to replay ({len(skipped)} files of other kinds)")
    return Source(files, skipped)


def _open(path: Path) -> FeedFile | str:
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        return f"neither {', '.join(_OPENERS)}"
    return opener(path)
