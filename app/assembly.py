"""The Faust application of a worker: Faust with our transport, tables and engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import faust

from app.admin import ensure_topics
from app.connection import bootstrap_servers
from app.identity import group_id, worker_folder
from app.observe.health import HealthState
from app.observe.metrics import Metrics
from app.observe.worker import CandlewickWorker
from app.security import client_security
from app.settings import Settings
from app.streaming import packing, slim
from app.streaming.compression import use_fast_lz4
from app.streaming.engine import Engine
from app.streaming.protocols import Stage
from app.streaming.tables import StateTableManager
from app.streaming.transport import SCHEME, faust_credentials, register_transport
from app.streaming.tuning import quiet_lost_futures, release_memory, tune_process
from app.topics import ticks_topic
from app.views.follower import Views
from app.web.api_routes import register_api
from app.web.bind import warn_if_open, web_settings
from app.web.pages import register

logger = logging.getLogger(__name__)

_SECOND = 1_000_000_000
#: Seconds without a poll after which a consumer leaves its group; it never rejoins, so never.
NEVER = 86_400.0 * 20
#: Between two times that free memory is given back.
RELEASE_SECONDS = 20.0


class CandlewickApp(faust.App):
    """A Faust app that has an engine."""

    engine: Engine

    async def on_first_start(self) -> None:
        """Make and check the topics before anything subscribes to them."""
        # Faust makes its own folder, but not the ones above it.
        worker_folder(self.engine.settings).mkdir(parents=True, exist_ok=True)
        await super().on_first_start()
        if self.conf.web_enabled:
            warn_if_open(self.conf.web_bind, self.conf.web_port)
        await ensure_topics(self.engine.settings)
        slim_fetch = slim.install()
        packing.install()
        use_fast_lz4()
        for stage in self.engine.stages.values():
            self.engine.metrics.fetch_path(stage.agent, slim=slim_fetch)
        tune_process()
        self.add_future(self._release_memory())
        quiet_lost_futures(asyncio.get_running_loop())

    async def _release_memory(self) -> None:
        while not self.should_stop:
            await self.sleep(RELEASE_SECONDS)
            if not await asyncio.to_thread(release_memory):
                return


def make_app(settings: Settings, stages: Sequence[Stage], **options: Any) -> CandlewickApp:
    """Build the application of one worker.

    Args:
        options: further settings of `faust.App`.

    Raises:
        BrokerUnreachableError: no broker is configured.
        SettingsError: the web server would listen where it must not, or a file of `broker` is not
            what it should be.
    """
    register_transport()
    metrics, health = Metrics(), HealthState()
    engine = Engine(settings, stages, health, metrics)
    broker = settings.broker
    for stage in stages:
        slim.register(stage.source, packed=stage.source == ticks_topic(settings))
        slim.register(stage.changelog, keyed=True)
    app = CandlewickApp(
        group_id(settings),
        broker=f"{SCHEME}://{bootstrap_servers(settings)}",
        broker_credentials=faust_credentials(client_security(settings)),
        TableManager=StateTableManager,
        Worker=CandlewickWorker,
        autodiscover=False,
        datadir=worker_folder(settings) / "faust",
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=broker.fetch_max_bytes,
        broker_session_timeout=broker.session_timeout / _SECOND,
        broker_heartbeat_interval=broker.heartbeat_interval / _SECOND,
        broker_request_timeout=max(90.0, broker.session_timeout / _SECOND),
        broker_max_poll_interval=NEVER,
        broker_check_crcs=broker.check_crcs,
        stream_wait_empty=False,
        stream_buffer_maxsize=8,
        worker_redirect_stdouts=False,
        **web_settings(settings),
        **options,
    )
    app.engine = engine
    engine.attach(app)
    register(app, health, metrics)
    views = Views(settings, engine)
    engine.followers.append(views)
    register_api(app, engine, views, health)

    async def revoked(*arguments: Any, **options: Any) -> None:
        await engine.on_revoked()

    app.on_partitions_revoked.connect(revoked)

    return app
