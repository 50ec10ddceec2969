"""Attempts, waits, breaker and refusals, against a real HTTP server."""

from __future__ import annotations

import asyncio
import logging
from email.utils import formatdate
from typing import Any

import pytest

from app.notify.breaker import Breaker
from app.notify.deliverer import Deliverer, Outcome
from app.notify.http import Poster
from app.notify.settings import NotifySettings
from app.notify.signing import HEADER, sign, verify
from app.notify.webhooks import IDEMPOTENCY, WebhookChannel
from tests.notify.notes import NOW, SECOND, Greatest, Time, note, patience
from tests.notify.servers import OK, Answer, HttpServer, closed_port

SECRET = "s3cret"
FAULT: Answer = (500, {}, "broken")


class Delivery:
    """A deliverer to a web hook, with a clock of its own."""

    def __init__(self, url: str, settings: NotifySettings, wall: float = NOW / SECOND) -> None:
        self.time = Time()
        poster = Poster(settings, now=lambda: wall)
        self.channel = WebhookChannel(url, SECRET, "test", poster, now=lambda: wall)
        self.deliverer = Deliverer(
            self.channel,
            settings,
            sleep=self.time.sleep,
            monotonic=self.time.monotonic,
            chance=Greatest(),
        )

    async def __call__(self, **more: Any) -> Outcome:
        return await self.deliverer.deliver(note(**more))

    async def __aenter__(self) -> Delivery:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.channel.close()


async def test_a_delivery_is_one_request_whose_signature_and_key_a_receiver_can_check(
    http: HttpServer,
) -> None:
    async with Delivery(http.url, patience()) as deliver:
        assert await deliver() == Outcome("delivered", attempts=1)
    (request,) = http.requests
    header = request.headers[HEADER]
    assert verify(SECRET, header, request.body, NOW / SECOND)
    assert not verify(SECRET, header, request.body + b" ", NOW / SECOND)
    assert not verify("another", header, request.body, NOW / SECOND)
    assert not verify(SECRET, header, request.body, NOW / SECOND + 301)
    assert not verify(SECRET, header.replace("v1", "v0"), request.body, NOW / SECOND)
    assert request.headers[IDEMPOTENCY] == note().id
    assert b'"deployment":"test"' in request.body


def test_a_signature_is_the_one_that_openssl_makes() -> None:
    # printf '1700000000.{}' | openssl dgst -sha256 -hmac s3cret
    expected = "97926816e98fbb41ccb1673225ff29a2f35369099990e1b1561651e7bd097ebf"
    assert sign(SECRET, 1_700_000_000, b"{}") == f"t=1700000000,v1={expected}"


async def test_a_fault_of_the_server_is_tried_again_with_the_same_key(http: HttpServer) -> None:
    http.answers = [FAULT, (503, {}, ""), OK]
    async with Delivery(http.url, patience()) as deliver:
        assert await deliver() == Outcome("delivered", attempts=3)
        assert deliver.time.slept == [0.001, 0.002]
    assert len({request.headers[IDEMPOTENCY] for request in http.requests}) == 1
    assert len({request.body for request in http.requests}) == 1


async def test_waits_are_doubled_up_to_the_greatest_and_have_full_jitter(http: HttpServer) -> None:
    http.answers = [FAULT]
    settings = patience(first_backoff="1s", max_backoff="5s", attempts=6, breaker_failures=100)
    async with Delivery(http.url, settings) as deliver:
        await deliver()
        assert deliver.time.slept == [1.0, 2.0, 4.0, 5.0, 5.0]
        low = Deliverer(
            deliver.channel, settings, sleep=deliver.time.sleep, monotonic=deliver.time.monotonic
        )
        deliver.time.slept.clear()
        await low.deliver(note())
    bounds = [1.0, 2.0, 4.0, 5.0, 5.0]
    assert all(0 <= wait <= bound for wait, bound in zip(deliver.time.slept, bounds, strict=True))
    assert deliver.time.slept != bounds


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured_where_it_is_longer_than_our_own_wait(
    http: HttpServer, status: int
) -> None:
    date = formatdate(NOW / SECOND + 2, usegmt=True)
    http.answers = [
        (status, {"Retry-After": "1"}, ""),
        (status, {"Retry-After": date}, ""),
        (status, {"Retry-After": "soon"}, ""),
        OK,
    ]
    async with Delivery(http.url, patience()) as deliver:
        assert (await deliver()).result == "delivered"
        assert deliver.time.slept == [1.0, 2.0, 0.004]


async def test_a_long_retry_after_is_not_sat_through_but_handed_to_the_loop(
    http: HttpServer,
) -> None:
    http.answers = [(429, {"Retry-After": "120"}, "slow down")]
    async with Delivery(http.url, patience()) as deliver:
        outcome = await deliver()
        assert outcome == Outcome("unavailable", "HTTP 429: slow down", 1, 120.0)
        assert deliver.time.slept == []
        assert deliver.deliverer.breaker.state == "closed"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 301, 307])
