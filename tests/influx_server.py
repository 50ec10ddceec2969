"""A real InfluxDB on this machine: a process, a free port and a folder of its own."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.broker.jars import default_cache_folder
from app.web.bind import free_port

VERSION = "2.7.12"
BUILD = "make influxd"
#: What `docs/influxdb.md` advises for much to write.
ADVISED_OPTIONS = ("--pprof-disabled", "--storage-cache-snapshot-memory-size=268435456")
ADVISED_ENVIRONMENT = {"GOGC": "400"}
READY_SECONDS = 30.0
STOP_SECONDS = 30.0


def find_influxd() -> Path | None:
    """Return the built server, else one on the PATH, else None."""
    built = default_cache_folder().parent / f"influxd-{VERSION}" / "influxd"
    if built.is_file():
        return built
    found = shutil.which("influxd")
    return None if found is None else Path(found)


class InfluxServer:
    """One InfluxDB at a time, always at the same address.

    Args:
        folder: of its data, which outlives the process.
        options, environment: of `influxd run`, beside those that every test has.
    """

    def __init__(
        self,
        program: Path,
        folder: Path,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._program, self._folder = program, folder
        self._options, self._environment = options, environment or {}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> InfluxServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill9()

    @property
    def told(self) -> str:
        """Say with which options of its own it runs."""
        given = [f"{name}={value}" for name, value in self._environment.items()]
        return " ".join([*given, *self._options]) or "its standard options"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._process is None
        self._folder.mkdir(parents=True, exist_ok=True)
        options = {
            "http-bind-address": f"127.0.0.1:{self.port}",
            "bolt-path": self._folder / "bolt",
            "sqlite-path": self._folder / "sqlite",
            "engine-path": self._folder / "engine",
        }
        with (self._folder / "influxd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(self._program), "run", "--reporting-disabled", "--ui-disabled"),
                    *(f"--{name}={value}" for name, value in options.items()),
                    *self._options,
                ],
                # It looks for a configuration where it is started, and for one of its user.
                cwd=self._folder,
                env={
                    **{k: v for k, v in os.environ.items() if not k.startswith("INFLUXD_")},
                    "HOME": str(self._folder),
                    **self._environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self._ready():
            assert self._process.poll() is None, f"influxd has ended: {self.log[-2_000:]}"
            assert time.monotonic() < deadline, f"influxd is not ready: {self.log[-2_000:]}"
            time.sleep(0.05)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGINT)

    def kill9(self) -> None:
        """End it without a chance to tidy up; also where it has ended."""
        if self._process is not None:
            self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Have it hang: it takes connections, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    @property
    def log(self) -> str:
        """What it has said."""
        return (self._folder / "influxd.log").read_text(encoding="utf-8", errors="replace")

    def query(self, organization: str, token: str, flux: str) -> list[dict[str, str]]:
        """Return the rows of a query, as text.

        Raises:
            urllib.error.HTTPError: it refuses.
        """
        body = json.dumps({"query": flux, "type": "flux", "dialect": {"annotations": []}})
        request = urllib.request.Request(
            f"{self.url}/api/v2/query?org={organization}",
            body.encode(),
            {
                "Authorization": f"Token {token}",
                "Content-Type": "application/json",
                "Accept": "application/csv",
            },
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
        rows: list[dict[str, str]] = []
        header: list[str] | None = None
        for cells in csv.reader(text.splitlines()):
            if not cells:
                # A table with other columns follows.
                header = None
            elif header is None:
                header = cells
            else:
                rows.append(dict(zip(header, cells, strict=True)))
        return rows

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        self._process.wait(STOP_SECONDS)
        self._process = None
