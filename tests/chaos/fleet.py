"""The worker processes of a chaos run, each with a supervisor that starts it again."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.settings import Settings
from tests.broker.worker import WorkerProcess

SKEW = Path(__file__).with_name("skew")
#: Seconds until a supervisor starts what has ended.
BACKOFF_SECONDS = 0.5
_REASON_LINES = 12


@dataclass(frozen=True)
class Exit:
    """One end of a worker process; a negative code is a signal's."""

    worker: str
    code: int
    expected: bool
    moment: float
    during: str
    reason: str


class ChaosWorker(WorkerProcess):
    """A worker with a data folder and a wall clock of its own."""

    def __init__(self, settings: Settings, name: str, folder: Path, url: str) -> None:
        broker = settings.broker.model_copy(update={"url": url})
        changed = {"data_dir": folder / name, "broker": broker}
        super().__init__(settings.model_copy(update=changed), name, folders=(SKEW,))
        self._path = folder / f"{name}.log"
        self._skew = folder / f"{name}.skew"
        self.skew(0.0)

    def skew(self, seconds: float) -> None:
        """Set how far its wall clock is ahead, from now on."""
        # In place: cutting a file that is mapped into a process would kill it.
        with self._skew.open("r+b" if self._skew.exists() else "wb") as file:
            file.write(struct.pack("<d", seconds))

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"CHAOS_SKEW_FILE": str(self._skew)}


class Member:
    """A worker and its supervisor."""

    def __init__(self, worker: ChaosWorker, fleet: Fleet) -> None:
        self.worker = worker
        self.name = worker.settings.worker
        self.up = asyncio.Event()
        self.down = asyncio.Event()
        self.down.set()
        self._wanted = asyncio.Event()
        self._starting = asyncio.Lock()
        self._fleet = fleet
        self._expected: set[int] = set()
        self._supervisor = asyncio.create_task(self._supervise())

    async def _supervise(self) -> None:
        while True:
            await self._wanted.wait()
            async with self._starting:
                if not self._wanted.is_set():
                    continue
                self._expected.clear()
                await self.worker.start()
                self.down.clear()
                self.up.set()
            code = await self.worker.wait(1e9)
            self.up.clear()
            self.down.set()
            expected = code in self._expected
            lines = self.worker.log.splitlines()[-_REASON_LINES:]
            self._fleet.exits.append(
                Exit(
                    self.name,
                    code,
                    expected,
                    time.time(),
                    self._fleet.during,
                    "" if expected else "\n".join(lines),
                )
            )
            if self._wanted.is_set():
                await asyncio.sleep(BACKOFF_SECONDS)

    def release(self) -> None:
        """Run it, and run it again whenever it ends."""
        self._wanted.set()

    async def signal(self, number: signal.Signals, *, expects: int | None = None) -> None:
        """Send a signal as soon as the process is there; `expects` is the exit code it causes."""
        while True:
            await self.up.wait()
            if self.worker.running:
                break
            await self.down.wait()
        if expects is not None:
            self._expected.add(expects)
        os.kill(self.worker.pid, number)

    async def kill(self) -> None:
        """End it with SIGKILL."""
        await self.signal(signal.SIGKILL, expects=-signal.SIGKILL)
        await self.down.wait()

    async def hold(self, *, gently: bool = False, seconds: float = 30.0) -> None:
        """End it and do not run it again until `release`; `gently` is SIGTERM.

        Raises:
            TimeoutError: it did not end; it is killed then.
        """
        async with self._starting:
            self._wanted.clear()
        if self.worker.running:
            if not gently:
                await self.kill()
                return
            await self.signal(signal.SIGTERM, expects=0)
            try:
                await asyncio.wait_for(self.down.wait(), seconds)
            except TimeoutError:
                await self.kill()
                raise TimeoutError(
                    f"{self.name} has not ended {seconds:g} s after SIGTERM"
                ) from None

    async def end(self) -> None:
        """Whatever it does, it is over."""
        self._supervisor.cancel()
        await asyncio.gather(self._supervisor, return_exceptions=True)
        await self.worker.end()


