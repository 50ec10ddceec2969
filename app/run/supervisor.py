"""The worker processes of a run: started, watched, started again when they die, stopped.

Each worker is `faust -A app worker` (`attended.py`) with settings in its environment, a name, a
free web port and a session of its own, so that Ctrl-C in a terminal reaches only the supervisor,
which then stops them in order; one whose supervisor is killed ends by itself. Only processes
started here are ever signalled, through their handles.

A worker that dies of its start, again and again, is given up. One that is killed at work is not,
however often: that it has committed something since its start is the sign.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from app.exits import REFUSED
from app.identity import deployment_name
from app.run.attended import STOP_SECONDS
from app.run.environment import settings_environment
from app.run.errors import WorkerLostError, WorkerRefusedError
from app.run.farewell import CLIENT_ID, leave_group_for, new_client_id
from app.run.figures import has_committed
from app.settings import Settings
from app.web.bind import free_port

#: A worker that lived this long, in seconds, has not died of its start.
SETTLED_SECONDS = 10.0
#: Deaths within `SETTLED_SECONDS` of the start and before any commit, in a row, after which a
#: worker is given up.
DEATHS_IN_A_ROW = 5
#: Seconds before the first restart; doubled with each death in a row.
BACK_OFF_SECONDS = 0.1
#: Seconds between two questions to a new worker whether it has committed.
ASK_SECONDS = 0.5

REFUSAL_MARK = "candlewick worker: "


def faust_command(settings: Settings) -> list[str]:
    """Return the command of a worker: what `faust -A app worker` is, with this Python."""
    command = [sys.executable, "-m", "app.run.attended", "-A", "app", "--quiet", "worker"]
    return [*command, "--web-port", str(settings.web.port)]


async def worker_committed(settings: Settings) -> bool:
    """Whether a worker has committed a checkpoint; one without a web server never says so."""
    if not settings.web.enabled:
        return False
    return await has_committed(f"http://{settings.web.host}:{settings.web.port}")


@dataclass
class _Worker:
    """One worker, over all of its processes."""

    settings: Settings
    log: Path
    process: asyncio.subprocess.Process | None = None
    #: Of the present process.
    client_id: str = ""
    deaths_in_a_row: int = 0


@dataclass
class Supervisor:
    """The workers of one deployment.

    Attributes:
        settings: of the deployment; each worker gets its own name and port.
        count: how many.
        say: told one line about each start, death and restart.
        command: makes a worker's command line.
        committed: whether the worker of some settings has committed since its start.
        farewell: takes a worker that has died, known by its client id, out of its group.
        keep_first_port: the first worker gets the configured web port instead of a free one.
        restarts: times that a worker was started again.
    """

    settings: Settings
    count: int
    say: Callable[[str], None] = lambda line: None
    keep_first_port: bool = False
    command: Callable[[Settings], list[str]] = faust_command
    committed: Callable[[Settings], Awaitable[bool]] = worker_committed
    farewell: Callable[[Settings, str], Awaitable[bool]] = leave_group_for
    restarts: int = 0
    _workers: list[_Worker] = field(default_factory=list)

    @property
    def web_addresses(self) -> list[str]:
        """Where each worker serves its pages."""
        return [
            f"http://{worker.settings.web.host}:{worker.settings.web.port}"
            for worker in self._workers
        ]

    @property
    def pids(self) -> list[int]:
        """Process ids of the running workers."""
        running = [worker.process for worker in self._workers]
        return [one.pid for one in running if one is not None and one.returncode is None]

    async def start(self) -> None:
        """Start all workers and return at once."""
        folder = self.settings.data_dir / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(self.count):
            name = f"worker-{index}"
            keep = self.keep_first_port and index == 0 and self.settings.web.port
            port = self.settings.web.port if keep else free_port(self.settings.web.host)
            web = self.settings.web.model_copy(update={"port": port})
            own = self.settings.model_copy(update={"worker": name, "web": web})
            log = folder / f"{deployment_name(self.settings)}.{name}.log"
            worker = _Worker(own, log)
            self._workers.append(worker)
            await self._spawn(worker)

    async def watch(self) -> None:
        """Start again each worker that dies; never returns.

        Raises:
            WorkerRefusedError: a worker ended with exit code 3; its line is the message.
            WorkerLostError: a worker died too often in a row.
        """
        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(self._keep(worker))

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End all workers: SIGTERM, and SIGKILL for those that are left after `seconds`."""
        running = [worker.process for worker in self._workers if worker.process is not None]
        running = [process for process in running if process.returncode is None]
        for process in running:
            process.terminate()
        if not running:
            return
        waits = [asyncio.create_task(process.wait()) for process in running]
        _, late = await asyncio.wait(waits, timeout=seconds)
        if late:
            for process in running:
                if process.returncode is None:
                    self.say(f"worker process {process.pid} did not stop in {seconds:g} s: killed")
                    process.kill()
            await asyncio.wait(late)

    async def _keep(self, worker: _Worker) -> None:
        while True:
            assert worker.process is not None
            settling = asyncio.create_task(self._settle(worker))
            try:
                code = await worker.process.wait()
            finally:
                settling.cancel()
                await asyncio.wait([settling])
            name = worker.settings.worker
            if code == REFUSED:
                raise WorkerRefusedError(_refusal(worker.log))
            worker.deaths_in_a_row += 1
            ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            if worker.deaths_in_a_row >= DEATHS_IN_A_ROW:
                raise WorkerLostError(
                    f"{name} {ended}, {worker.deaths_in_a_row} times in a row within "
                    f"{SETTLED_SECONDS:g} s of its start, nothing committed; its last words: "
                    f"{_last_line(worker.log)} (all of them in {worker.log})"
                )
            self.say(f"{name} {ended}; it is started again")
            await asyncio.sleep(BACK_OFF_SECONDS * 2 ** (worker.deaths_in_a_row - 1))
            self.restarts += 1
            dead = worker.client_id
            await self._spawn(worker)
            # While the new process starts, which takes longer.
            await self.farewell(worker.settings, dead)

    async def _settle(self, worker: _Worker) -> None:
        """Forget a worker's deaths once it has committed something, or has lived for a while."""
        loop = asyncio.get_running_loop()
        settled = loop.time() + SETTLED_SECONDS
        while loop.time() < settled and not await self.committed(worker.settings):  # noqa: ASYNC110
            await asyncio.sleep(ASK_SECONDS)  # another process
        worker.deaths_in_a_row = 0

    async def _spawn(self, worker: _Worker) -> None:
        worker.client_id = new_client_id(worker.settings)
        with worker.log.open("ab") as log:
            worker.process = await asyncio.create_subprocess_exec(
                *self.command(worker.settings),
                env=settings_environment(worker.settings) | {CLIENT_ID: worker.client_id},
                # Held open and never written to: at its end the worker ends, see attended.py.
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.say(f"{worker.settings.worker} started: process {worker.process.pid}")


def _refusal(log: Path) -> str:
    """Return the worker's own line of its refusal."""
    lines = [line for line in _tail(log) if line.startswith(REFUSAL_MARK)]
    return (
        lines[-1].removeprefix(REFUSAL_MARK) if lines else f"a worker refused to start, see {log}"
    )


def _last_line(log: Path) -> str:
    lines = [line for line in _tail(log) if line.strip()]
    return lines[-1] if lines else "(nothing)"


def _tail(log: Path, size: int = 16_384) -> list[str]:
    with log.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - size))
        return file.read().decode(errors="replace").splitlines()
