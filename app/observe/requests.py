"""Counts and times the requests of Faust's web server, ours and Faust's own pages alike.

A route is named by its template (`/table/{name}/{key}/`), never by the path that was asked for:
a symbol in a path makes no series of its own.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from app.observe.metrics import Metrics

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: The route of a path that there is no page for.
UNKNOWN = "unknown"
SERVER_ERROR = 500


def measure_requests(server: web.Application, metrics: Metrics) -> None:
    """Have every request counted; call it once, before the server starts."""

    @web.middleware
    async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        status = SERVER_ERROR
        connection = False
        try:
            response = await handler(request)
            status = response.status
            connection = isinstance(response, web.WebSocketResponse)
            return response
        except web.HTTPException as answer:
            status = answer.status
            raise
        finally:
            # A connection that stays open is not a request that took long.
            seconds = None if connection else time.perf_counter() - began
            metrics.request_answered(_template(request), status, seconds)

    server.middlewares.append(measure)


def _template(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return UNKNOWN if resource is None else resource.canonical
