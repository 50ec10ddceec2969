"""Put the JSON API on Faust's web server."""

from __future__ import annotations

from typing import Any

import faust
from faust.web import Request, Response, View

from app.observe.health import HealthState
from app.sinks.latest import LatestCache
from app.sinks.settings import chosen_sinks
from app.streaming.engine import Engine
from app.views.follower import Views
from app.web.api import Api, Handler
from app.web.cluster import Cluster
from app.web.latest import LatestAnswers
from app.web.local import Local


def register_api(app: faust.App, engine: Engine, views: Views, health: HealthState) -> Api:
    """Add the API to Faust's web application; call it once, before the worker starts."""
    own = str(app.conf.canonical_url)
    cluster = Cluster(
        own,
        # Not the tables' metadata: agents behind the bars have none.
        app.router.external_topics_metadata,
        {stage.agent: stage.source for stage in engine.stages.values()},
        engine.settings.topics.partitions,
    )
    api = Api(engine.settings, Local(own, lambda: app.tables, engine, views, health), cluster)
    cache = _cache(engine)
    latest = LatestAnswers(api, cache)
    for path, handler in (api.routes | latest.routes).items():
        _add(app, api, path, handler)

    async def close(_: Any) -> None:
        await cluster.close()
        if cache is not None:
            await cache.close()

    web: Any = app.web
    web.web_app.on_cleanup.append(close)
    return api


def _cache(engine: Engine) -> LatestCache | None:
    """Latest values in Redis, where that is one of the sinks."""
    settings = engine.settings
    groups = (settings.sinks, settings.influx, settings.postgres, settings.redis)
    if "redis" not in chosen_sinks(*groups):
        return None
    return LatestCache(settings, engine.metrics.registry)


def _add(app: faust.App, api: Api, path: str, handler: Handler) -> None:
    @app.page(path, name=f"candlewick:api:{handler.__name__}")
    class ApiPage(View):
        """An answer in JSON."""

        async def get(self, request: Request, **names: str) -> Response:
            found = await api.respond(handler, request, names)
            return self.bytes(found.body, status=found.status, headers=found.headers)
