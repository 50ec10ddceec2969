"""The documentation's table of indicators: `docs/indicators.md`, from the registry and what agreed.

Made by `python -m tests.checks.indicators_agreement --write docs/indicators.md`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tables.indicators.base import Indicator
from tables.indicators.registry import DEFAULT_INDICATORS, indicators

if TYPE_CHECKING:
    from tests.checks.indicators_agreement import Agreement

HEAD = f"""# Indicators

Made by `python -m tests.checks.indicators_agreement --write docs/indicators.md`; do not edit.

An indicator is written as `NAME(parameter, ...)`: parameters by place, then by name
(`EMA(12,seed=first)`); what is left out has its default. Its outputs are named as it was asked for:
`MACD(12,26,9)`, `MACD(12,26,9).signal`. The default set is
`{DEFAULT_INDICATORS.replace(",", ", ").replace(", 26, 9", ",26,9").replace(", 2)", ",2)")}`.

Lengths are bars, from 1 to 2,000. All outputs of an indicator begin together, with the bar that the
warm-up counts to, and are null before it. *Memory* is how many bars later a bar that was revised
too late no longer shows (below 10^-9 of its change; windows: not at all); without a number, never.

To add one: a class in a file of your own, as `tables/indicators/base.py` shows, and its module's
import path in the setting of indicator modules, or `candlewick indicators --module`.

## What there is
"""

AGREEMENT = """
## Agreement

The worst difference of any row. Libraries (TA-Lib 0.8.2, ta 0.11.0, with their seed rules) and
formulas: relative to their value, or to the median size of the column where that is greater, on a
random walk of 2,000 bars (formulas 600); the bound is 10^-9. Files are tables of third parties: in
half units of the last digit that counts, so 1 is as printed; where another bound is allowed, or
rows are left out, the reason is named.
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        f"|{'|'.join('---' for _ in header)}|",
        *(f"| {' | '.join(map(_cell, row))} |" for row in rows),
    ]


def _parameters(kind: type[Indicator]) -> str:
    return ", ".join(
        f"{name}={each.default:g}" if isinstance(each.default, float) else f"{name}={each.default}"
        for name, each in kind.parameters().items()
    )


def registry_part() -> str:
    """Return the part of the page that is of the registry alone."""
    rows = []
    for name, kind in indicators().items():
        made = kind()
        outputs = ", ".join(f".{each}" if each else name for each in kind.OUTPUTS)
        notes = "; ".join(each for each in (kind.SEED, kind.NOTE) if each)
        rows.append(
            (
                f"`{name}`",
                kind.TITLE,
                _parameters(kind) or "none",
                outputs,
                str(made.warm_up),
                "" if made.memory is None else str(made.memory),
                notes,
                kind.SOURCE,
            )
        )
    header = ("name", "what", "parameters", "outputs", "warm-up", "memory", "seed, notes", "source")
    return "\n".join([HEAD, *_table(header, rows), ""])


def page(found: Sequence[Agreement]) -> str:
    """Return the whole page."""
    from tests.checks.indicators_printed import PRINTED

    reasons = {(each.file, each.request): each.why for each in PRINTED}
    rows = []
    for each in sorted(found, key=lambda one: re.split(r"[(.]", one.name)[0]):
        why = reasons.get((each.oracle, each.request), "")
        bound = "" if each.bound in (1.0, 1e-9) else f"bound {each.bound:g}"
        figure = f"{each.worst:.1e}" if each.bound < 1e-6 else f"{each.worst:.2f}"
        remark = "; ".join(filter(None, (bound, why)))
        rows.append((f"`{each.name}`", each.oracle, str(each.compared), figure, remark))
    header = ("output", "against", "rows", "worst", "remark")
    return "\n".join([registry_part() + AGREEMENT, *_table(header, rows), ""])
