"""What happens when a partition fails: it is restored, or the worker ends and says why.

A broker that is away is waited for, for as long as it takes. Everything else that repeats ends the
worker with one line, for its supervisor and its operator: a batch that fails whenever it is read
(exit code 3), another owner of the same transactional id (3), a restore that cannot succeed (1).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError, ProducerFenced

from app.exits import OperatorError, RefusalError
from app.identity import transactional_id
from app.observe.health import Phase
from app.streaming.restore import retry_delay
from app.streaming.runner import PartitionRunner, RunnerKey
from app.streaming.store import StoreDamagedError
from app.streaming.transaction import TransactionTimedOutError

if TYPE_CHECKING:
    from app.streaming.engine import Engine

logger = logging.getLogger(__name__)

#: Failures at one position, not the broker's, after which a worker gives up.
SAME_FAILURES = 3
#: Seconds for which nothing but failures of this machine or refusals of the broker are tried again.
GIVE_UP_SECONDS = 30.0
_SECOND = 1_000_000_000


def is_away(error: BaseException) -> bool:
    """Whether an error says that a broker does not answer, or not yet: waiting helps."""
    if isinstance(error, KafkaError):
        return bool(error.retriable) or isinstance(error, KafkaConnectionError | KafkaTimeoutError)
    return isinstance(error, ConnectionError | TimeoutError | socket.gaierror)


async def restore_with_patience(runner: PartitionRunner, owned: asyncio.Event) -> None:
    """Restore a partition, again and again: a broker that is away comes back.

    Args:
        owned: not set during a rebalance. A restore fences, and might then fence the next owner.

    Raises:
        RefusalError: stored state must not be used.
        OperatorError: for `GIVE_UP_SECONDS` it failed for other reasons than a broker's absence.
    """
    name = f"{runner.stage.agent} {runner.partition}"
    attempt = 0
    failing_since: float | None = None
    while True:
        await owned.wait()
        try:
            await runner.restore()
        except RefusalError:
            raise
        except Exception as error:
            now = time.monotonic()
            failing_since = None if is_away(error) else failing_since or now
            if failing_since is not None and now - failing_since > GIVE_UP_SECONDS:
                raise OperatorError(
                    f"{name} cannot be restored since {now - failing_since:.0f} s: {error!r}; "
                    "nothing is lost, another worker or the next start goes on where it ended"
                ) from error
            delay = retry_delay(attempt)
            attempt += 1
            runner.log.warning(
                "%s cannot be restored: %r; again in %.1f s", name, error, delay,
                extra={"error": type(error).__name__, "seconds": delay},
            )  # fmt: skip
            await asyncio.sleep(delay)
        else:
            return


class Failures:
    """Counts what fails, and decides between another restore and the end of the worker."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._fences: dict[RunnerKey, int] = {}
        #: Position and number of failures there that are not the broker's.
        self._failures: dict[RunnerKey, tuple[int, int]] = {}
        #: The same of all failures, to wait longer each time.
        self._repeated: dict[RunnerKey, tuple[int, int]] = {}

    def assigned(self) -> None:
        """A rebalance: who was fenced by another owner starts anew."""
        self._fences.clear()

    def failed(self, runner: PartitionRunner, error: BaseException) -> None:
        """A runner has dropped its state."""
        runner.log.warning(
            "%s %d: dropped its state after position %d: %r",
            runner.stage.agent, runner.partition, runner.position, error,
            extra={"position": runner.position, "error": type(error).__name__},
        )  # fmt: skip
        engine = self._engine
        engine.set_phase(runner, Phase.RESTORING, repr(error))
        if not engine.stopping:
            engine.rebalances.hold(runner.key.tp)
            engine.start(self._recover(runner, error, engine.rebalances.generation))

    async def _recover(
        self, runner: PartitionRunner, error: BaseException, generation: int
    ) -> None:
        engine = self._engine
        if isinstance(error, ProducerFenced):
            if not isinstance(error, TransactionTimedOutError):
                engine.metrics.fenced(runner.stage.agent)
                self._count_fence(runner)
                runner.log.warning(
                    "%s %d: fenced by another owner", runner.stage.agent, runner.partition,
                    extra={"position": runner.position, "generation": generation},
                )  # fmt: skip
            # The legitimate owner is known after the next heartbeat: this worker may have slept.
            await asyncio.sleep(engine.settings.broker.heartbeat_interval / _SECOND + 1.0)
        else:
            if not isinstance(error, KafkaError | OSError | StoreDamagedError):
                self._count_failure(runner, error)
            repeated = _count(self._repeated, runner)
            if repeated > 1:
                await asyncio.sleep(retry_delay(repeated - 2))
        # After a rebalance the new assignment has decided already.
        if engine.is_current(runner, generation):
            engine.rebalances.take(runner.key)

    def _count_fence(self, runner: PartitionRunner) -> None:
        self._fences[runner.key] = self._fences.get(runner.key, 0) + 1
        if self._fences[runner.key] >= 2:
            raise self._refusal(
                runner,
                f"{runner.stage.agent} {runner.partition} was fenced twice without a "
                f"rebalance: another application uses the transactional id "
                f"{transactional_id(self._engine.settings, runner.stage.agent, runner.partition)}, "
                "probably a deployment of the same name with other agents",
            )

    def _count_failure(self, runner: PartitionRunner, error: BaseException) -> None:
        """A batch that fails whenever it is read again stops the worker: nothing may be skipped.

        Raises:
            RefusalError: it has failed at this position `SAME_FAILURES` times.
        """
        if _count(self._failures, runner) >= SAME_FAILURES:
            raise self._refusal(
                runner,
                f"{runner.stage.agent} {runner.partition} fails at position {runner.position} "
                f"again and again: {error!r}; nothing of it was published, the log is unchanged",
            ) from error

    def _refusal(self, runner: PartitionRunner, text: str) -> RefusalError:
        """What ends the worker because of a partition, which `/healthz` and the log then name."""
        self._engine.set_phase(runner, Phase.FAILED, text)
        return RefusalError(text)


def _count(counts: dict[RunnerKey, tuple[int, int]], runner: PartitionRunner) -> int:
    """One more at a runner's position; how many there were there in a row."""
    known, count = counts.get(runner.key, (runner.position, 0))
    count = count + 1 if known == runner.position else 1
    counts[runner.key] = runner.position, count
    return count