async def test_a_refusal_is_for_good_and_no_redirect_is_followed(
    http: HttpServer, status: int
) -> None:
    http.answers = [(status, {"Location": "/elsewhere"} if status < 400 else {}, "no\r\nsuch")]
    async with Delivery(http.url, patience()) as deliver:
        assert await deliver() == Outcome("dead", f"HTTP {status}: no  such", 1)
    assert len(http.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 500, 502, 599])
async def test_what_may_pass_is_not_for_good(http: HttpServer, status: int) -> None:
    http.answers = [(status, {}, "")]
    async with Delivery(http.url, patience(attempts=2)) as deliver:
        outcome = await deliver()
    assert (outcome.result, outcome.attempts) == ("unavailable", 2)
    assert outcome.retry_in > 0


async def test_a_server_that_does_not_answer_is_given_up_in_time(http: HttpServer) -> None:
    http.gate.clear()
    async with Delivery(http.url, patience(timeout="100ms", attempts=2)) as deliver:
        outcome = await deliver()
        assert (outcome.result, outcome.reason) == ("unavailable", "no answer in time")
        assert len(http.requests) == 2


async def test_a_refused_connection_is_transient_and_its_reason_holds_no_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = f"http://127.0.0.1:{closed_port()}/hook/secret-part"
    caplog.set_level(logging.DEBUG)
    async with Delivery(url, patience(attempts=2)) as deliver:
        outcome = await deliver()
    assert (outcome.result, outcome.attempts) == ("unavailable", 2)
    assert "ClientConnectorError" in outcome.reason
    assert "secret-part" not in outcome.reason + caplog.text
    assert SECRET not in caplog.text


async def test_the_answer_of_a_refusal_is_read_no_further_than_its_bound(http: HttpServer) -> None:
    http.answers = [(400, {}, "x" * 1_000_000)]
    async with Delivery(http.url, patience()) as deliver:
        assert len((await deliver()).reason) < 250


async def test_the_breaker_opens_lets_nothing_through_and_closes_after_one_success(
    http: HttpServer,
) -> None:
    http.answers = [FAULT]
    settings = patience(attempts=1, breaker_failures=3, breaker_rest="30s")
    async with Delivery(http.url, settings) as deliver:
        for _ in range(3):
            assert (await deliver()).attempts == 1
        breaker = deliver.deliverer.breaker
        assert breaker.state == "open"
        assert await deliver() == Outcome("unavailable", "the breaker is open", 0, 30.0)
        assert len(http.requests) == 3
        deliver.time.now += 30
        assert breaker.state == "half_open"
        assert (await deliver()).attempts == 1
        assert (breaker.state, breaker.remaining) == ("open", 30.0)
        deliver.time.now += 30
        http.answers = [OK]
        assert (await deliver()).result == "delivered"
        assert breaker.state == "closed"
        http.answers = [FAULT]
        await deliver()
        assert breaker.state == "closed"


async def test_refusals_say_that_the_channel_works(http: HttpServer) -> None:
    http.answers = [FAULT, FAULT, (400, {}, ""), FAULT, FAULT]
    async with Delivery(http.url, patience(attempts=1, breaker_failures=3)) as deliver:
        for _ in range(5):
            await deliver()
        assert deliver.deliverer.breaker.state == "closed"


async def test_a_cancelled_try_leaves_the_half_open_breaker_to_the_next_one(
    http: HttpServer,
) -> None:
    http.answers = [FAULT]
    settings = patience(attempts=1, breaker_failures=1, breaker_rest="30s")
    async with Delivery(http.url, settings) as deliver:
        await deliver()
        deliver.time.now += 30
        http.gate.clear()
        task = asyncio.create_task(deliver())
        for _ in range(2):
            await http.arrived.get()
        # One may try at a time.
        assert (await deliver()).attempts == 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        http.gate.set()
        http.answers = [OK]
        assert (await deliver()).result == "delivered"


def test_a_breaker_that_is_open_is_not_opened_for_longer_by_what_comes_back_late() -> None:
    time = Time()
    breaker = Breaker(1, 10.0, time.monotonic)
    breaker.failed()
    time.now += 9
    breaker.failed()
    assert breaker.remaining == 1.0


async def test_a_dry_run_sends_nothing_and_says_what_it_would(
    http: HttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Delivery(http.url, patience(dry_run=True)) as deliver:
        outcome = await deliver()
    assert (outcome.result, outcome.attempts, http.requests) == ("dry_run", 0, [])
    assert "SPY moves" in outcome.reason
    assert "SPY moves" in caplog.text
    assert "secret-part" not in caplog.text


async def test_what_is_for_other_channels_or_over_where_nobody_asked_is_skipped(
    http: HttpServer,
) -> None:
    async with Delivery(http.url, patience(send_resolved=False)) as deliver:
        assert await deliver(channels=("slack",)) == Outcome("skipped")
        assert await deliver(action="resolve") == Outcome("skipped")
        assert (await deliver()).result == "delivered"
    assert len(http.requests) == 1
