"""What a worker is doing, as seen from outside: starting, restoring, ready, stopping, failed.

Set by the engine, read by the pages of the web server, from any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from app import __version__

#: Seconds between two signs of life of the event loop.
BEAT_SECONDS = 0.25
#: An event loop that has not run for so long is stuck: its longest pieces take parts of a second.
STUCK_SECONDS = 30.0


class Phase(StrEnum):
    """The phases of a worker and of a partition."""

    STARTING = "starting"
    RESTORING = "restoring"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Condition:
    """A phase, in words why, and since when (seconds since the epoch)."""

    phase: Phase
    reason: str = ""
    since: float = 0.0


class HealthState:
    """The worker's phase and that of each partition it owns.

    A failure is final: what comes after it does not hide it.

    Args:
        now: the wall clock in seconds since the epoch.
        monotonic: seconds, for the age of the event loop's last sign of life.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now, self._monotonic = now, monotonic
        self._beat: float | None = None
        self._started = now()
        self._lock = threading.Lock()
        self._identity: dict[str, Any] = {}
        self._worker = Condition(Phase.STARTING, since=self._started)
        self._partitions: dict[tuple[str, int], Condition] = {}

    def describe(self, deployment: str, worker: str, agents: Sequence[str]) -> None:
        """Say whose health it is, for the pages."""
        self._identity = {"deployment": deployment, "worker": worker, "agents": list(agents)}

    def beat(self) -> None:
        """Note that the event loop runs; called on it every `BEAT_SECONDS`."""
        self._beat = self._monotonic()

    @property
    def loop_age(self) -> float | None:
        """Seconds since the event loop's last sign of life; None before the first."""
        beat = self._beat
        return None if beat is None else max(0.0, self._monotonic() - beat)

    @property
    def is_stuck(self) -> bool:
        """Whether the event loop does not run any more; whoever asks is in another thread."""
        return (self.loop_age or 0.0) > STUCK_SECONDS

    def starting(self, reason: str = "") -> None:
        """Set the worker's phase: it has no assignment yet."""
        self._set(Phase.STARTING, reason)

    def restoring(self, reason: str = "") -> None:
        """Set the worker's phase: partitions were assigned and are being restored."""
        self._set(Phase.RESTORING, reason)

    def ready(self) -> None:
        """Set the worker's phase: it applies batches (or waits for a partition)."""
        self._set(Phase.READY, "")

    def stopping(self) -> None:
        """Set the worker's phase: it checkpoints and leaves."""
        self._set(Phase.STOPPING, "")

    def failed(self, reason: str) -> None:
        """Set the worker's phase for good: it does not work any more and must be started again."""
        self._set(Phase.FAILED, reason)

    def partition(self, agent: str, partition: int, phase: Phase, reason: str = "") -> None:
        """Set the phase of an owned partition of an agent's input."""
        with self._lock:
            known = self._partitions.get((agent, partition))
            self._partitions[agent, partition] = self._next(known, phase, reason)

    def released(self, agent: str, partition: int) -> None:
        """Forget a partition that this worker does not own any more."""
        with self._lock:
            self._partitions.pop((agent, partition), None)

    @property
    def is_ready(self) -> bool:
        """Whether the worker and each of its partitions are ready. No partition is fine.

        Not while the event loop is stuck.
        """
        if self.is_stuck:
            return False
        with self._lock:
            conditions = [self._worker, *self._partitions.values()]
        return all(condition.phase is Phase.READY for condition in conditions)

    @property
    def is_alive(self) -> bool:
        """Whether the worker can still do its work without being started again.

        Not one that has failed for good, or whose event loop is stuck.
        That a position does not move although records wait is no reason to say no: the usual
        causes (the broker is away, a foreign transaction is open in the log) stay after a restart.
        `candlewick_stalled_seconds` is for that.
        """
        with self._lock:
            failed = self._worker.phase is Phase.FAILED
        return not failed and not self.is_stuck

    def phases(self) -> tuple[Phase, list[tuple[str, Phase]]]:
        """Return the worker's phase, and agent and phase of each owned partition."""
        with self._lock:
            partitions = [(agent, each.phase) for (agent, _), each in self._partitions.items()]
            return self._worker.phase, partitions

    def report(self) -> dict[str, Any]:
        """Return all of it for a page, ready for JSON: times in UTC, durations in seconds."""
        with self._lock:
            worker, partitions = self._worker, sorted(self._partitions.items())
        return {
            "version": __version__,
            **self._identity,
            **self._told(worker),
            **self._told_of_loop(worker.phase),
            "started": _moment(self._started),
            "uptime_seconds": round(max(0.0, self._now() - self._started), 3),
            "partitions": [
                {"agent": agent, "partition": partition, **self._told(condition)}
                for (agent, partition), condition in partitions
            ],
        }

    def _told_of_loop(self, phase: Phase) -> dict[str, Any]:
        age = self.loop_age
        told: dict[str, Any] = {"loop_age_seconds": None if age is None else round(age, 3)}
        if self.is_stuck and phase is not Phase.FAILED:
            told["reason"] = f"the event loop has not run for {age:.0f} s"
        return told

    def _told(self, condition: Condition) -> dict[str, Any]:
        return {
            "phase": str(condition.phase),
            "reason": condition.reason,
            "since": _moment(condition.since),
            "phase_seconds": round(max(0.0, self._now() - condition.since), 3),
        }

    def _set(self, phase: Phase, reason: str) -> None:
        with self._lock:
            if self._worker.phase is not Phase.FAILED:
                self._worker = self._next(self._worker, phase, reason)

    def _next(self, known: Condition | None, phase: Phase, reason: str) -> Condition:
        """Another reason for the same phase does not begin it anew."""
        same = known is not None and known.phase is phase
        return Condition(phase, reason, known.since if known and same else self._now())


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