class Fleet:
    """All members; the first one's connections go through the proxy.

    Args:
        folder: of data, logs and clocks of all.
        url, proxied: the broker, and the broker behind the proxy.
    """

    def __init__(self, settings: Settings, folder: Path, url: str, proxied: str) -> None:
        self.members: list[Member] = []
        self.exits: list[Exit] = []
        #: The fault of this moment.
        self.during = ""
        self._settings, self._folder = settings, folder
        self._url, self._proxied = url, proxied

    def add(self) -> Member:
        """One more, not running yet."""
        number = len(self.members) + 1
        url = self._proxied if number == 1 else self._url
        worker = ChaosWorker(self._settings, f"worker-{number}", self._folder, url)
        self.members.append(Member(worker, self))
        return self.members[-1]

    async def remove(self, member: Member) -> None:
        """Forget one that is held."""
        self.members.remove(member)
        await member.end()

    async def wait_ready(self, seconds: float) -> None:
        """Wait until each has all its partitions.

        Raises:
            NotInTimeError: one has not.
        """
        for member in list(self.members):
            while not member.worker.running:
                await asyncio.wait_for(member.up.wait(), seconds)
            await _ready(member, seconds)

    async def end(self) -> None:
        """End all."""
        await asyncio.gather(*[member.end() for member in self.members])


async def _ready(member: Member, seconds: float) -> None:
    """As `WorkerProcess.wait_ready`, over ends that the supervisor mends."""
    deadline = time.monotonic() + seconds
    while (await member.worker.get("/readyz"))[0] != 200:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{member.name} is not ready within {seconds:g} s")
        # Its port refuses until it listens: there is no event to wait for.
        await asyncio.sleep(0.1)


# --- a folder of a worker that is down --------------------------------------------------------


def delete_folder(folder: Path) -> int:
    """Delete what is in a worker's data folder, which may be a mount point; files deleted."""
    if not folder.is_dir():
        return 0
    count = sum(each.is_file() for each in folder.rglob("*"))
    for each in folder.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink()
    return count


def damage_folder(folder: Path, dice: random.Random) -> list[str]:
    """Remove, cut or change some files of each RocksDB store below a folder; what was done."""
    done = []
    for store in _stores(folder):
        files = sorted(
            each
            for each in store.iterdir()
            if each.name.startswith(("MANIFEST", "CURRENT")) or each.suffix in (".sst", ".log")
        )
        if not files or dice.random() < 0.2:
            continue
        for file in dice.sample(files, dice.randint(1, min(2, len(files)))):
            how = dice.choice(("removed", "cut", "changed"))
            size = file.stat().st_size
            if how == "removed" or not size:
                file.unlink()
            elif how == "cut":
                os.truncate(file, dice.randrange(size))
            else:
                with file.open("r+b") as opened:
                    opened.seek(dice.randrange(size))
                    opened.write(dice.randbytes(64))
            done.append(f"{store.parent.name}/{store.name}/{file.name} ({size} bytes) {how}")
    return done


def _stores(folder: Path) -> Iterator[Path]:
    for current in sorted(folder.rglob("CURRENT")):
        yield current.parent


# --- a disk of its own ------------------------------------------------------------------------


class SmallDisk:
    """A tmpfs at a folder, that can be filled; mounted where the machine allows it.

    Attributes:
        mounted: whether it is; where it is not, `why` tells.
    """

    def __init__(self, folder: Path, megabytes: int = 256) -> None:
        self.folder = folder
        self.mounted = False
        self.why = ""
        self._megabytes = megabytes

    def mount(self) -> None:
        """Mount it if that is possible."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._megabytes}m", "tmpfs"]
        try:
            subprocess.run([*command, str(self.folder)], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            self.why = f"{error} {getattr(error, 'stderr', '') or ''}".strip()
        else:
            self.mounted = True

    def unmount(self) -> None:
        """Unmount it, also while a dying process still has a file open."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True, capture_output=True)
            self.mounted = False

    def fill(self) -> int:
        """Take all the space there is; bytes."""
        free = shutil.disk_usage(self.folder).free
        filler = (self.folder / "filler").open("wb")
        try:
            with filler:
                while free > 0:
                    free -= filler.write(b"\0" * min(free, 1 << 20))
        except OSError:
            # Somebody else took the rest: it is full.
            pass
        return (self.folder / "filler").stat().st_size

    def free(self) -> None:
        """Give it back."""
        (self.folder / "filler").unlink(missing_ok=True)
