"""The front of the web port: a thread that answers the probes and leaves the rest to the loop.

The event loop applies batches, so it comes to a request when it has a moment: half a second late
under full load. The thread accepts every connection, looks at the beginning of its first request
without taking it, and serves those of `probes.py` itself, by aiohttp on an event loop of its own.
All other connections go on to the loop's server as they are: bodies, web sockets, keep-alive.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from aiohttp.web import AppRunner, BaseRunner, BaseSite, Server

from app.observe.health import BEAT_SECONDS
from app.web.probes import PATHS, Probes

logger = logging.getLogger(__name__)

#: As aiohttp's server has it.
BACKLOG: Final = 128
#: Connections that may wait for the loop; what a loop that is stuck is left with, at most.
WAITING: Final = 512
#: Until the next connection is taken after one could not be.
ROOM_SECONDS: Final = 1.0
#: To begin; the thread has the interpreter to wait for.
START_SECONDS: Final = 30.0
#: At the end, for what is being answered.
LAST_SECONDS: Final = 1.0
_PROBE: Final = re.compile(
    rb"(GET|HEAD) (" + b"|".join(re.escape(path.encode()) for path in PATHS) + rb")[ ?]"
)
#: Bytes of a request that are looked at.
_LOOK: Final = 64


def is_probe(head: bytes) -> bool:
    """Tell whether a request that begins so is the front's."""
    return _PROBE.match(head) is not None


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of the host, as asyncio's servers do.

    Raises:
        OSError: on none.
    """
    found: list[socket.socket] = []
    fault: OSError | None = None
    places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, address in dict.fromkeys(places):
        try:
            one = socket.create_server(address, family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                # "localhost" may name an address that this machine does not have.
                fault = error
                continue
            _close(found)
            raise
        one.setblocking(False)
        found.append(one)
    if not found:
        raise fault or OSError(errno.EADDRNOTAVAIL, "no address", host)
    return found


class Front:
    """The thread.

    Args:
        listening: sockets that do not block; they are closed at the end.
        probes: what is answered here.
        hand_over: takes a connection that is none of ours, in the thread.
    """

    def __init__(
        self,
        listening: Sequence[socket.socket],
        probes: Probes,
        hand_over: Callable[[socket.socket], None],
    ) -> None:
        self._listening, self._probes, self._hand_over = listening, probes, hand_over
        self._begun, self._fault = threading.Event(), ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()
        self._looking: set[asyncio.Task[None]] = set()
        # A process that has nothing else left ends.
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)

    async def start(self) -> None:
        """Begin.

        Raises:
            RuntimeError: it could not.
        """
        self._thread.start()
        if not await asyncio.to_thread(self._begun.wait, START_SECONDS) or self._fault:
            raise RuntimeError(f"the front of the web port has not begun: {self._fault}")

    async def stop(self) -> None:
        """End it: nothing is accepted any more, what is being answered is answered."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ending.set)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            self._fault = repr(error)
            logger.exception("the front of the web port has ended: nothing answers there any more")
        finally:
            self._begun.set()
            _close(self._listening)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        runner = AppRunner(
            self._probes.application(), access_log=None, shutdown_timeout=LAST_SECONDS
        )
        await runner.setup()
        server = runner.server
        assert server is not None
        for each in self._listening:
            self._listen(self._loop, each, server)
        self._begun.set()
        await self._ending.wait()
        for each in self._listening:
            self._loop.remove_reader(each.fileno())
        looking = list(self._looking)
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
        await runner.cleanup()

    def _listen(
        self, loop: asyncio.AbstractEventLoop, listening: socket.socket, server: Server
    ) -> None:
        if not self._ending.is_set():
            loop.add_reader(listening.fileno(), self._accept, loop, listening, server)

    def _accept(
        self, loop: asyncio.AbstractEventLoop, listening: socket.socket, server: Server
    ) -> None:
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, ConnectionError):
            # It has gone before it was taken.
            return
        except OSError as error:
            # No file left for it, as a rule, and the connection would be tried at once again.
            logger.warning("a connection cannot be taken: %s", error)
            loop.remove_reader(listening.fileno())
            loop.call_later(ROOM_SECONDS, self._listen, loop, listening, server)
            return
        connection.setblocking(False)
        task = loop.create_task(self._look(loop, connection, server))
        self._looking.add(task)
        task.add_done_callback(partial(self._looked, connection))

    def _looked(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._looking.discard(task)
        if task.cancelled():
            # Perhaps before it began: nobody else has it.
            connection.close()

    async def _look(
        self, loop: asyncio.AbstractEventLoop, connection: socket.socket, server: Server
    ) -> None:
        """See to whom a connection goes; whoever does not say enough at once goes to the loop."""
        try:
            await _readable(loop, connection)
            ours = is_probe(connection.recv(_LOOK, socket.MSG_PEEK))
            if ours:
                await loop.connect_accepted_socket(server, connection)
        except OSError as error:
            logger.debug("a connection has gone: %r", error)
            connection.close()
        else:
            if not ours:
                self._hand_over(connection)


async def _readable(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Wait until a connection has something to read, or has ended; nothing is read."""
    seen: asyncio.Future[None] = loop.create_future()
    number = connection.fileno()

    def see() -> None:
        loop.remove_reader(number)
        if not seen.done():
            seen.set_result(None)

    loop.add_reader(number, see)
    try:
        await seen
    except asyncio.CancelledError:
        loop.remove_reader(number)
        raise


def _close(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()


class FrontSite(BaseSite):
    """Serves a runner behind a front; made, started and stopped on the runner's event loop.

    Args:
        runner: that of the loop's server.
        host, port: as `app/web/bind.py` has allowed them.
        probes: what the front answers.
    """

    def __init__(self, runner: BaseRunner, host: str, port: int, probes: Probes) -> None:
        super().__init__(runner)
        self._host, self._port, self._probes = host, port, probes
        self._loop = asyncio.get_running_loop()
        self._front: Front | None = None
        self._beating: asyncio.TimerHandle | None = None
        self._taking: set[asyncio.Task[None]] = set()
        #: Connections, counted by the front alone and by the loop alone.
        self._handed = self._taken = 0

    @property
    def name(self) -> str:
        """The address, for people."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen, and answer.

        Raises:
            OSError: nobody can listen there.
            RuntimeError: the thread has not begun.
        """
        await super().start()
        self._front = Front(listen(self._host, self._port), self._probes, self._hand_over)
        self._probes.metrics.samples.bind(self._loop)
        self._beat()
        await self._front.start()

    async def stop(self) -> None:
        """Listen no more."""
        if self._front is not None:
            await self._front.stop()
            await asyncio.gather(*self._taking)
        if self._beating is not None:
            self._beating.cancel()
        self._probes.metrics.samples.unbind()
        await super().stop()

    def _beat(self) -> None:
        self._probes.health.beat()
        self._beating = self._loop.call_later(BEAT_SECONDS, self._beat)

    def _hand_over(self, connection: socket.socket) -> None:
        """Give a connection to the loop's server; in the front's thread."""
        if self._handed - self._taken >= WAITING:
            logger.warning("a connection is refused: %d wait for the event loop", WAITING)
            connection.close()
            return
        self._handed += 1
        try:
            self._loop.call_soon_threadsafe(self._take, connection)
        except RuntimeError:
            # The loop is closed: the process ends.
            connection.close()

    def _take(self, connection: socket.socket) -> None:
        self._taken += 1
        task = self._loop.create_task(self._connect(connection))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _connect(self, connection: socket.socket) -> None:
        server = self._runner.server
        if server is None:
            connection.close()
            return
        try:
            await self._loop.connect_accepted_socket(server, connection)
        except OSError as error:
            logger.debug("a connection has gone: %r", error)
            connection.close()
