"""One CSV inside one of Lean's zips, read in blocks of lines."""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa

from app.feeds.columns import TickColumns, Vocabulary
from app.feeds.errors import FeedError
from app.feeds.files import BLOCK_BYTES, Kind, LineTooLongError, line_blocks
from app.feeds.lean_layouts import BrokenRowError, Layout, first_fault, midnights, parsed
from app.feeds.lean_quotes import QuoteReader
from app.feeds.lean_trades import TradeReader


@dataclass(frozen=True, slots=True)
class LeanFile:
    """A day of one symbol's ticks.

    Attributes:
        path: of the zip.
        member: the CSV's name in it.
        symbol: of all its records.
        day: by the layout's clock.
        layout: of its lines.
        alone: the zip has no other member, so errors need not name this one.
        block_bytes: about how much text is parsed at once.
    """

    path: Path
    member: str
    symbol: str
    day: date
    layout: Layout
    alone: bool = True
    block_bytes: int = BLOCK_BYTES

    @property
    def kind(self) -> Kind:
        """Trades or quotes."""
        return self.layout.kind

    def columns(self, vocabulary: Vocabulary, left_out: Counter[str]) -> Iterator[TickColumns]:
        """Its records, block by block.

        Raises:
            FeedError: the zip is truncated or damaged (line None), or a row is broken.
        """
        symbol = vocabulary.symbols.number(self.symbol)
        day = midnights(self.day, self.layout.zone)
        reader: TradeReader | QuoteReader
        if self.kind == "trades":
            reader = TradeReader(self.layout, symbol, day, vocabulary)
        else:
            reader = QuoteReader(self.layout, symbol, day, vocabulary, left_out)
        rows = 0
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                for block in line_blocks(stream, self.block_bytes):
                    try:
                        table = parsed(block, self.layout)
                        part = reader.read(table, rows)
                    except (BrokenRowError, pa.ArrowInvalid) as error:
                        line, fault = first_fault(block, self.layout) or (None, str(error))
                        raise self._broken(None if line is None else line + rows, fault) from None
                    rows += len(table)
                    if len(part):
                        yield part
            rest = reader.end()
            if rest is not None:
                yield rest
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise FeedError(self.path, None, f"not a whole zip: {error}") from error
        except (OSError, KeyError, RuntimeError) as error:  # a zip that is another than it was
            raise FeedError(self.path, None, f"cannot be read: {error}") from error
        except LineTooLongError as error:
            raise self._broken(rows + 1, str(error)) from None

    def _broken(self, line: int | None, fault: str) -> FeedError:
        return FeedError(self.path, line, fault if self.alone else f"{self.member}: {fault}")
