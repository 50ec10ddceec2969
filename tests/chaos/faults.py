"""The kinds of faults. Each does its harm, ends it, and tells when; the run waits for recovery."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.broker import EmbeddedBroker
from tests.chaos.fleet import Fleet, Member, SmallDisk, damage_folder, delete_folder
from tests.chaos.load import Load
from tests.chaos.proxy import Proxy
from tests.chaos.watch import BarWatch

MOST_WORKERS = 4
#: Seconds that a takeover by another worker may last.
TAKEOVER_SECONDS = 45.0
READY_SECONDS = 45.0
#: For a broker to start, on a machine that is busy with other things.
BROKER_SECONDS = 180.0


@dataclass
class Scene:
    """What the faults act on."""

    session_seconds: float
    workers: int
    broker: EmbeddedBroker
    fleet: Fleet
    proxy: Proxy
    watch: BarWatch
    load: Load
    disk: SmallDisk
    dice: random.Random

    def victim(self) -> Member:
        """Any worker."""
        return self.dice.choice(self.fleet.members[: self.workers])


@dataclass(frozen=True)
class Effect:
    """What was done: since when, and when the cause was gone (s, epoch)."""

    detail: str
    began: float
    ended: float


Fault = Callable[[Scene], Awaitable[Effect]]
FAULTS: dict[str, Fault] = {}


def _fault(function: Fault) -> Fault:
    FAULTS[function.__name__] = function
    return function


@_fault
async def kill(scene: Scene) -> Effect:
    """`kill -9` of a worker."""
    member, began = scene.victim(), time.time()
    await member.kill()
    return Effect(member.name, began, time.time())


@_fault
async def kill_all(scene: Scene) -> Effect:
    """`kill -9` of all workers at once."""
    began = time.time()
    await asyncio.gather(*[member.kill() for member in scene.fleet.members])
    return Effect("all", began, time.time())


@_fault
async def kill_while_restoring(scene: Scene) -> Effect:
    """`kill -9` of a worker, and again when it has joined the group and restores."""
    member, began = scene.victim(), time.time()
    await member.kill()
    await member.up.wait()
    try:
        await member.worker.wait_for_log("restored to position", READY_SECONDS)
    finally:
        await member.kill()
    return Effect(member.name, began, time.time())


@_fault
async def terminate(scene: Scene) -> Effect:
    """SIGTERM, as at a deployment; it must end by itself with code 0."""
    member, began = scene.victim(), time.time()
    await member.hold(gently=True)
    member.release()
    return Effect(member.name, began, time.time())


@_fault
async def pause(scene: Scene) -> Effect:
    """SIGSTOP until others have taken over (or past the session), then SIGCONT: a zombie."""
    member, began = scene.victim(), time.time()
    await member.signal(signal.SIGSTOP)
    try:
        beyond = scene.session_seconds + scene.dice.uniform(0.5, 2.0)
        if scene.workers > 1:
            await scene.watch.wait_firsts(began + beyond, TAKEOVER_SECONDS)
        else:
            await asyncio.sleep(beyond)
    finally:
        await member.signal(signal.SIGCONT)
    return Effect(f"{member.name} for {time.time() - began:.1f} s", began, time.time())


@_fault
async def broker_restart(scene: Scene) -> Effect:
    """The broker stops in order, is away for a while, and comes back."""
    began = time.time()
    await asyncio.to_thread(scene.broker.stop)
    return await _broker_back(scene, began)


@_fault
async def broker_kill(scene: Scene) -> Effect:
    """`kill -9` of the broker; it comes back on the same data."""
    began, found = time.time(), scene.broker.status()
    assert found.pid is not None
    process = psutil.Process(found.pid)
    process.kill()
    await asyncio.to_thread(process.wait, 10)
    return await _broker_back(scene, began)


async def _broker_back(scene: Scene, began: float) -> Effect:
    away = scene.dice.choice((0.0, 1.0, 2 * scene.session_seconds))
    await asyncio.sleep(away)
    await asyncio.to_thread(scene.broker.start)
    await asyncio.to_thread(scene.broker.wait_ready, BROKER_SECONDS)
    return Effect(f"away for {time.time() - began:.1f} s", began, time.time())


@_fault
async def churn(scene: Scene) -> Effect:
    """Workers join and leave, every few seconds."""
    began, fleet, done = time.time(), scene.fleet, []
    for _ in range(2):
        if len(fleet.members) < MOST_WORKERS:
            extra = fleet.add()
            extra.release()
            await extra.up.wait()
            await extra.worker.wait_for_log("ready with", READY_SECONDS)
            await extra.hold(gently=True)
            await fleet.remove(extra)
            done.append(f"{extra.name} joined and left")
        else:
            member = scene.victim()
            await member.hold(gently=True)
            member.release()
            await member.up.wait()
            await member.worker.wait_for_log("ready with", READY_SECONDS)
            done.append(f"{member.name} left and joined")
    return Effect(", ".join(done), began, time.time())


@_fault
async def folder_deleted(scene: Scene) -> Effect:
    """The data folder of a worker, or of all, is deleted while it is down."""
    return await _while_down(scene, lambda member: f"{delete_folder(_folder(member))} files")


@_fault
async def folder_damaged(scene: Scene) -> Effect:
    """Files of the stores are removed, cut or changed while the worker is down."""
    return await _while_down(
        scene, lambda member: ", ".join(damage_folder(_folder(member), scene.dice)) or "nothing"
    )


async def _while_down(scene: Scene, harm: Callable[[Member], str]) -> Effect:
    members = [scene.victim()] if scene.dice.random() < 0.5 else list(scene.fleet.members)
    began = time.time()
    await asyncio.gather(*[member.hold() for member in members])
    done = [f"{member.name}: {harm(member)}" for member in members]
    for member in members:
        member.release()
    return Effect("; ".join(done), began, time.time())


def _folder(member: Member) -> Path:
    return member.worker.settings.data_dir


@_fault
async def disk_full(scene: Scene) -> Effect:
    """The disk of the worker with the small one is full until it has noticed."""
    member, began = _of_the_disk(scene), time.time()
    size = await asyncio.to_thread(scene.disk.fill)
    try:
        said = asyncio.ensure_future(member.worker.wait_for_log("o space left", 15.0))
        ended = asyncio.ensure_future(member.down.wait())
        await asyncio.wait({said, ended}, return_when=asyncio.FIRST_COMPLETED)
        noticed = "ended" if ended.done() else "noticed" if said.exception() is None else "nothing"
        for task in (said, ended):
            task.cancel()
        await asyncio.gather(said, ended, return_exceptions=True)
        # What it does while there is no space is part of the fault.
        await asyncio.sleep(scene.dice.uniform(1.0, 4.0))
    finally:
        scene.disk.free()
    return Effect(f"{member.name}, {size >> 20} MB filled, {noticed}", began, time.time())


def _of_the_disk(scene: Scene) -> Member:
    return next(each for each in scene.fleet.members if _folder(each) == scene.disk.folder)


@_fault
async def network_slow(scene: Scene) -> Effect:
    """The first worker's network is slow, then stands still for longer than the session."""
    began, delay = time.time(), scene.dice.choice((0.02, 0.1, 0.3))
    scene.proxy.delay = delay
    try:
        await asyncio.sleep(5.0)
        scene.proxy.stand_still(True)
        await asyncio.sleep(scene.session_seconds + 1.0)
    finally:
        scene.proxy.stand_still(False)
        scene.proxy.delay = 0.0
    return Effect(f"worker-1, {delay:g} s a piece, then still", began, time.time())


