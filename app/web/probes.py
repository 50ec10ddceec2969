"""The pages for machines: `/metrics`, `/healthz`, `/readyz`, as answers and as an application.

Answers are plain text or JSON with `nosniff`, so text of a user (a symbol, an error's message) is
never read as markup. They may be asked for in any thread.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from app.observe.health import HealthState
from app.observe.metrics import Metrics
from app.observe.requests import measure_requests

OK, UNAVAILABLE = 200, 503
HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
METRICS, ALIVE, READY = PATHS = ("/metrics", "/healthz", "/readyz")
#: For a sample of what the event loop alone may read; it is a few ms late under load.
SAMPLE_SECONDS = 0.025


@dataclass(frozen=True, slots=True)
class Page:
    """An answer: status, body, headers with the type of the body."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probes:
    """What a worker tells of itself."""

    health: HealthState
    metrics: Metrics

    def exposed(self, accept: str) -> Page:
        """All metrics, in the format that this `Accept` header asks for."""
        body, content_type = self.metrics.expose(accept)
        return Page(OK, body, HEADERS | {"Content-Type": content_type})

    def alive(self) -> Page:
        """200 while the event loop runs and the worker has not failed, else 503."""
        return self._report(fine=self.health.is_alive)

    def ready(self) -> Page:
        """200 when the worker and all its partitions are ready, else 503 with the reason."""
        return self._report(fine=self.health.is_ready)

    def _report(self, *, fine: bool) -> Page:
        text = json.dumps(self.health.report(), indent=2) + "\n"
        kind = {"Content-Type": "application/json; charset=utf-8"}
        return Page(OK if fine else UNAVAILABLE, text.encode(), HEADERS | kind)

    def application(self) -> web.Application:
        """The three pages alone, for an event loop of their own; each ends its connection.

        What else might come on it is another loop's (`front.py`).
        """

        async def exposed(request: web.Request) -> web.Response:
            await self.metrics.samples.refresh(SAMPLE_SECONDS)
            return _last(self.exposed(request.headers.get("Accept", "")))

        async def alive(request: web.Request) -> web.Response:
            return _last(self.alive())

        async def ready(request: web.Request) -> web.Response:
            return _last(self.ready())

        found = web.Application()
        measure_requests(found, self.metrics)
        for path, handler in zip(PATHS, (exposed, alive, ready), strict=True):
            found.router.add_get(path, handler)
        return found


def _last(page: Page) -> web.Response:
    response = web.Response(status=page.status, body=page.body, headers=page.headers)
    response.force_close()
    return response
