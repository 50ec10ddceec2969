"""A TCP proxy on loopback that can be slow, stand still, and cut connections in mid-answer."""

from __future__ import annotations

import asyncio
import random

HOST = "127.0.0.1"
CHUNK = 64 * 1024
#: Of a slow network, in bytes: so a fetch of many records comes in pieces.
SLOW_CHUNK = 8 * 1024


class Proxy:
    """Passes bytes between clients and a port of the same machine.

    Use as an async context manager, after `target_port` is set; that may be later than `start`,
    because a broker must be told the proxy's port before it has one of its own.

    Attributes:
        delay: seconds that each piece waits; a piece is `SLOW_CHUNK` then.
        cuts: connections that were cut on purpose.
    """

    def __init__(self, seed: int) -> None:
        self.target_port = 0
        self.port = 0
        self.delay = 0.0
        self.cuts = 0
        self._dice = random.Random(f"proxy {seed}")
        self._cut_every = 0
        self._allowance = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._cut = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._abort()

    def cut_every(self, size: int) -> None:
        """Cut all connections each time about `size` bytes have passed; 0 for no more."""
        self._cut_every = size
        self._draw()

    def stand_still(self, still: bool) -> None:
        """Let nothing pass, with all connections open; or let it pass again."""
        if still:
            self._flowing.clear()
        else:
            self._flowing.set()

    async def wait_cuts(self, count: int) -> None:
        """Return when `count` cuts were made in all."""
        while self.cuts < count:
            self._cut.clear()
            await self._cut.wait()

    def _draw(self) -> None:
        size = self._cut_every
        self._allowance = self._dice.randrange(size // 2, size * 2) if size else 0

    def _abort(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        other: asyncio.StreamWriter | None = None
        try:
            there, other = await asyncio.open_connection(HOST, self.target_port)
            self._open.add(other)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, other))
                group.create_task(self._pass(there, writer))
        except* OSError:
            # The broker is away, or one side has gone: the other one is told below.
            pass
        finally:
            for each in (writer, other):
                if each is not None:
                    self._open.discard(each)
                    each.transport.abort()
            self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(SLOW_CHUNK if self.delay else CHUNK):
            await self._flowing.wait()
            if self.delay:
                await asyncio.sleep(self.delay)
            if self._cut_every:
                self._allowance -= len(data)
                if self._allowance < 0:
                    # Half of an answer gets through.
                    writer.write(data[: len(data) // 2])
                    self.cuts += 1
                    self._draw()
                    self._cut.set()
                    self._abort()
                    return
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("one side has closed")
