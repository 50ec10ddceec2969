"""The `candlewick` command as a user runs it: a process of its own, its output and exit code.

Imports nothing of ours, so that `tests/oracle` may use it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[1]
EQUITY = Path("equity") / "tick"
#: Seconds for a stop after SIGTERM: workers take a checkpoint, the broker flushes.
STOP_SECONDS = 60.0
#: Before the one line that tells why a command ends.
MARKS = ("candlewick: ", "candlewick worker: ")


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    output: str
    errors: str

    @property
    def last_words(self) -> list[str]:
        """The lines that tell why it ended; the others are progress."""
        return [line for line in self.errors.splitlines() if line.startswith(MARKS)]


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command: nothing of Candlewick but these settings."""
    ours = {name: value for name, value in os.environ.items() if "CANDLEWICK" not in name.upper()}
    # See tests/conftest.py: sinks are for the tests that are about them.
    ours |= {"PYTHONPATH": str(ROOT), "CANDLEWICK_SINKS__DRIVERS": "none"}
    return ours | dict(settings or {})


def start(
    folder: Path, arguments: Sequence[str | Path], settings: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a command in a folder, which must exist."""
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", *map(str, arguments)],
        cwd=folder,
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], seconds: float) -> Finished:
    """Wait for a command's end; one that takes longer is stopped, with all it has started.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    try:
        output, errors = process.communicate(timeout=seconds)
    except BaseException:
        process.terminate()
        try:
            process.communicate(timeout=STOP_SECONDS)
        finally:
            process.kill()
        raise
    return Finished(process.returncode, output, errors)


def candlewick(
    folder: Path,
    *arguments: str | Path,
    settings: Mapping[str, str] | None = None,
    seconds: float = 120.0,
) -> Finished:
    """Run a command to its end."""
    return finish(start(folder, arguments, settings), seconds)


def run(
    folder: Path,
    export: Path,
    *arguments: str | Path,
    settings: Mapping[str, str] | None = None,
    seconds: float = 120.0,
) -> dict[str, Any]:
    """`candlewick run --until-drained --export`; its summary, with `prefix` for `--from-log`."""
    choices = ("--until-drained", "--export", export, "--json")
    ended = candlewick(folder, "run", *arguments, *choices, settings=settings, seconds=seconds)
    assert ended.code == 0, f"exit code {ended.code}: {ended.errors}"
    summary: dict[str, Any] = json.loads(ended.output)
    return summary | {"prefix": summary["group"].partition(".")[0]}


def tell(config: pytest.Config, *lines: object) -> None:
    """Print figures of a test, also where it passes."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    with nullcontext() if capture is None else capture.global_and_fixture_disabled():
        print("", *lines, sep="\n", flush=True)


def lean_file(folder: Path, day: str, symbol: str, lines: Sequence[bytes]) -> Path:
    """Write trades as Lean stores them: the file of a symbol and day below a folder."""
    path = folder / symbol.lower() / f"{day}_trade.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{day}_{symbol.lower()}_Trade_Tick.csv", b"".join(lines))
    return path


def lean_lines(path: Path) -> list[bytes]:
    """The lines of a file of Lean trades, with their ends."""
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        return archive.read(name).splitlines(keepends=True)


def without_revisions(export: Path) -> bytes:
    """The bytes of all columns of an export but the revision's."""
    table = pq.read_table(export).drop_columns(["revision"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def batch_sizes(broker_folder: Path, topic: str) -> list[int]:
    """Records of each producer batch in a topic's log, from the embedded broker's files.

    A batch of format 2 has its base offset (8 bytes), its length (4) and, 57 bytes from its
    begin, its number of records (4).
    """
    sizes = []
    for path in sorted((broker_folder / "data").glob(f"{topic}-*/*.log")):
        log, place = path.read_bytes(), 0
        while place + 61 <= len(log):
            length = int.from_bytes(log[place + 8 : place + 12])
            if not length:
                break
            sizes.append(int.from_bytes(log[place + 57 : place + 61]))
            place += 12 + length
    return sizes
