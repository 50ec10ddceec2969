"""Where Faust's web server listens: on loopback, really, unless a setting opens it by its name.

`web_host` is only the name in Faust's canonical address; what it listens on is `web_bind`, whose
default is 0.0.0.0 (faust 0.15.3, types/settings/settings.py). Both are set here, and
`tests/web` looks at the sockets of a running worker. The canonical address is what Faust's router
tells the other workers to call, so a worker that listens on every address needs a name besides.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
from typing import Any

from app.exits import RefusalError
from app.setting_groups import WebSettings
from app.settings import PREFIX, Settings, SettingsError

logger = logging.getLogger(__name__)

#: Of Faust's setting `web`: our driver (`driver.py`).
SCHEME = "candlewick"
OPEN = f"{PREFIX}WEB__OPEN_WITHOUT_AUTHENTICATION"


class PortInUseError(RefusalError):
    """The web server's port belongs to another process."""


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches the host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_loopback(host: str, *, opened: bool = False) -> str:
    """Return the host if only this machine reaches it, or if the pages are `opened` to others.

    Raises:
        SettingsError: it is another address; serving those needs authentication, which
            Candlewick does not have yet, or the setting that says that it is done without.
    """
    if not opened and not is_loopback(host):
        raise SettingsError(
            f"{PREFIX}WEB__HOST={host!r}: expected a loopback address such as 127.0.0.1; other "
            "machines may reach a worker only through a proxy that authenticates them, or, in a "
            f"container or a network of its own, with {OPEN}=true"
        )
    return host


def warn_if_open(host: str, port: int) -> None:
    """Log a warning where the pages are served to other machines."""
    if not is_loopback(host):
        logger.warning(
            "%s=true: whoever reaches port %d on %s reads all pages, without authentication",
            OPEN, port, host,
        )  # fmt: skip


def advertised_host(web: WebSettings) -> str:
    """Return the name or address by which other workers call this one."""
    if web.advertised_host is not None:
        return web.advertised_host
    try:
        everywhere = ipaddress.ip_address(web.host).is_unspecified
    except ValueError:
        everywhere = False
    return socket.gethostname() if everywhere else web.host


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that was free a moment ago."""
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def check_port(host: str, port: int, *, opened: bool = False) -> None:
    """Make sure that a server can, and may, listen there; see `require_loopback` for `opened`.

    Raises:
        PortInUseError: another process does.
        SettingsError: the host is not a loopback address, or none of this machine.
    """
    require_loopback(host, opened=opened)
    with socket.socket(_family(host)) as probe:
        # As aiohttp's server does: a port whose last connections are closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
                raise SettingsError(
                    f"{PREFIX}WEB__HOST={host!r}: {error.strerror}; expected an address of this "
                    "machine"
                ) from error
            raise PortInUseError(
                f"the web port {port} on {host} cannot be used: {error.strerror}; set "
                f"{PREFIX}WEB__PORT to a free one (0: any), or end what listens there"
            ) from error


def web_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that make `faust.App` serve on `web.host`, which is loopback as a rule.

    Raises:
        SettingsError: it is not, and `web.open_without_authentication` is not set.
    """
    host = require_loopback(settings.web.host, opened=settings.web.open_without_authentication)
    # Port 0 is resolved here: Faust's router hands the configured number to other workers.
    port = settings.web.port or free_port(host)
    called = advertised_host(settings.web)
    # Here, for commands that start no worker are spared Faust.
    from faust.web.drivers import DRIVERS

    DRIVERS.aliases[SCHEME] = "app.web.driver:FrontWeb"
    return {
        "web": f"{SCHEME}://",
        "web_enabled": settings.web.enabled,
        "web_bind": host,
        "web_host": called,
        "web_port": port,
        "canonical_url": f"http://{_in_url(called)}:{port}",
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
