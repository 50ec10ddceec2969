"""Third parties' indicator tables, read as columns; nothing here knows our indicators.

The spreadsheets of `indicators/ta` (StockCharts, by way of ta's tests) and the columns of
`indicators/lean` (QuantConnect's test data). A cell that is empty or NaN is None; each number comes
with the half unit of its last printed digit.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

Series = list[float | None]

_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Table:
    """A file's columns by header (stripped), and what each of their numbers is exact to."""

    name: str
    columns: dict[str, Series]
    precision: dict[str, Series]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def half_unit(text: str) -> float:
    """Return half a unit of the last digit that is printed; at most 15 digits count."""
    number = Decimal(text.strip())
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    finest = number.adjusted() - 14 if number else exponent
    return float(Decimal(5).scaleb(max(exponent, finest) - 1))


def read_table(path: Path) -> Table:
    """Read a CSV file with a header; what is no number (dates, empty cells) is None."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    names = [name.strip() or f"#{place}" for place, name in enumerate(header)]
    columns: dict[str, Series] = {name: [] for name in names}
    precision: dict[str, Series] = {name: [] for name in names}
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        for place, name in enumerate(names):
            cell = row[place] if place < len(row) else ""
            is_number = _NUMBER.fullmatch(cell) is not None
            columns[name].append(float(cell) if is_number else None)
            precision[name].append(half_unit(cell) if is_number else None)
    return Table(path.name, columns, precision)
