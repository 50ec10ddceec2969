"""The table of `docs/metrics.md`, read for the tests that hold it against what is exported."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
_ROW = re.compile(
    r"^\| `(candlewick_\w+)` \| (\w+) \| ([\w ]+) \| ([\w, ]+|-) \| (.+) \|$", re.MULTILINE
)


@dataclass(frozen=True)
class Documented:
    """A row: type, unit and label names of a metric."""

    type: str
    unit: str
    labels: frozenset[str]


def documented() -> dict[str, Documented]:
    """Return all rows by the metric's name."""
    rows: dict[str, Documented] = {}
    for name, kind, unit, labels, _ in _ROW.findall(DOCUMENT.read_text(encoding="utf-8")):
        assert name not in rows, f"{name} is documented twice"
        names = frozenset() if labels == "-" else frozenset(labels.split(", "))
        rows[name] = Documented(kind, unit, names)
    return rows


def expressions() -> list[str]:
    """Return the PromQL of the document: its blocks, and what its tables say in code."""
    text = DOCUMENT.read_text(encoding="utf-8")
    blocks = re.findall(r"```promql\n(.+?)```", text, re.DOTALL)
    mapping = text[text.index("## The sources' names") : text.index("## Logs")]
    inline = [part for part in re.findall(r"`([^`\n]+)`", mapping) if "candlewick_" in part]
    return [*blocks, *inline]
