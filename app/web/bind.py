"""Where Faust's web server listens: on loopback, really.

`web_host` is only the name in Faust's canonical address; what it listens on is `web_bind`, whose
default is 0.0.0.0 (faust 0.15.3, types/settings/settings.py). Both are set here, and
`tests/web` looks at the sockets of a running worker.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from app.exits import RefusalError
from app.settings import PREFIX, Settings, SettingsError


class PortInUseError(RefusalError):
    """The web server's port belongs to another process."""


def require_loopback(host: str) -> str:
    """Return the host if only this machine reaches it.

    Raises:
        SettingsError: it is another address; serving those needs authentication, which
            Candlewick does not have yet.
    """
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise SettingsError(
            f"{PREFIX}WEB__HOST={host!r}: expected a loopback address such as 127.0.0.1; other "
            "machines may reach a worker only through a proxy that authenticates them"
        )
    return host


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that was free a moment ago."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def check_port(host: str, port: int) -> None:
    """Make sure that a server can listen there.

    Raises:
        PortInUseError: another process does.
        SettingsError: the host is not a loopback address.
    """
    require_loopback(host)
    with socket.socket(_family(host)) as probe:
        # As aiohttp's server does: a port whose last connections are closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUseError(
                f"the web port {port} on {host} cannot be used: {error.strerror}; set "
                f"{PREFIX}WEB__PORT to a free one (0: any), or end what listens there"
            ) from error


def web_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that make `faust.App` serve on loopback alone.

    Raises:
        SettingsError: `web.host` is not a loopback address.
    """
    host = require_loopback(settings.web.host)
    # Port 0 is resolved here: Faust's router hands the configured number to other workers.
    port = settings.web.port or free_port(host)
    return {
        "web_enabled": settings.web.enabled,
        "web_bind": host,
        "web_host": host,
        "web_port": port,
        "canonical_url": f"http://{_in_url(host)}:{port}",
        "web_tables_enabled": True,
        "web_router_enabled": True,
        "web_stats_enabled": False,
        "web_graph_enabled": False,
        "web_metrics_enabled": False,
    }


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
