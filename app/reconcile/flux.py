"""Flux queries to InfluxDB, whose answers are read as they come.

aiohttp, as for writing: influxdb-client would make an object of each row, in a thread of its own.

Sources: https://docs.influxdata.com/influxdb/v2/api/ (POST /api/v2/query),
https://docs.influxdata.com/influxdb/v2/reference/syntax/annotated-csv/
"""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final, NoReturn, Self

import aiohttp
import msgspec

from app import __version__
from app.notify.messages import clean, clip
from app.notify.secrets import read_secret
from app.run.errors import RunError
from app.settings import PREFIX, SettingsError
from app.sinks.influx_http import trusted
from app.sinks.settings import InfluxSettings

#: A header, and rows below it.
Rows = tuple[list[str], list[list[str]]]
SETUP: Final = "`candlewick influx setup`"
#: Seconds for a connection, and between two pieces of an answer.
CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
#: Bytes that are taken at once; of an answer that is no rows, all that is read.
PIECE_BYTES: Final = 256 * 1024
#: Characters of InfluxDB's own words in one of ours.
SAID: Final = 200
_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 401, 403, 404
_DIALECT: Final = {"annotations": [], "header": True, "delimiter": ","}


class _Said(msgspec.Struct):
    """InfluxDB's own form of an error."""

    message: str = ""


_said = msgspec.json.Decoder(_Said)


class FluxReader:
    """A client of one InfluxDB that reads, with the reader's token.

    Raises:
        SettingsError: address or token are not set, or a file of them cannot be read.
    """

    def __init__(self, settings: InfluxSettings) -> None:
        if settings.url is None:
            raise SettingsError(
                f"{PREFIX}INFLUX__URL is not set; expected the address of InfluxDB, such as "
                "http://127.0.0.1:8086"
            )
        token = read_secret("influx", settings, "reader_token")
        if token is None:
            raise SettingsError(
                f"{PREFIX}INFLUX__READER_TOKEN_FILE is not set; expected the file with the "
                f"reader's token of {SETUP}: the writer's reads nothing"
            )
        self._token = token
        self._organization, self.url = settings.organization, settings.url.rstrip("/")
        self._trusted = trusted(settings)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS
                ),
                connector=aiohttp.TCPConnector(ssl=self._trusted),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={
                    "Authorization": f"Token {self._token}",
                    "User-Agent": f"candlewick/{__version__}",
                    "Accept": "application/csv",
                },
            )
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    async def rows(self, flux: str) -> AsyncIterator[Rows]:
        """Yield the rows of a query as texts, with the header that they have.

        Raises:
            RunError: InfluxDB does not answer, refuses, or fails on the way.
        """
        header: list[str] | None = None
        async for lines in self._lines(flux):
            found: list[list[str]] = []
            for cells in csv.reader(lines):
                if not cells:
                    # A table with other columns follows.
                    if header is not None and found:
                        yield header, found
                    header, found = None, []
                elif header is None:
                    header = cells
                elif "error" in header and "_time" not in header:
                    self._fail(cells[header.index("error")])
                else:
                    found.append(cells)
            if header is not None and found:
                yield header, found

    async def _lines(self, flux: str) -> AsyncIterator[list[str]]:
        """Yield the lines of an answer, without their ends; a text with line feeds is several."""
        body = {"query": flux, "type": "flux", "dialect": _DIALECT}
        rest = b""
        try:
            async with self._session.post(
                f"{self.url}/api/v2/query",
                params={"org": self._organization},
                json=body,
                allow_redirects=False,
            ) as response:
                if response.status != _OK:
                    self._refuse(response.status, await response.content.read(PIECE_BYTES))
                async for piece in response.content.iter_chunked(PIECE_BYTES):
                    *whole, rest = (rest + piece).split(b"\n")
                    yield [line.decode(errors="replace").removesuffix("\r") for line in whole]
        except TimeoutError:
            self._fail(f"no answer within {READ_SECONDS:g} s")
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            self._fail(f"TLS fails: {_told(str(error))}; check {PREFIX}INFLUX__CA_FILE")
        except (aiohttp.ClientError, OSError) as error:
            self._fail(_told(str(error)) or type(error).__name__)
        if rest:
            yield [rest.decode(errors="replace").removesuffix("\r")]

    def _refuse(self, status: int, body: bytes) -> NoReturn:
        try:
            words = _told(_said.decode(body).message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            words = ""
        todo = {
            _UNAUTHORIZED: f"set {PREFIX}INFLUX__READER_TOKEN_FILE to the reader's token of "
            f"{SETUP}",
            _FORBIDDEN: f"the token may not read the buckets; take the reader's of {SETUP}",
            _NOT_FOUND: f"a bucket or the organization {self._organization} is not there, or not "
            f"for this token; take the reader's of {SETUP}",
        }.get(status)
        self._fail(": ".join(filter(None, (f"HTTP {status}", words, todo))))

    def _fail(self, text: str) -> NoReturn:
        raise RunError(f"InfluxDB at {self.url}: {_told(text, 3 * SAID)}") from None


def _told(text: str, limit: int = SAID) -> str:
    """Return words of InfluxDB as a part of a line of ours."""
    return clip(clean(text[: 4 * limit]), limit)
