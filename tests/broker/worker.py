"""Worker processes under test, and what they leave on the broker.

A `WorkerProcess` is `python -m faust -A app worker -l info`, as an operator would run it: it can be
killed, stopped for a while and asked over its web port. Everything here watches another process, so
waiting is asking again until a deadline; a failure carries the end of the worker's log.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from app.broker import EmbeddedBroker
from app.run.environment import ROOT, settings_environment
from app.settings import Settings
from app.web.bind import free_port

POLL_SECONDS = 0.05
READY_SECONDS = 60.0
#: Short, so that a killed worker is noticed soon.
SESSION_SECONDS = 3.0
_LOG_TAIL = 6_000


class NotInTimeError(AssertionError):
    """What was waited for has not come."""


async def until(
    met: Callable[[], Awaitable[bool]], what: Callable[[], str], seconds: float = READY_SECONDS
) -> None:
    """Ask until it is so.

    Raises:
        NotInTimeError: it was not so within the seconds; `what` says what is missing.
    """
    deadline = time.monotonic() + seconds
    while not await met():
        if time.monotonic() > deadline:
            raise NotInTimeError(f"not within {seconds:g} s: {what()}")
        await asyncio.sleep(POLL_SECONDS)


def worker_settings(
    kafka: EmbeddedBroker, unique: str, folder: Path, **groups: Mapping[str, Any]
) -> Settings:
    """Settings of a deployment of one's own; `groups` are changes such as `bars={...}`."""
    chosen: dict[str, Any] = {
        "deployment": "d",
        "topic_prefix": f"{unique}.",
        "data_dir": folder / "data",
        "broker": {
            "url": kafka.url,
            "session_timeout": f"{SESSION_SECONDS:g}s",
            "heartbeat_interval": "300ms",
            "transaction_timeout": "3s",
        },
        "agents": ("bars",),
        "topics": {"partitions": 2},
        "web": {"port": 0},
    }
    for name, changes in groups.items():
        chosen[name] = {**chosen.get(name, {}), **changes}
    return Settings(**chosen)


class WorkerProcess:
    """One worker process at a time; its log is kept over restarts.

    Args:
        settings: of the deployment; name and web port are set here.
        name: of the worker, and of its folder.
        application: what `-A` names.
        folders: where Python looks for it before the repository.
    """

    def __init__(
        self,
        settings: Settings,
        name: str = "worker",
        *,
        application: str = "app",
        folders: Sequence[Path] = (),
    ) -> None:
        port = free_port()
        web = settings.web.model_copy(update={"port": port})
        self.settings = settings.model_copy(update={"worker": name, "web": web})
        self.url = f"http://127.0.0.1:{port}"
        self._application, self._folders = application, folders
        self._path = settings.data_dir / f"{settings.deployment}.{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._begin = 0
        self.starts = 0

    async def __aenter__(self) -> WorkerProcess:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.end()

    @property
    def pid(self) -> int:
        """Of the process started last."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.returncode is None

    @property
    def log(self) -> str:
        """What the process started last has said."""
        with self._path.open("rb") as file:
            file.seek(self._begin)
            return file.read().decode(errors="replace")

    @property
    def tail(self) -> str:
        """The end of it, for failures."""
        return f"log of {self.settings.worker} ({self._path}):\n{self.log[-_LOG_TAIL:]}"

    async def start(self) -> None:
        """Start the process; nothing is waited for."""
        assert not self.running
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as log:
            self._begin = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "faust", "-A", self._application, "worker", "-l", "info"),
                cwd=ROOT,
                env=self._environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1

    def _environment(self) -> dict[str, str]:
        ours = settings_environment(self.settings)
        path = [*map(str, self._folders), ours["PYTHONPATH"]]
        return ours | {"PYTHONPATH": os.pathsep.join(path)}

    async def get(self, path: str, seconds: float = 5.0) -> tuple[int, str]:
        """Status and text of a page; status 0 where nothing answers."""
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as client,
                client.get(f"{self.url}{path}") as answer,
            ):
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, ""

    async def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until `/readyz` answers 200.

        Raises:
            NotInTimeError: it did not, or the process has ended.
        """

        async def ready() -> bool:
            if not self.running:
                raise NotInTimeError(f"the worker has ended: {self.tail}")
            return (await self.get("/readyz"))[0] == 200

        await until(ready, lambda: f"/readyz 200; {self.tail}", seconds)

    async def wait_for_log(self, text: str, seconds: float = READY_SECONDS) -> None:
        """Wait until the process has said a text."""

        async def said() -> bool:
            return text in self.log

        await until(said, lambda: f"{text!r} in {self.tail}", seconds)

    async def partitions(self) -> set[int]:
        """The partitions that the worker says it has ready."""
        status, text = await self.get("/readyz")
        if not status:
            return set()
        listed = json.loads(text)["partitions"]
        return {entry["partition"] for entry in listed if entry["phase"] == "ready"}

    def pause(self) -> None:
        """Stop the process where it is, SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on, SIGCONT."""
        self._signal(signal.SIGCONT)

    async def kill9(self) -> None:
        """End it without a chance to tidy up."""
        assert self._process is not None
        assert self.running, f"it has ended already: {self.tail}"
        self._process.kill()
        await self._process.wait()

    async def stop(self, seconds: float = 30.0) -> int:
        """Ask it to end with SIGTERM; the exit code."""
        self._signal(signal.SIGTERM)
        return await self.wait(seconds)

    async def wait(self, seconds: float = READY_SECONDS) -> int:
        """Wait for its end; the exit code.

        Raises:
            NotInTimeError: it goes on.
        """
        assert self._process is not None
        try:
            return await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            raise NotInTimeError(f"not ended within {seconds:g} s: {self.tail}") from None

    async def end(self) -> None:
        """Make sure that it has ended; for the end of a test."""
        if self._process is not None and self.running:
            self._process.kill()
            await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        assert self.running, f"it has ended already: {self.tail}"
        self._process.send_signal(number)
