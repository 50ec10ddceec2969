"""Worker processes: started again when they die, given up, stopped. Tiny programs stand in."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.run.environment import ROOT
from app.run.errors import WorkerLostError, WorkerRefusedError
from app.run.services import first_of, running_workers
from app.run.supervisor import DEATHS_IN_A_ROW, Supervisor, worker_committed
from app.settings import Settings, load_settings
from app.web.bind import free_port

WAIT = "import time; time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path / "data", deployment="d")


def program(text: str) -> Callable[[Settings], list[str]]:
    return lambda settings: [sys.executable, "-c", text]


def log_of(settings: Settings, name: str = "worker-0") -> str:
    return (settings.data_dir / "logs" / f"d.{name}.log").read_text(encoding="utf-8")


async def test_each_worker_has_its_own_name_port_and_log(settings: Settings) -> None:
    text = "import os; e = os.environ; print(e['CANDLEWICK_WORKER'], e['CANDLEWICK_WEB__PORT'])"
    supervisor = Supervisor(settings, 2, command=program(f"{text}; {WAIT}"))
    async with running_workers(supervisor):
        assert len(supervisor.pids) == 2
        assert len(set(supervisor.web_addresses)) == 2
    assert supervisor.pids == []


async def test_a_worker_runs_the_agents_of_its_settings(settings: Settings) -> None:
    text = "import os; print('agents', os.environ['CANDLEWICK_AGENTS'], flush=True)"
    quotes = settings.model_copy(update={"agents": ("quotes",)})
    async with running_workers(Supervisor(quotes, 1, command=program(f"{text}; {WAIT}"))):
        async with asyncio.timeout(20):
            while "agents" not in log_of(settings):  # noqa: ASYNC110 - another process's file
                await asyncio.sleep(0.01)
    assert "agents quotes\n" in log_of(settings)


async def test_a_worker_that_is_killed_is_started_again_and_counted(settings: Settings) -> None:
    lines: asyncio.Queue[str] = asyncio.Queue()
    supervisor = Supervisor(settings, 1, lines.put_nowait, command=program(WAIT))
    async with running_workers(supervisor) as watch:
        assert "started" in await lines.get()
        (first,) = supervisor.pids
        os.kill(first, signal.SIGKILL)
        assert "was killed by signal 9" in await lines.get()
        assert "started" in await lines.get()
        assert supervisor.pids != [first]
        assert supervisor.restarts == 1
        assert not watch.done()
        (second,) = supervisor.pids
    assert not psutil.pid_exists(second)


async def test_a_worker_that_dies_at_once_again_and_again_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.run.supervisor.BACK_OFF_SECONDS", 0.001)
    supervisor = Supervisor(settings, 1, command=program("raise SystemExit('no such thing')"))
    forever = asyncio.create_task(asyncio.Event().wait())
    with pytest.raises(WorkerLostError, match=r"exit code 1, 5 times.*no such thing"):
        async with running_workers(supervisor) as watch:
            await first_of(forever, watch)
    assert supervisor.restarts == 4
    assert forever.cancelled()


async def test_a_worker_that_commits_is_started_again_however_often_it_is_killed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.run.supervisor.BACK_OFF_SECONDS", 0.001)
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def committed(worker: Settings) -> bool:
        asked.put_nowait(worker.worker)
        return True

    supervisor = Supervisor(settings, 1, command=program(WAIT), committed=committed)
    async with running_workers(supervisor) as watch:
        for _ in range(2 * DEATHS_IN_A_ROW):
            assert await asked.get() == "worker-0"
            os.kill(supervisor.pids[0], signal.SIGKILL)
        await asked.get()
        assert not watch.done()
    assert supervisor.restarts == 2 * DEATHS_IN_A_ROW


async def test_a_worker_is_asked_until_it_has_committed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.run.supervisor.ASK_SECONDS", 0.001)
    monkeypatch.setattr("app.run.supervisor.BACK_OFF_SECONDS", 0.001)
    asked, told = 0, asyncio.Event()

    async def committed(worker: Settings) -> bool:
        nonlocal asked
        asked += 1
        if asked % 3 == 0:
            told.set()
        return asked % 3 == 0

    supervisor = Supervisor(settings, 1, command=program(WAIT), committed=committed)
    async with running_workers(supervisor) as watch:
        for _ in range(DEATHS_IN_A_ROW):
            await told.wait()
            told.clear()
            os.kill(supervisor.pids[0], signal.SIGKILL)
        await told.wait()
        assert not watch.done()
    assert asked == 3 * (DEATHS_IN_A_ROW + 1)


async def test_a_silent_worker_has_not_committed(settings: Settings) -> None:
    web = settings.web.model_copy(update={"port": free_port()})
    assert not await worker_committed(settings.model_copy(update={"web": web}))
    disabled = web.model_copy(update={"enabled": False})
    assert not await worker_committed(settings.model_copy(update={"web": disabled}))


ORDERLY = "import signal; term = {signal.SIGTERM}; signal.pthread_sigmask(signal.SIG_BLOCK, term); "
ATTENDED = "from app.run.attended import end_with_supervisor; end_with_supervisor({seconds}); "
SUPERVISING = """
import asyncio, sys
from pathlib import Path
from app.run.services import running_workers
from app.run.supervisor import Supervisor
from app.settings import load_settings

