"""What is freed is used again: glibc's arenas, in processes of their own; what is not an error."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import subprocess
import sys

import pytest
from aiokafka.errors import KafkaError

from app.run.environment import ROOT
from app.streaming.tuning import ARENAS, quiet_lost_futures

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")

BEGIN = "from app.streaming.tuning import release_memory, tune_memory, tune_process\n"
#: Prints how many arenas 16 threads have used that were alive at the same time.
ARENAS_USED = """
import ctypes, threading
barrier = threading.Barrier(17)
def allocate():
    block = bytearray(1000)
    barrier.wait()
    barrier.wait()
threads = [threading.Thread(target=allocate) for _ in range(16)]
for thread in threads: thread.start()
barrier.wait()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
barrier.wait()
"""


def output(program: str, **environment: str) -> str:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    ours.pop("GLIBC_TUNABLES", None)
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        env=ours | {"PYTHONPATH": str(ROOT)} | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


@pytest.mark.parametrize("call", ["tune_memory()", "tune_process()"])
def test_threads_share_few_arenas(call: str) -> None:
    assert output(ARENAS_USED).count("<heap nr") > ARENAS
    assert output(f"{call}\n{ARENAS_USED}").count("<heap nr") <= ARENAS


def test_what_the_environment_says_of_the_allocator_holds() -> None:
    assert output("print(tune_memory())").strip() == "True"
    assert output("print(tune_memory())", MALLOC_ARENA_MAX="3").strip() == "False"
    tunables = "glibc.malloc.arena_max=3"
    assert output("print(tune_memory())", GLIBC_TUNABLES=tunables).strip() == "False"


#: Prints the resident size with every second of some thousand blocks freed, before and behind.
RESIDENT = """
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
held = [bytes(50_000) for _ in range(4_000)]
kept = held[::2]
del held
before = resident()
assert release_memory()
print(before - resident())
"""


def test_what_is_free_between_the_blocks_in_use_is_given_back() -> None:
    # 2,000 holes of 50,000 bytes: eleven whole pages of each.
    assert int(output(RESIDENT)) > 2_000 * 10 * 4_096


async def test_what_aiokafka_has_forgotten_is_no_error_and_all_else_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    quiet_lost_futures(loop)
    forgotten = KafkaError("fenced")
    loop.call_exception_handler(
        {"message": "Future exception was never retrieved", "exception": forgotten}
    )
    loop.call_exception_handler({"message": "Unclosed AIOKafkaConnection", "conn": "node 1"})
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
    loop.call_exception_handler({"message": "Future exception was never retrieved"})
    loop.call_exception_handler({"message": "Unclosed connection", "conn": "node 1"})
    assert len([each for each in caplog.records if each.levelno >= logging.ERROR]) == 2
