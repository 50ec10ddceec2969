"""Two workers that listen on every address, in a network of their own: run by `test_bind.py`.

`unshare -rn python -m tests.web.opened FOLDER` has no interface but its own loopback, so what is
opened here is reached from nowhere else. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from app.broker import BrokerConfig, EmbeddedBroker
from tests.broker.worker import WorkerProcess, until, worker_settings

SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40
#: Both are this machine on any loopback; each worker is called by one.
ADVERTISED = ("127.0.0.2", "127.0.0.3")


def raise_loopback() -> None:
    """A new network's loopback is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = struct.pack("16sH14s", b"lo", IFF_UP | IFF_RUNNING, b"")
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, flags)


async def main(folder: Path) -> dict[str, Any]:
    broker = EmbeddedBroker(BrokerConfig(folder / "kafka"))
    broker.start()
    try:
        broker.wait_ready()
        settings = worker_settings(
            broker,
            "opened",
            folder,
            web={"host": "0.0.0.0", "open_without_authentication": True},
        )
        one, other = (
            WorkerProcess(
                settings.model_copy(
                    update={"web": settings.web.model_copy(update={"advertised_host": host})}
                ),
                f"at-{host.replace('.', '-')}",
            )
            for host in ADVERTISED
        )
        async with one, other:
            for worker in (one, other):
                await worker.wait_ready()

            async def shared() -> bool:
                return len(await one.partitions()) == len(await other.partitions()) == 1

            await until(shared, lambda: one.tail)
            found = {
                "listening": [listening(worker.pid) for worker in (one, other)],
                "ports": [worker.settings.web.port for worker in (one, other)],
                "warnings": [
                    [line for line in worker.log.splitlines() if "WITHOUT_AUTHENTICATION" in line]
                    for worker in (one, other)
                ],
                "router": json.loads((await one.get("/router/"))[1]),
            }
            # What the first one says of the other is where the other answers.
            found["reached"] = {url: await status(f"{url}/healthz") for url in found["router"]}
            found["codes"] = [await worker.stop() for worker in (one, other)]
    finally:
        broker.stop()
    return found


def listening(pid: int) -> list[str]:
    """Addresses that a process listens on."""
    sockets = psutil.Process(pid).net_connections(kind="inet")
    return [each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN]


async def status(url: str) -> int:
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return answer.status


if __name__ == "__main__":
    raise_loopback()
    print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