async def main():
    settings = load_settings(data_dir=Path(sys.argv[1]), deployment="d")
    supervisor = Supervisor(settings, 2, command=lambda _: [sys.executable, "-c", sys.argv[2]])
    async with running_workers(supervisor) as watch:
        print(*supervisor.pids, flush=True)
        await watch

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (
            ORDERLY
            + ATTENDED.format(seconds=60)
            + "signal.sigwait(term); print('in order', flush=True)",
            True,
        ),
        (DEAF + "; " + ATTENDED.format(seconds=0.1) + WAIT, False),
    ],
)
async def test_workers_end_when_their_supervisor_is_killed(
    settings: Settings, text: str, end: bool
) -> None:
    supervising = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SUPERVISING, settings.data_dir, text),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert supervising.stdout is not None
    workers = [psutil.Process(int(pid)) for pid in (await supervising.stdout.readline()).split()]
    try:
        assert len(workers) == 2
        supervising.kill()
        await supervising.wait()
        _, alive = await asyncio.to_thread(psutil.wait_procs, workers, 30)
        assert alive == []
    finally:
        for worker in workers:
            if worker.is_running():
                worker.kill()
    for name in ("worker-0", "worker-1"):
        assert "the supervisor of this worker has ended" in log_of(settings, name)
        assert ("in order" in log_of(settings, name)) == end


async def test_a_refusal_is_told_in_the_workers_words_and_not_tried_again(
    settings: Settings,
) -> None:
    text = (
        "import sys; print('noise\\ncandlewick worker: settings hash differs', file=sys.stderr); "
        "sys.exit(3)"
    )
    supervisor = Supervisor(settings, 1, command=program(text))
    forever = asyncio.create_task(asyncio.Event().wait())
    with pytest.raises(WorkerRefusedError, match=r"^settings hash differs$"):
        async with running_workers(supervisor) as watch:
            await first_of(forever, watch)
    assert supervisor.restarts == 0
    assert "noise" in log_of(settings)


async def test_a_worker_that_does_not_stop_is_killed(settings: Settings) -> None:
    lines: list[str] = []
    supervisor = Supervisor(settings, 1, lines.append, command=program(f"{DEAF}; {WAIT}"))
    await supervisor.start()
    (process,) = supervisor.pids
    async with asyncio.timeout(20):
        while "up" not in log_of(settings):  # noqa: ASYNC110 - another process's file
            await asyncio.sleep(0.01)
    await supervisor.stop(0.1)
    assert not psutil.pid_exists(process)
    assert "killed" in lines[-1]


async def test_workers_are_stopped_whatever_ends_the_run(settings: Settings) -> None:
    supervisor = Supervisor(settings, 2, command=program(WAIT))
    pids: list[int] = []

    async def run() -> None:
        async with running_workers(supervisor):
            pids.extend(supervisor.pids)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run()
    assert len(pids) == 2
    assert not any(psutil.pid_exists(process) for process in pids)


async def test_a_cancelled_run_stops_its_workers(settings: Settings) -> None:
    supervisor = Supervisor(settings, 1, command=program(WAIT))
    started = asyncio.Event()

    async def run() -> None:
        async with running_workers(supervisor) as watch:
            started.set()
            await watch

    task = asyncio.create_task(run())
    await started.wait()
    (process,) = supervisor.pids
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not psutil.pid_exists(process)
