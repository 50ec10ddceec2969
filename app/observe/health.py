"""What a worker is doing, as seen from outside: starting, restoring, ready, stopping, failed.

Set by the engine, read by the pages of the web server, from any thread.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Phase(StrEnum):
    """The phases of a worker and of a partition."""

    STARTING = "starting"
    RESTORING = "restoring"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Condition:
    """A phase and, in words, why."""

    phase: Phase
    reason: str = ""


class HealthState:
    """The worker's phase and that of each partition it owns.

    A failure is final: what comes after it does not hide it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker = Condition(Phase.STARTING)
        self._partitions: dict[tuple[str, int], Condition] = {}

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
            self._partitions[agent, partition] = Condition(phase, reason)

    def released(self, agent: str, partition: int) -> None:
        """Forget a partition that this worker does not own any more."""
        with self._lock:
            self._partitions.pop((agent, partition), None)

    @property
    def is_ready(self) -> bool:
        """Whether the worker and each of its partitions are ready. No partition is fine."""
        with self._lock:
            conditions = [self._worker, *self._partitions.values()]
        return all(condition.phase is Phase.READY for condition in conditions)

    @property
    def is_alive(self) -> bool:
        """Whether the worker can still do its work without being started again."""
        with self._lock:
            return self._worker.phase is not Phase.FAILED

    def report(self) -> dict[str, Any]:
        """Return all of it for a page, ready for JSON."""
        with self._lock:
            worker, partitions = self._worker, sorted(self._partitions.items())
        return {
            "phase": str(worker.phase),
            "reason": worker.reason,
            "partitions": [
                {
                    "agent": agent,
                    "partition": partition,
                    "phase": str(condition.phase),
                    "reason": condition.reason,
                }
                for (agent, partition), condition in partitions
            ],
        }

    def _set(self, phase: Phase, reason: str) -> None:
        with self._lock:
            if self._worker.phase is not Phase.FAILED:
                self._worker = Condition(phase, reason)
