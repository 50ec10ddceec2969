"""Any PATH as one stream of trades or of quotes: files, folders, several of either."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, cast

from app.contracts.wire import QuoteRecord, TradeRecord
from app.feeds.binance import open_binance
from app.feeds.columns import TickColumns, Vocabulary, columns_of, quote_columns_of
from app.feeds.errors import FeedError
from app.feeds.files import Facts, FeedFile, Kind, Skipped, facts_of
from app.feeds.lean import open_lean
from app.feeds.mapping_files import open_packed
from app.feeds.merge import merged
from app.feeds.tabular import open_csv, open_parquet
from app.feeds.taq import open_taq

#: Skipped files that the error about an empty replay names.
NAMED_SKIPPED: Final = 5


class TickSource(Protocol):
    """What can be replayed."""

    @property
    def kind(self) -> Kind: ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def skipped(self) -> Sequence[Skipped]: ...

    @property
    def left_out(self) -> Mapping[str, int]:
        """Records that were left out on purpose, by the reason; after `verify`."""

    def verify(self) -> int:
        """Read everything through once; the number of records.

        Raises:
            FeedError: a file is broken.
        """

    def chunks(self) -> Iterator[TickColumns]:
        """All records in (event time, sequence) order; after `verify`."""


@dataclass(slots=True)
class Source:
    """Recorded files as one stream. Memory is bounded by the files that overlap in time, except
    for a file whose own records are out of order: it is read whole and sorted.
    """

    files: list[FeedFile]
    skipped: list[Skipped]
    kind: Kind = "trades"
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    facts: list[Facts] = field(default_factory=list)

    @property
    def left_out(self) -> dict[str, int]:
        """Records that the readers left out on purpose, by the reason, in the reasons' order."""
        total: Counter[str] = Counter()
        for facts in self.facts:
            total.update(facts.left_out)
        return dict(sorted(total.items()))

    def verify(self) -> int:
        """Read every file through, so that nothing is sent of a set with a broken one."""
        self.facts = [facts_of(file, self.vocabulary) for file in self.files]
        return sum(facts.rows for facts in self.facts)

    def chunks(self) -> Iterator[TickColumns]:
        """All records in (event time, sequence, order of the files) order."""
        if len(self.facts) != len(self.files):
            self.verify()
        return merged(self.files, self.facts, self.vocabulary)


@dataclass(slots=True)
class MemorySource:
    """Trades or quotes from a list, in its order: for tests and generated loads."""

    records: Sequence[TradeRecord] | Sequence[QuoteRecord]
    chunk: int = 32_768
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    skipped: Sequence[Skipped] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """What the first record is; an empty list holds trades."""
        return "quotes" if self.records and isinstance(self.records[0], QuoteRecord) else "trades"

    def verify(self) -> int:
        """The number of records; they are taken as they are."""
        return len(self.records)

    def chunks(self) -> Iterator[TickColumns]:
        """The records in the list's order; a missing sequence is the place in the list."""
        whole: TickColumns
        if self.kind == "quotes":
            whole = quote_columns_of(cast(Sequence[QuoteRecord], self.records), self.vocabulary)
        else:
            whole = columns_of(cast(Sequence[TradeRecord], self.records), self.vocabulary)
        for start in range(0, len(whole), self.chunk):
            yield whole.take(slice(start, start + self.chunk))


class FileMapping(Protocol):
    """How tables under other column names are read (`app/feeds/mapping.py`)."""

    def open(self, path: Path) -> FeedFile | str:
        """The file as this mapping reads it, or the reason why it cannot.

        Raises:
            FeedError: the file is broken.
        """


#: A file (or several inside one, each of one kind), or the reason why a path is none of ours.
Opened = FeedFile | Sequence[FeedFile] | str

#: By suffix: the first that gives no reason opens the file, else the last one's reason holds.
_OPENERS: Final[dict[str, tuple[Callable[[Path], Opened], ...]]] = {
    ".zip": (open_lean,),
    ".csv": (open_taq, open_csv),
    ".gz": (open_taq, open_binance, open_packed),
    ".parquet": (open_parquet,),
}
#: Files that a column mapping reads instead.
_MAPPED: Final = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz", ".parquet")


def open_source(
    paths: Iterable[Path], kind: Kind = "trades", mapping: FileMapping | None = None
) -> Source:
    """Find and open what there is to replay, in the order of `paths`, folders by name.

    Files of the other kind are skipped; what is neither is skipped inside a folder and refused
    where it was named.

    Raises:
        FeedError: a path is missing, broken or cannot be read, or nothing is left to replay.
    """
    files: list[FeedFile] = []
    skipped: list[Skipped] = []
    named = list(paths)
    for path in named:
        if path.is_dir():
            inside = sorted(entry for entry in path.rglob("*") if entry.is_file())
        elif path.is_file():
            inside = [path]
        else:
            raise FeedError(path, None, "no such file or folder")
        for entry in inside:
            opened = _open(entry, mapping)
            if isinstance(opened, str):
                if entry is path:
                    raise FeedError(path, None, f"cannot be replayed: {opened}")
                skipped.append(Skipped(entry, opened))
                continue
            wanted = [file for file in opened if file.kind == kind]
            files += wanted
            if not wanted:
                skipped.append(Skipped(entry, f"{_others(kind)}, not {kind}"))
    if not files:
        raise FeedError(named[0] if named else Path(), None, _nothing(kind, skipped))
    return Source(files, skipped, kind)


def _others(kind: Kind) -> Kind:
    return "quotes" if kind == "trades" else "trades"


def _nothing(kind: Kind, skipped: Sequence[Skipped]) -> str:
    """Why there is nothing to replay, in one line."""
    if not skipped:
        return f"no {kind} to replay"
    names = [f"{each.path.name}: {each.reason}" for each in skipped[:NAMED_SKIPPED]]
    more = len(skipped) - len(names)
    listed = "; ".join(names) + (f"; and {more} more" if more else "")
    return f"no {kind} to replay ({listed})"


def _open(path: Path, mapping: FileMapping | None) -> Sequence[FeedFile] | str:
    suffix = path.suffix.lower()
    if mapping is not None and path.name.lower().endswith(_MAPPED):
        mapped = mapping.open(path)
        return mapped if isinstance(mapped, str) else [mapped]
    reason = f"neither {', '.join(_OPENERS)}"
    for opener in _OPENERS.get(suffix, ()):
        opened = opener(path)
        if not isinstance(opened, str):
            return opened if isinstance(opened, Sequence) else [opened]
        reason = opened
    return reason
