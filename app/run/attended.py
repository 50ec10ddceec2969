"""A worker that ends when its supervisor does: `python -m app.run.attended ARGS` is `faust ARGS`.

Standard input is a pipe whose other end the supervisor alone holds, and never writes to. The system
closes it when the supervisor ends, however that happens, `kill -9` too. A thread waits for that:
it needs no event loop, no polling, and nothing of Linux (`PR_SET_PDEATHSIG` speaks of the thread
that made the child, not of its process).
"""

from __future__ import annotations

import logging
import os
import runpy
import signal
import threading
import time

logger = logging.getLogger(__name__)

#: Seconds between SIGTERM and SIGKILL, also the supervisor's: a stop takes a checkpoint and a
#: rebalance.
STOP_SECONDS = 20.0
_SUPERVISOR = 0  # standard input


def end_with_supervisor(seconds: float = STOP_SECONDS) -> None:
    """End this process in order once standard input is at its end, and after `seconds` in any case.

    Returns at once. SIGTERM is what the supervisor would have sent: the worker takes a checkpoint
    and lets go of its partitions.
    """
    threading.Thread(target=_wait, args=(seconds,), name="supervisor", daemon=True).start()


def _wait(seconds: float) -> None:
    while os.read(_SUPERVISOR, 4096):
        pass
    logger.warning("the supervisor of this worker has ended: so does the worker")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Be `python -m faust`, which reads the arguments itself."""
    end_with_supervisor()
    runpy.run_module("faust", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
