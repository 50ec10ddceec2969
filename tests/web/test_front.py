"""The front of the web port: probes while the event loop is blocked, all else as without it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import faust
import pytest
from aiohttp import ClientSession, web
from hypothesis import given
from hypothesis import strategies as st

from app.observe.health import STUCK_SECONDS, HealthState
from app.observe.metrics import Metrics
from app.observe.requests import measure_requests
from app.settings import load_settings
from app.web import front
from app.web.bind import free_port, web_settings
from app.web.driver import FrontWeb
from app.web.front import FrontSite, is_probe, listen
from app.web.pages import register
from app.web.probes import PATHS, Probes
from tests.unit.test_metrics import FakeStore

#: What is never to be reached.
LONG = 60.0


class Worker:
    """The pages of a worker, behind a front, on the loop of the test."""

    def __init__(self, **options: Any) -> None:
        self.clock = [1_000.0]
        self.health, self.metrics = HealthState(monotonic=lambda: self.clock[0]), Metrics()
        self.stores: list[tuple[str, Any]] = [("bars", FakeStore(5))]
        self.metrics.watch("d1", "w1", self.health, lambda: self.stores, lambda: 0)
        self.port = free_port()
        configured = web_settings(load_settings()) | {"web_port": self.port} | options
        self.app = faust.App("front", broker="kafka://127.0.0.1:1", **configured)
        register(self.app, self.health, self.metrics)
        assert isinstance(self.app.web, FrontWeb)
        self.web = self.app.web
        measure_requests(self.web.web_app, self.metrics)

    def ask(
        self, path: str, seconds: float = LONG, method: str = "GET"
    ) -> tuple[int, HTTPResponse, str]:
        """Ask in this thread: called on the loop, it blocks the loop until there is an answer."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=seconds)) as connection:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer, answer.read().decode()

    def told(self, name: str) -> float:
        """A metric without labels, asked for as `ask` does."""
        text = self.ask("/metrics")[2]
        (value,) = re.findall(rf"^{name} (.+)$", text, re.MULTILINE)
        return float(value)

    def connect(self) -> socket.socket:
        """A connection that nothing was sent on."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=LONG)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    one = Worker()
    one.web.init_server()
    await one.web.start_server()
    yield one
    await one.web.stop_server()
    assert not [thread for thread in threading.enumerate() if thread.name == "front"]
    # And the port is free again.
    for each in listen("127.0.0.1", one.port):
        each.close()


# --- probes ------------------------------------------------------------------------------------


async def test_probes_are_answered_while_the_loop_is_blocked_and_other_pages_after_it(
    worker: Worker,
) -> None:
    worker.health.ready()
    worker.metrics.batch_applied("bars", seconds=0.001, outcomes={"applied": 5})
    # This is the loop: while `ask` waits, nothing else runs on it.
    status, answer, text = worker.ask("/metrics")
    assert status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert 'candlewick_records_total{agent="bars",outcome="applied"} 5.0' in text
    for path in ("/healthz", "/readyz", "/readyz?verbose=1"):
        status, answer, text = worker.ask(path)
        assert status == 200
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert json.loads(text)["phase"] == "ready"
    assert worker.ask("/healthz", method="HEAD")[::2] == (200, "")
    with pytest.raises(TimeoutError):
        worker.ask("/candles", 0.1)
    status, _, text = await asyncio.to_thread(worker.ask, "/candles")
    assert (status, "<html" in text) == (200, True)
    # Counted as those of the loop are, by their routes.
    found = worker.ask("/metrics")[2]
    assert 'candlewick_http_requests_total{route="/metrics",status="2xx"} 1.0' in found
    assert 'candlewick_http_requests_total{route="/candles",status="2xx"}' in found


async def test_liveness_tells_of_a_loop_that_is_stuck(worker: Worker) -> None:
    worker.health.ready()
    assert worker.ask("/healthz")[0] == 200
    worker.clock[0] += STUCK_SECONDS + 1
    status, _, text = worker.ask("/healthz")
    assert status == 503
    assert json.loads(text)["reason"] == "the event loop has not run for 31 s"
    assert worker.ask("/readyz")[0] == 503
    assert worker.told("candlewick_event_loop_age_seconds") == STUCK_SECONDS + 1
    assert worker.told("candlewick_worker_ready") == 0

    async def beaten() -> None:
        while (await asyncio.to_thread(worker.ask, "/healthz"))[0] != 200:
            pass

    await asyncio.wait_for(beaten(), LONG)
    assert worker.told("candlewick_event_loop_age_seconds") == 0


async def test_a_failed_worker_is_not_alive(worker: Worker) -> None:
    worker.health.failed("fenced twice")
    status, _, text = worker.ask("/healthz")
    assert (status, json.loads(text)["reason"]) == (503, "fenced twice")


async def test_stores_are_read_by_the_loop_alone_and_their_sample_has_an_age(
    worker: Worker,
) -> None:
    readers = set()

    class Watched(FakeStore):
        def sizes(self) -> Any:
            readers.add(threading.get_ident())
            return super().sizes()

    def keys(text: str) -> list[str]:
        return re.findall(r'candlewick_store_keys\{agent="bars"\} (.+)', text)

    worker.stores[:] = [("bars", Watched(7))]
    # The sample of the start, since the loop is blocked; it does not hold the answer up.
    assert keys(worker.ask("/metrics")[2]) == ["5.0"]
    assert worker.told("candlewick_sample_age_seconds") > 0
    _, _, text = await asyncio.to_thread(worker.ask, "/metrics")
    assert keys(text) == ["7.0"]
    assert readers == {threading.get_ident()}


async def test_scrapes_and_batches_at_the_same_time_tear_nothing(worker: Worker) -> None:
    """Counts and gauges of one moment agree, however a scrape falls into the changes."""
    ended = threading.Event()
    texts: list[str] = []

    def scrapes() -> None:
        while not ended.is_set():
            texts.append(worker.ask("/metrics")[2])

    thread = threading.Thread(target=scrapes)
    thread.start()
    number = 0
    while len(texts) < 20 and thread.is_alive():
        number += 1
        for partition in range(number % 7):
            worker.metrics.partition_state(
                "bars", partition, event_time=number, watermark=number, rows=number
            )
        for partition in range(number % 5):
            worker.metrics.partition_released("bars", partition)
        if not number % 50:
            await asyncio.sleep(0)
    ended.set()
    await asyncio.to_thread(thread.join)
    assert len(texts) >= 20
    seen = 0
    for text in texts:
        both = [
            dict(re.findall(rf'^candlewick_{name}{{.*partition="(\d)"}} (.+)$', text, re.MULTILINE))
            for name in ("event_time_seconds", "watermark_seconds")
        ]
        assert both[0] == both[1]
        seen += len(both[0])
    assert seen


# --- whose a connection is -----------------------------------------------------------------------


@given(
    st.sampled_from(["GET", "HEAD", "POST", "get", "OPTIONS"]),
    st.one_of(
        st.sampled_from([*PATHS, "/", "/metrics/", "/metricsx", "/healthz?a=b", "//metrics"]),
        st.from_regex(r"/[a-z/.%?=&]{0,20}", fullmatch=True),
    ),
)
def test_ours_are_the_probes_alone(method: str, target: str) -> None:
    expected = method in ("GET", "HEAD") and target.partition("?")[0] in PATHS
    assert is_probe(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()) == expected


@given(st.binary(max_size=64))
def test_any_bytes_are_somebodys(head: bytes) -> None:
    assert is_probe(head) == any(
        head.startswith(f"{method} {path}{end}".encode())
        for method in ("GET", "HEAD")
        for path in PATHS
        for end in " ?"
    )


async def test_what_begins_with_another_page_stays_with_the_loop(worker: Worker) -> None:
    async with ClientSession(f"http://127.0.0.1:{worker.port}") as session:
        # One connection is kept by the session as long as the server keeps it.
        for path in ("/candles", "/metrics", "/healthz", "/candles"):
            async with session.get(path) as answer:
                assert answer.status == 200
                assert "Connection" not in answer.headers
                await answer.read()
        async with session.post("/metrics") as answer:
            assert answer.status == 405


async def test_a_probe_ends_its_connection(worker: Worker) -> None:
    for path in PATHS:
        assert worker.ask(path)[1].headers["Connection"] == "close"


async def test_a_request_that_comes_in_pieces_is_answered_by_the_loop(worker: Worker) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
    writer.write(b"GET /met")
    await writer.drain()
    server = worker.web._runner.server
    assert server is not None

    async def passed_on() -> None:
        # The front answers others meanwhile; in the end the loop's server knows the connection.
        while not server.connections:
            assert (await asyncio.to_thread(worker.ask, "/healthz"))[0] == 200

    await asyncio.wait_for(passed_on(), LONG)
    writer.write(b"rics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), LONG)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"candlewick_build_info" in answer
    writer.close()


async def test_connections_that_say_nothing_or_go_away_keep_nobody(worker: Worker) -> None:
    with closing(worker.connect()), closing(worker.connect()) as half:
        half.shutdown(socket.SHUT_WR)
        reset = worker.connect()
        reset.sendall(b"GET /metrics HTTP/1.1\r\n")
        # Closed by a reset, in the middle of a request.
        reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reset.close()
        for _ in range(3):
            assert worker.ask("/healthz")[0] == 200
        # One that is half closed has nothing to ask: the loop's server ends it.
        assert await asyncio.to_thread(half.recv, 1) == b""


async def test_no_more_connections_wait_for_a_blocked_loop_than_it_may_have(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(front, "WAITING", 2)
    asked = b"GET /candles HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    three = [worker.connect() for _ in range(3)]
    for each in three:
        each.sendall(asked)
        # The front has seen it when it answers another one that came later.
        assert worker.ask("/healthz")[0] == 200
    assert worker.ask("/healthz")[0] == 200
    # Closed with its request unread.
    with pytest.raises(ConnectionResetError):
        three[2].recv(1)
    assert "a connection is refused: 2 wait" in caplog.text
    for each in three[:2]:
        assert (await asyncio.to_thread(each.recv, 12)).startswith(b"HTTP/1.1 200")
    for each in three:
        each.close()
    assert (await asyncio.to_thread(worker.ask, "/candles"))[0] == 200


async def test_a_machine_without_room_for_a_connection_gets_another_chance(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept, faults = socket.socket.accept, [errno.ECONNABORTED, errno.EMFILE]

    def faulty(listening: socket.socket) -> tuple[socket.socket, Any]:
        if faults:
            number = faults.pop(0)
            raise OSError(number, os.strerror(number))
        return accept(listening)

    monkeypatch.setattr(front, "ROOM_SECONDS", 0.01)
    monkeypatch.setattr(socket.socket, "accept", faulty)
    assert worker.ask("/healthz")[0] == 200
    assert faults == []
    assert "a connection cannot be taken: [Errno 24] Too many open files" in caplog.text
    assert "[Errno 103]" not in caplog.text


# --- the loop's server behind it -----------------------------------------------------------------


async def test_bodies_streams_and_web_sockets_are_the_loops() -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def talk(request: web.Request) -> web.WebSocketResponse:
        found = web.WebSocketResponse()
        await found.prepare(request)
        async for message in found:
            await found.send_str(message.data.upper())
        return found

    application = web.Application()
    application.router.add_post("/echo", echo)
    application.router.add_get("/talk", talk)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await FrontSite(runner, "localhost", port, Probes(HealthState(), Metrics())).start()
    try:
        async with ClientSession(f"http://127.0.0.1:{port}") as session:
            body = bytes(range(256)) * 4_096
            async with session.post("/echo", data=body) as answer:
                assert await answer.read() == body
            async with session.ws_connect("/talk") as talking:
                await talking.send_str("abc")
                assert (await talking.receive()).data == "ABC"
            silent = socket.create_connection(("127.0.0.1", port), timeout=LONG)
            # Taken later than that one, so that one is taken as well.
            async with session.get("/healthz") as answer:
                assert answer.status == 200
    finally:
        await runner.cleanup()
    with closing(silent):
        assert silent.recv(1) == b"", "the end closes connections that have asked nothing"


@contextmanager
def taken_port() -> Iterator[int]:
    """A port on which another listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing_behind() -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    with taken_port() as port:
        site = FrontSite(runner, "127.0.0.1", port, Probes(HealthState(), Metrics()))
        with pytest.raises(OSError, match="in use"):
            await site.start()
        await site.stop()
    await runner.cleanup()
    assert not [thread for thread in threading.enumerate() if thread.name == "front"]


async def test_with_tls_or_without_probes_it_is_fausts_server() -> None:
    async def site_of(worker: Worker) -> type[web.BaseSite]:
        runner = worker.web._runner
        await runner.setup()
        try:
            return type(worker.web._create_site())
        finally:
            await runner.cleanup()

    assert await site_of(Worker()) is FrontSite
    assert await site_of(Worker(web_ssl_context=ssl.create_default_context())) is web.TCPSite
    without = Worker()
    without.web.probes = None
    assert await site_of(without) is web.TCPSite
