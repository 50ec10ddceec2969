"""`docs/agents.md`: its table is the topics', its example works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tables.indicators.base import sample_bars
from tables.indicators.registry import parse_indicators
from tests.checks.agents_page import PAGE, page


def test_the_table_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "run `python -m tests.checks.agents_page --write`"


def test_the_indicator_of_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    (tmp_path / "my_indicators.py").write_text(found[1])
    monkeypatch.syspath_prepend(tmp_path)
    made = parse_indicators("TYPICAL_MEAN(3)", ["my_indicators"])[0].create()
    bars = sample_bars(1, 5)
    for bar in bars:
        made.update(bar)
    last = [(bar.high + bar.low + bar.close) / 3 for bar in bars[-3:]]
    assert made.value == sum(last) / 3
