"""influxdb-client, imported only where it is used, and its errors as one line."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from app.exits import OperatorError
from app.notify.messages import clean, clip
from app.sinks.settings import InfluxSettings

INSTALL: Final = "pip install 'candlewick[influx]'"
#: Milliseconds for an answer.
TIMEOUT: Final = 30_000
SAID: Final = 200


class InfluxError(OperatorError):
    """InfluxDB or its package is not as it must be; the message is one line."""


def package() -> Any:
    """Return the package.

    Raises:
        InfluxError: it is not installed.
    """
    try:
        return importlib.import_module("influxdb_client")
    except ImportError as error:
        raise InfluxError(
            f"influxdb-client is not installed ({error}); install it with: {INSTALL}"
        ) from error


@contextmanager
def open_client(settings: InfluxSettings, token: str | None) -> Iterator[Any]:
    """Open a client of the InfluxDB of the settings; errors of it come as one line.

    Raises:
        InfluxError: the package is missing, InfluxDB does not answer, or it refuses.
    """
    made = package().InfluxDBClient
    http = importlib.import_module("urllib3.exceptions")
    url = settings.url
    if url is None:
        raise InfluxError(
            "CANDLEWICK_INFLUX__URL is not set; expected the address of InfluxDB, such as "
            "http://127.0.0.1:8086"
        )
    trusted = None if settings.ca_file is None else str(settings.ca_file)
    with made(url=url, token=token or "", timeout=TIMEOUT, ssl_ca_cert=trusted) as client:
        try:
            yield client
        except package().rest.ApiException as error:
            # Not its text: that has the answer's headers on lines of their own.
            words = clip(clean(str(error.message)[: 4 * SAID]), SAID)
            what = f"InfluxDB at {url} refuses: HTTP {error.status}: {words}"
            if error.status in (401, 403):
                what += "; expected an operator's token, which may make buckets, tasks and tokens"
            raise InfluxError(what) from None
        except (http.HTTPError, OSError) as error:
            words = clip(clean(str(error)[: 4 * SAID]), SAID)
            raise InfluxError(f"InfluxDB at {url} does not answer: {words}") from None


def is_absent(error: Any) -> bool:
    """Whether an error of the client says that something is not there."""
    return bool(error.status == 404)
