"""The record of a folder's running broker, and the one way to find and to end its process.

``broker.json`` holds the process id, the addresses and a random token that the process carries on
its command line. A process is the folder's broker only if its command line shows the token: a
process id alone may have been given to another program since, and a start time changes its meaning
when the system clock is set.
"""

import json
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from app.broker.errors import BrokerError

RECORD = "broker.json"
#: Name of the Java property that carries the token.
TOKEN_PROPERTY = "candlewick.kafka.token"

#: Children of this Python process: kept, so that they are reaped and not warned about when the
#: object that started them is gone, because a broker may outlive it.
_children: dict[int, "subprocess.Popen[bytes]"] = {}
#: How children of this process ended: negative for a signal.
exit_codes: dict[int, int] = {}


@dataclass(frozen=True)
class RunningRecord:
    """What ``broker.json`` holds."""

    pid: int
    token: str
    port: int
    controller_port: int


def spawn(command: list[str], folder: Path, output: Path, environment: dict[str, str]) -> int:
    """Start a process in a session of its own, so that Ctrl-C in a terminal does not reach it.

    Returns:
        Its process id. The child's standard output and error are in the file ``output``, which is
        overwritten; Kafka's log goes elsewhere, so this holds the Java runtime's complaints only.
    """
    with output.open("wb") as file:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    return child.pid


def write_record(folder: Path, record: RunningRecord) -> None:
    """Replace the folder's record, whole or not at all."""
    temporary = folder / f"{RECORD}.new"
    temporary.write_text(json.dumps(asdict(record)), encoding="utf-8")
    os.replace(temporary, folder / RECORD)


def read_record(folder: Path) -> RunningRecord | None:
    """Return the folder's record, or None where no broker was started or the last one was stopped.

    Raises:
        BrokerError: When the file is there and not a record.
    """
    path = folder / RECORD
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        return RunningRecord(
            pid=int(content["pid"]),
            token=str(content["token"]),
            port=int(content["port"]),
            controller_port=int(content["controller_port"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise BrokerError(
            f"{path} is not the record of a broker ({type(error).__name__}: {error}); see that no "
            f"Kafka runs on {folder}, then delete the file"
        ) from error


def delete_record(folder: Path) -> None:
    """Remove the record; the folder's broker is stopped."""
    (folder / RECORD).unlink(missing_ok=True)


def find_process(record: RunningRecord) -> psutil.Process | None:
    """Return the live process of the record, or None when it has ended or is another program."""
    child = _children.get(record.pid)
    if child is not None:
        if child.poll() is not None:
            del _children[record.pid]
            exit_codes[record.pid] = child.returncode
            return None
        # A child of ours keeps its id until it is waited for. Its command line may be empty for
        # a moment while the Java launcher executes itself anew.
        return psutil.Process(record.pid)
    try:
        process = psutil.Process(record.pid)
        arguments = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # a zombie is a NoSuchProcess
        return None
    return process if f"-D{TOKEN_PROPERTY}={record.token}" in arguments else None


def end_process(process: psutil.Process, timeout: float) -> bool:
    """Ask the process to end, and kill it when it has not within ``timeout`` seconds.

    psutil signals a process only if it still is the one that was found.

    Returns:
        True when it ended by itself, False when it had to be killed.
    """
    try:
        process.terminate()
        if _wait(process, timeout):
            return True
        process.kill()
        _wait(process, 10.0)
    except psutil.NoSuchProcess:
        return True
    return False


def _wait(process: psutil.Process, timeout: float) -> bool:
    child = _children.get(process.pid)
    try:
        if child is not None:
            child.wait(timeout)
            del _children[process.pid]
        else:
            process.wait(timeout)
    except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
        return False
    return True
