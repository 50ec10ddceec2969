"""Pages of a worker beside Faust's own: those for machines (`probes.py`), and those for people."""

from __future__ import annotations

import faust
from faust.web import Request, Response, View

from app.observe.health import HealthState
from app.observe.metrics import Metrics
from app.web.driver import FrontWeb
from app.web.html import register_html
from app.web.probes import ALIVE, METRICS, READY, Page, Probes


def register(app: faust.App, health: HealthState, metrics: Metrics) -> None:
    """Add the pages to Faust's web application; call it once, before the worker starts.

    Those for machines are here as well, for connections that the front leaves to this server.
    """
    register_html(app)
    probes = Probes(health, metrics)
    if isinstance(app.web, FrontWeb):
        app.web.probes = probes

    @app.page(METRICS, name="candlewick:metrics")
    class MetricsPage(View):
        """The metrics in Prometheus' text format."""

        async def get(self, request: Request) -> Response:
            return _response(self, probes.exposed(request.headers.get("Accept", "")))

    @app.page(ALIVE, name="candlewick:health")
    class HealthPage(View):
        """200 while the event loop runs and the worker has not failed."""

        async def get(self, request: Request) -> Response:
            return _response(self, probes.alive())

    @app.page(READY, name="candlewick:ready")
    class ReadyPage(View):
        """200 when the worker and all its partitions are ready, else 503 with the reason."""

        async def get(self, request: Request) -> Response:
            return _response(self, probes.ready())


def _response(view: View, page: Page) -> Response:
    return view.bytes(page.body, status=page.status, headers=page.headers)
