"""A PostgreSQL of a test's own: Debian's binaries, run by hand in a folder of its own.

It listens on a socket in that folder and nowhere else. Its superuser is `postgres`; the sink's user
`candlewick` owns the database `market` and has a password, as servers ask for one.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.settings import Settings, load_settings

INSTALL = "apt-get install postgresql"
PASSWORD = "not-to-be-told"
_SUPERUSER = "postgres"
#: As little as can be, and no file is forced to the disk: a test kills processes, not machines.
_OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "20",
    "shared_buffers": "64MB",
    "log_min_messages": "fatal",
}


def find_binaries() -> Path | None:
    """Return the folder of `initdb` and `postgres`; None where they are not installed."""
    versions = Path("/usr/lib/postgresql")
    found = [each / "bin" for each in versions.glob("*") if (each / "bin" / "initdb").is_file()]
    if found:
        return max(found, key=lambda each: int(each.parent.name.partition(".")[0]))
    initdb = shutil.which("initdb")
    return None if initdb is None else Path(initdb).resolve().parent


class PostgresServer:
    """A server; `start` after `stop` or `kill` goes on with the same data."""

    def __init__(self, binaries: Path, folder: Path, options: Mapping[str, str]) -> None:
        self.binaries, self.folder = binaries, folder
        self.options = {**_OPTIONS, **options}
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, user: str = "candlewick", database: str = "market", more: str = "") -> str:
        """Return an address with the user's password in it."""
        return f"postgresql://{user}:{PASSWORD}@/{database}?host={self.folder}{more}"

    def settings(self, **postgres: Any) -> Settings:
        """Return settings of a deployment whose sink is this server."""
        group = {"url": self.url(), **postgres}
        return load_settings(deployment="mine", sinks={"timeout": "5s"}, postgres=group)

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, **_as_other()
        )
        assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"

    def create(self) -> None:
        """Make the data, the user and the database, and start."""
        password = self.folder / "password"
        password.write_text(PASSWORD)
        # initdb refuses root.
        _give(self.folder)
        _give(password)
        self._run(
            [
                str(self.binaries / "initdb"),
                *("--pgdata", str(self.folder / "data"), "--username", _SUPERUSER),
                *("--auth", "scram-sha-256", "--pwfile", str(password)),
                *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
            ]
        )
        self.start()
        self.sql(
            f"CREATE ROLE candlewick LOGIN PASSWORD '{PASSWORD}'",
            "CREATE DATABASE market OWNER candlewick",
            database="postgres",
        )

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        options = {**self.options, "unix_socket_directories": str(self.folder)}
        given = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.binaries / "postgres"), "-D", str(self.folder / "data"), *given],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                **_as_other(),
            )
        ready = [str(self.binaries / "pg_isready"), "--quiet", "--host", str(self.folder)]
        deadline = time.monotonic() + 30
        while subprocess.run(ready, check=False).returncode != 0:
            text = (self.folder / "log").read_text(errors="replace")[-2_000:]
            assert self._process.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.05)

    @property
    def process(self) -> psutil.Process:
        """The postmaster."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def stop(self, kind: signal.Signals = signal.SIGINT) -> None:
        """Shut down: SIGINT ends connections and is orderly, SIGQUIT is as a crash."""
        if self._process is not None:
            self._process.send_signal(kind)
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """Kill the postmaster with SIGKILL, and wait for its children, who notice by themselves."""
        assert self._process is not None
        children = self.process.children(recursive=True)
        self._process.kill()
        self._process.wait(30)
        self._process = None
        _, alive = psutil.wait_procs(children, timeout=30)
        assert not alive

    def freeze(self) -> None:
        """Let nothing of it answer any more, without a word."""
        for each in (self.process, *self.process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                each.suspend()

    def thaw(self) -> None:
        """Let it go on."""
        for each in (*self.process.children(recursive=True), self.process):
            with suppress(psutil.NoSuchProcess):
                each.resume()

    def sql(self, *statements: str, database: str = "market", user: str = _SUPERUSER) -> list[Any]:
        """Run statements, each a transaction; return the rows of the last, if it has any."""
        import psycopg

        rows: list[Any] = []
        with psycopg.connect(self.url(user, database), autocommit=True) as connection:
            for each in statements:
                cursor = connection.execute(each.encode())
                rows = cursor.fetchall() if cursor.description is not None else []
        return rows


def _other() -> pwd.struct_passwd | None:
    """Return who runs the server where we are root; None where we may ourselves."""
    if os.geteuid() != 0:
        return None
    for name in (_SUPERUSER, "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _as_other() -> dict[str, Any]:
    other = _other()
    if other is None:
        return {}
    return {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}


def _give(path: Path) -> None:
    other = _other()
    if other is not None:
        os.chown(path, other.pw_uid, other.pw_gid)


@contextmanager
def postgres_server(**options: str) -> Iterator[PostgresServer]:
    """Run a server until this is left; skips where PostgreSQL or psycopg is not installed.

    Args:
        options: of its configuration.
    """
    pytest.importorskip("psycopg", reason="pip install 'candlewick[postgres]'")
    binaries = find_binaries()
    if binaries is None:
        pytest.skip(f"no PostgreSQL: {INSTALL}")
    # Not pytest's folders, which another user may not enter; and a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="candlewick-postgres-"))
    server = PostgresServer(binaries, folder, options)
    try:
        server.create()
        yield server
    finally:
        with suppress(psutil.NoSuchProcess, AssertionError):
            server.thaw()
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)
