"""Asking other workers: who owns what, and what is said when the owner does not answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.web.answers import ApiError, refusal
from app.web.bind import free_port
from app.web.cluster import DEAD_SECONDS, FORWARDED, Cluster, NoAnswerError

OWN = "http://127.0.0.1:1"
#: Far more than a question may take, far less than a client's own time-out.
PATIENCE = 10.0


class Clock:
    """Monotonic seconds set by the test."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def cluster(
    owners: Mapping[str, list[int]], clock: Clock | None = None, partitions: int = 3
) -> AsyncIterator[Cluster]:
    made = Cluster(
        OWN,
        lambda: {url: {"ticks": numbers} for url, numbers in owners.items()},
        {"bars": "ticks"},
        partitions,
        clock or Clock(),
    )
    try:
        async with asyncio.timeout(PATIENCE):
            yield made
    finally:
        await made.close()


@asynccontextmanager
async def worker(
    body: Any, status: int = 200, seen: list[web.Request] | None = None, **headers: str
) -> AsyncIterator[str]:
    """A worker that gives one answer; its address."""

    async def answer(request: web.Request) -> web.Response:
        if seen is not None:
            seen.append(request)
        return web.json_response(body, status=status, headers=headers)

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture
def silent() -> Iterator[str]:
    """Address of what takes connections and never answers, as a stopped process."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def reason(error: ApiError) -> dict[str, Any]:
    answer = refusal(error)
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "1"
    found: dict[str, Any] = msgspec.json.decode(answer.body)
    return found


async def test_owners_are_those_of_the_metadata() -> None:
    async with cluster({OWN: [0], "http://127.0.0.1:2": [2]}) as one:
        assert [(each.partition, each.owner) for each in one.places()] == [
            (0, OWN),
            (1, None),
            (2, "http://127.0.0.1:2"),
        ]
        with pytest.raises(ApiError) as caught:
            await one.forward(one.place("bars", 1), "/x", {})
        assert reason(caught.value)["owner"] is None
        assert reason(caught.value)["partition"] == 1


async def test_the_owners_answer_is_handed_on_with_its_status() -> None:
    seen: list[web.Request] = []
    async with (
        worker({"error": "restoring"}, 503, seen) as url,
        cluster({url: [0]}) as one,
    ):
        path = "/api/v1/candles/BTC%2FUSD"
        answer = await one.forward(one.place("bars", 0), path, {"limit": "5", "prefix": "&a=b"})
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "1"
    assert msgspec.json.decode(answer.body) == {"error": "restoring"}
    assert seen[0].raw_path == f"{path}?limit=5&prefix=%26a%3Db"
    assert seen[0].headers[FORWARDED] == "1"


async def test_an_owner_that_never_answers_is_unavailable_and_remembered(silent: str) -> None:
    clock = Clock()
    async with cluster({silent: [0]}, clock) as one:
        place = one.place("bars", 0)
        with pytest.raises(ApiError) as caught:
            await one.forward(place, "/x", {})
        assert reason(caught.value)["reason"] == "the owner does not answer within 0.8 s"
        assert reason(caught.value)["owner"] == silent

        # Not asked again for a second: any question would take the time-out again.
        one._get = None  # type: ignore[method-assign, assignment]
        clock.now = DEAD_SECONDS - 0.01
        with pytest.raises(NoAnswerError, match="does not answer"):
            await one.ask(silent, "/x", {})
        clock.now = DEAD_SECONDS
        with pytest.raises(TypeError, match="not callable"):
            await one.ask(silent, "/x", {})


async def test_a_dead_port_is_unavailable() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with cluster({url: [0]}) as one:
        with pytest.raises(ApiError) as caught:
            await one.forward(one.place("bars", 0), "/x", {})
    assert reason(caught.value)["reason"] == "the owner cannot be reached"


async def test_an_owner_that_comes_back_is_asked_again() -> None:
    clock, port = Clock(), free_port()
    url = f"http://127.0.0.1:{port}"
    async with cluster({url: [0]}, clock) as one:
        with pytest.raises(NoAnswerError):
            await one.ask(url, "/x", {})
        application = web.Application()
        application.router.add_get("/x", _fine)
        async with TestServer(application, port=port):
            clock.now = DEAD_SECONDS
            assert (await one.ask(url, "/x", {})).status == 200


async def _fine(request: web.Request) -> web.Response:
    return web.json_response({})


async def test_redirects_are_not_followed_and_pages_are_no_answers() -> None:
    seen: list[web.Request] = []
    async with worker({}, 200, seen) as elsewhere:
        application = web.Application()
        application.router.add_get("/away", _redirect(elsewhere))
        application.router.add_get("/page", _page)
        async with TestServer(application) as server:
            url = str(server.make_url("")).rstrip("/")
            for path in ("/away", "/page"):
                async with cluster({url: [0]}) as one:
                    with pytest.raises(NoAnswerError, match="something else than our JSON"):
                        await one.ask(url, path, {})
    assert seen == []


def _redirect(to: str) -> Any:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"{to}/x"})

    return answer


async def _page(request: web.Request) -> web.Response:
    return web.Response(text="<h1>hello</h1>", content_type="text/html")


async def test_listings_gather_what_answers(silent: str) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with (
        worker({"rows": [2]}) as fine,
        worker({"error": "no"}, 503) as restoring,
        worker([1]) as strange,
        cluster(
            {OWN: [0], fine: [1], restoring: [2], silent: [3], dead: [4], strange: [5]},
            partitions=7,
        ) as one,
    ):
        found = await one.gather("/rows", {}, lambda: {"rows": [1]})
    assert found == {OWN: {"rows": [1]}, fine: {"rows": [2]}}


async def test_a_worker_without_any_metadata_answers_for_itself() -> None:
    async with cluster({}) as one:
        assert await one.gather("/rows", {}, dict) == {OWN: {}}
