"""Faust's web server behind a front of our own, so that probes are answered while it is busy.

Named by `bind.py` in Faust's setting `web`. The hook is the site that Faust makes for its runner.
"""

from __future__ import annotations

from typing import Any

from aiohttp.web import BaseSite
from faust.types import AppT
from faust.web.drivers.aiohttp import Web

from app.web.front import FrontSite
from app.web.probes import Probes


class FrontWeb(Web):
    """Faust's web server; the pages of `probes` are served in a thread of their own.

    Without them, and with TLS, where nobody can look into a connection, it is Faust's as it is.
    """

    probes: Probes | None = None

    def __init__(self, app: AppT, **options: Any) -> None:
        super().__init__(app, **options)
        self._transport_handlers = {**self._transport_handlers, "tcp": self._new_transport_front}

    def _new_transport_front(self) -> BaseSite:
        conf = self.app.conf
        if self.probes is None or conf.web_ssl_context is not None:
            return self._new_transport_tcp()
        return FrontSite(self._runner, conf.web_bind, conf.web_port, self.probes)
