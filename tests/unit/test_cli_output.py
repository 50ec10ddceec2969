"""What commands write: progress for eyes alone, JSON with stable names, a quiet end of a pipe."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from app import exits
from app.cli import candlewick
from app.cli.common import ProgressLine
from tests.command import environment


class Terminal(io.StringIO):
    """Standard error, on a terminal or not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_one_line_on_a_terminal_and_nothing_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    errors = Terminal(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", errors)
    line = ProgressLine()
    line.show("sent", 0, 1_000)
    line.show("sent", 500, 1_000)  # within a tenth of a second: left out
    line.show("sent", 1_000, 1_000)
    line.show("none", 0, 0)
    line.clear()
    line.clear()
    text = errors.getvalue()
    if not terminal:
        assert text == ""
        return
    assert "\n" not in text
    assert "0 of 1,000" in text
    assert "500 of 1,000" not in text
    assert "100%  1,000 of 1,000" in text
    assert text.endswith("\r\x1b[K")
    assert text.count("\r") == 4


JSON_COMMANDS = [
    *("bars", "broker status", "dead list", "dead show", "dead resend", "doctor", "reset", "run"),
    *("settings", "topics"),
]


@pytest.mark.parametrize("words", JSON_COMMANDS)
def test_every_command_that_prints_data_prints_json(words: str) -> None:
    text = CliRunner().invoke(candlewick, [*words.split(), "--help"]).output
    assert "--json" in text


def test_the_status_of_a_broker_has_its_names(tmp_path: Path) -> None:
    folder = str(tmp_path / "none")
    result = CliRunner().invoke(candlewick, ["broker", "status", "--folder", folder, "--json"])
    assert result.exit_code == exits.FAILURE
    found = json.loads(result.stdout)
    assert found == {"running": False, "pid": None, "url": None, "folder": folder}


@pytest.mark.parametrize("words", ["settings", "topics --schema"])
def test_a_reader_that_has_read_enough_is_no_error(words: str, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", *words.split()],
            cwd=tmp_path,
            env=environment(),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode == exits.FAILURE
