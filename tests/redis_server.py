"""A real Redis: Debian's binary, with a port and a folder of its own, ended by the test."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from app.settings import Settings, load_settings
from app.web.bind import free_port

INSTALL = "apt-get install redis-server"
#: Seconds for a start; it takes some 20 ms.
START_SECONDS = 20.0
#: Ports that somebody else took in between.
ATTEMPTS = 5


class RedisServer:
    """Starts with `start`; ends with the `with` block. It keeps nothing on the disk."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder, self._options = folder, options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Its address, of the database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, on the same port as before, and wait until it answers."""
        binary = shutil.which("redis-server")
        assert binary is not None
        for attempt in range(ATTEMPTS):
            if not self.port or attempt:
                self.port = free_port()
            command = [
                *(binary, "--bind", "127.0.0.1", "--port", str(self.port)),
                *("--dir", str(self._folder), "--save", "", "--appendonly", "no"),
                *self._options,
            ]
            with (self._folder / "redis.log").open("ab") as log:
                self._process = subprocess.Popen(command, stdout=log, stderr=log)
            if self._answers():
                return
        raise AssertionError((self._folder / "redis.log").read_text(encoding="utf-8"))

    def _answers(self) -> bool:
        """Wait until it answers; false where it has ended: its port is in use."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                    connection.sendall(b"PING\r\n")
                    # Also that it wants a password is an answer of it.
                    if connection.recv(64)[:1] in (b"+", b"-") and self._process.poll() is None:
                        return True
            except OSError:
                time.sleep(0.01)
        self.kill()
        return False

    def pause(self) -> None:
        """Stop it as it is: it takes connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; all that it held is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def need_redis() -> Any:
    """Return the module `redis`; skip the test where it or the server is missing."""
    if shutil.which("redis-server") is None:
        pytest.skip(f"no redis-server: {INSTALL}")
    return pytest.importorskip("redis", reason="pip install 'candlewick[redis]'")


def redis_settings(url: str, **more: Any) -> Settings:
    """Return settings with a Redis, a long time-out and two partitions."""
    redis = {"url": url, **more.pop("redis", {})}
    sinks = {"timeout": "30s", **more.pop("sinks", {})}
    return load_settings(redis=redis, sinks=sinks, topics={"partitions": 2}, **more)