@_fault
async def network_cut(scene: Scene) -> Effect:
    """The first worker's connections are cut in the middle of requests and answers."""
    began, before = time.time(), scene.proxy.cuts
    scene.proxy.cut_every(scene.dice.choice((2_000, 20_000, 100_000)))
    try:
        await asyncio.wait_for(scene.proxy.wait_cuts(before + 6), 10.0)
    except TimeoutError:
        # Little traffic: what was cut is told.
        pass
    finally:
        scene.proxy.cut_every(0)
    return Effect(f"worker-1, {scene.proxy.cuts - before} times", began, time.time())


@_fault
async def bad_records(scene: Scene) -> Effect:
    """A burst of corrupt and oversized records."""
    count, began = scene.dice.choice((50, 300)), time.time()
    await asyncio.to_thread(scene.load.burst, count)
    return Effect(f"{count} a partition", began, time.time())


@_fault
async def clock_skew(scene: Scene) -> Effect:
    """A worker's wall clock jumps, and it is killed and restored by that clock; it stays so."""
    member, began = scene.victim(), time.time()
    hours = scene.dice.choice((-26.0, -1.0, -0.01, 0.0, 0.01, 1.0, 26.0))
    member.worker.skew(hours * 3600)
    if scene.dice.random() < 0.5:
        await member.kill()
    return Effect(f"{member.name} {hours:+g} h", began, time.time())
