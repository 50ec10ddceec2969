"""Pages of a worker beside Faust's own: `/metrics`, `/healthz`, `/readyz`, and those for people.

All answers here are plain text or JSON with `nosniff`, so text of a user (a symbol, an error's
message) is never read as markup.
"""

from __future__ import annotations

import json

import faust
from faust.web import Request, Response, View

from app.observe.health import HealthState
from app.observe.metrics import Metrics
from app.web.html import register_html

OK, UNAVAILABLE = 200, 503
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


def register(app: faust.App, health: HealthState, metrics: Metrics) -> None:
    """Add the pages to Faust's web application; call it once, before the worker starts."""
    register_html(app)

    @app.page("/metrics", name="candlewick:metrics")
    class MetricsPage(View):
        """The metrics in Prometheus' text format."""

        async def get(self, request: Request) -> Response:
            body, content_type = metrics.expose(request.headers.get("Accept", ""))
            return self.bytes(body, headers=_HEADERS | {"Content-Type": content_type})

    @app.page("/healthz", name="candlewick:health")
    class HealthPage(View):
        """200 while the event loop runs (it answers) and the worker has not failed."""

        async def get(self, request: Request) -> Response:
            return _report(self, health, fine=health.is_alive)

    @app.page("/readyz", name="candlewick:ready")
    class ReadyPage(View):
        """200 when the worker and all its partitions are ready, else 503 with the reason."""

        async def get(self, request: Request) -> Response:
            return _report(self, health, fine=health.is_ready)


def _report(view: View, health: HealthState, *, fine: bool) -> Response:
    text = json.dumps(health.report(), indent=2) + "\n"
    return view.text(
        text,
        content_type="application/json",
        status=OK if fine else UNAVAILABLE,
        headers=_HEADERS,
    )
