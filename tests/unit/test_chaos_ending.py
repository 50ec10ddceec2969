"""How the commands of chaos end: their exit code, their report, and on a signal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.ending import INTERRUPTED, Findings, run_to_its_end, tell


class Found(Findings):
    def __init__(self, *faults: str) -> None:
        self._faults = list(faults)

    @property
    def faults_found(self) -> list[str]:
        return self._faults

    def text(self) -> str:
        return "\n".join(["a run", *self.verdict_lines()])

    def document(self) -> dict[str, Any]:
        return {"findings": self._faults}


@pytest.mark.parametrize(
    ("faults", "code", "last"), [((), 0, "PASSES"), (("a row lacks",), 1, "FAILS")]
)
def test_a_report_is_written_and_told(
    faults: tuple[str, ...],
    code: int,
    last: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def run() -> Found:
        return Found(*faults)

    path = tmp_path / "data" / "report.json"
    assert tell(run_to_its_end(run()), path) == code
    said = capsys.readouterr().out.splitlines()
    assert said == ["a run", *(f"FINDING: {each}" for each in faults), last, f"report: {path}"]
    assert json.loads(path.read_text()) == {"findings": list(faults)}


def test_a_signal_ends_what_runs_and_there_is_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = False

    async def run() -> Found:
        nonlocal ended
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            ended = True
        return Found()

    assert tell(run_to_its_end(run()), tmp_path / "report.json") == INTERRUPTED
    assert ended
    assert "everything was ended" in capsys.readouterr().err
    assert not (tmp_path / "report.json").exists()
