"""Lines to InfluxDB's write API, and what its answers mean.

aiohttp and not influxdb-client: that wraps each write in retries, batches and threads of its own,
and this sink has all of them in its loop. Its extra is needed to set InfluxDB up, not to write.

| answer | means |
|---|---|
| 204 | all lines are written, and on InfluxDB's disk |
| 400, 413, 422 | a `Refusal`: some of the lines, or the request is too large |
| 401, 403, 404 | `SinkRefusesError`: token, rights, bucket or organization |
| 408, 425, 429, 5xx, none | `SinkUnavailableError`, with Retry-After where there is one |
| any other | `SinkRefusesError`: that is not InfluxDB |

Source: https://docs.influxdata.com/influxdb/v2/api/ (POST /api/v2/write)
"""

from __future__ import annotations

import io
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple, NoReturn

import aiohttp
import msgspec

from app import __version__
from app.notify.messages import clean, clip
from app.notify.secrets import read_secret
from app.settings import PREFIX, SettingsError
from app.sinks.driver import SinkRefusesError, SinkUnavailableError
from app.sinks.settings import InfluxSettings

#: Bytes of an answer that are read, and more for each byte of the request: it may repeat each line,
#: with words of its own, and JSON writes a character as six.
ANSWER_BYTES: Final = 1024 * 1024
ANSWER_FACTOR: Final = 8
#: Characters of InfluxDB's own words in one of ours.
SAID: Final = 200
SETUP: Final = "`candlewick influx setup`"
_SECOND: Final = 1e9
_WRITTEN, _BAD_REQUEST, _TOO_LARGE, _UNPROCESSABLE = 204, 400, 413, 422
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_AGAIN: Final = frozenset({408, 425, 429})
_LIMITED: Final = 429
#: A shard that is pending deletion is one that the retention has let go a moment ago.
_RETENTION = re.compile(r"retention policy|pending deletion", re.IGNORECASE)
_DROPPED = re.compile(r"\bdropped[= ](\d+)")
_COUNT = re.compile(r" dropped=\d+")
_QUOTED = re.compile(r"'.*'", re.DOTALL)
#: What goes on after these may repeat a point.
_POINTS = re.compile(r"\b(?:oldest|newest|first|last) point\b.*", re.DOTALL | re.IGNORECASE)


class _Said(msgspec.Struct):
    """InfluxDB's own form of an error."""

    code: str = ""
    message: str = ""


_said = msgspec.json.Decoder(_Said)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request of which not all lines are written.

    Attributes:
        message: InfluxDB's; it may repeat lines.
        too_old: some are older than the bucket's retention, and all others are written.
        dropped: how many are not written, of one shard where it is not for their age; None where it
            does not say.
        whole: it is the request that is refused, not some of its lines.
    """

    message: str
    too_old: bool = False
    dropped: int | None = None
    whole: bool = False

    def without_count(self) -> Refusal:
        """Return it without the number of lines: what it says about each of them."""
        return Refusal(_COUNT.sub("", self.message), self.too_old)

    def reason(self, line: str) -> str:
        """Return what it says about a line that was sent alone, without the line's text."""
        text = self.message.replace(f"'{line}'", "...").replace(line, "...")
        if text == self.message:
            text = _QUOTED.sub("...", text)
        text = text.replace(line.partition(" ")[0], "...")
        return f"InfluxDB: {_told(_POINTS.sub('', text))}"


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class InfluxHttp:
    """A client of one InfluxDB.

    Args:
        timeout: ns, of a request.
        now: the wall clock in seconds, for a Retry-After that is a date.

    Raises:
        SettingsError: no address is set.
    """

    def __init__(
        self, settings: InfluxSettings, timeout: int, now: Callable[[], float] = time.time
    ) -> None:
        if settings.url is None:
            raise SettingsError(
                f"{PREFIX}INFLUX__URL is not set; expected the address of InfluxDB, such as "
                "http://127.0.0.1:8086"
            )
        self._settings, self._now = settings, now
        self.url = settings.url.rstrip("/")
        self._timeout = timeout / _SECOND
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the connections' pool, with the token as it is now.

        Raises:
            SinkRefusesError: there is no token, or it or the certificates cannot be read.
        """
        await self.close()
        token, trusted = self._token(), self._trusted()
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            connector=aiohttp.TCPConnector(ssl=trusted, limit=self._settings.requests + 1),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "Authorization": f"Token {token}",
                "User-Agent": f"candlewick/{__version__}",
                "Content-Type": "text/plain; charset=utf-8",
            },
        )

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def write(self, bucket: str, body: bytes) -> Refusal | None:
        """Write lines; None: all of them are written.

        Raises:
            SinkUnavailableError, SinkRefusesError: as the module says.
        """
        answer = await self._write(bucket, body)
        if answer.status == _WRITTEN:
            return None
        said = _read(answer.body)
        if answer.status == _TOO_LARGE:
            return Refusal("the request is too large (HTTP 413)", whole=True)
        if answer.status in (_BAD_REQUEST, _UNPROCESSABLE) and said.code:
            if answer.status == _BAD_REQUEST:
                # It repeats lines, with whatever text is in them.
                return Refusal(said.message)
            old = bool(_RETENTION.search(said.message))
            # Names of series and fields stand before the number.
            counts = _DROPPED.findall(said.message)
            return Refusal(said.message, old, int(counts[-1]) if counts else None)
        self._refuse(answer, said, bucket)

    async def probe(self, bucket: str) -> None:
        """See that the bucket is there and can be written, by a request without lines.

        Raises:
            SinkUnavailableError, SinkRefusesError: as the module says.
        """
        answer = await self._write(bucket, b"")
        said = _read(answer.body)
        # It asks for lines only after token, organization, bucket and rights.
        if answer.status != _WRITTEN and not (answer.status == _BAD_REQUEST and said.code):
            self._refuse(answer, said, bucket)

    async def version(self) -> str:
        """Return InfluxDB's version, empty where it does not say.

        Raises:
            SinkUnavailableError, SinkRefusesError: as the module says.
        """
        answer = await self._ask("GET", "/ping", {}, b"")
        if answer.status not in (200, 204):
            self._refuse(answer, _read(answer.body), None)
        return clip(clean(answer.headers.get("X-Influxdb-Version", "")), 40)

    async def _write(self, bucket: str, body: bytes) -> _Answer:
        query = {"org": self._settings.organization, "bucket": bucket, "precision": "ns"}
        return await self._ask("POST", "/api/v2/write", query, body)

    async def _ask(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> _Answer:
        if self._session is None:
            await self.open()
        assert self._session is not None
        try:
            async with self._session.request(
                method,
                self.url + path,
                params=query,
                # Sent in pieces: bytes above 1 MiB would hold up the event loop.
                data=io.BytesIO(body) if method == "POST" else None,
                allow_redirects=False,
            ) as response:
                limit = ANSWER_BYTES + ANSWER_FACTOR * len(body)
                return _Answer(response.status, response.headers, await _body(response, limit))
        except TimeoutError:
            raise SinkUnavailableError(
                f"InfluxDB at {self.url}: no answer within {self._timeout:g} s"
            ) from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
            raise SinkRefusesError(
                f"InfluxDB at {self.url}: TLS fails: {_told(str(error))}; check "
                f"{PREFIX}INFLUX__CA_FILE"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise SinkUnavailableError(f"InfluxDB at {self.url}: {_kind(error)}") from None

    def _refuse(self, answer: _Answer, said: _Said, bucket: str | None) -> NoReturn:
        """Raise what an answer means that is about no line."""
        status = answer.status
        words = _told(said.message)
        head = f"InfluxDB at {self.url}: HTTP {status}" + (f": {words}" if words else "")
        if status >= 500 or status in _AGAIN:
            asked = retry_after(answer.headers.get("Retry-After"), self._now())
            raise SinkUnavailableError(head, retry_after=asked, limited=status == _LIMITED)
        organization = self._settings.organization
        todo = {
            _UNAUTHORIZED: f"set {PREFIX}INFLUX__TOKEN_FILE to the writer's token of {SETUP}",
            _FORBIDDEN: f"the token may not write to {bucket}; take the writer's of {SETUP}",
            _NOT_FOUND: f"bucket {bucket} or organization {organization} is not there, or not for "
            f"this token; make it with {SETUP}",
        }.get(status, f"no answer of InfluxDB 2; check {PREFIX}INFLUX__URL")
        raise SinkRefusesError(f"{head}: {todo}")

    def _token(self) -> str:
        try:
            token = read_secret("influx", self._settings, "token")
        except SettingsError as error:
            raise SinkRefusesError(str(error)) from None
        if token is None:
            raise SinkRefusesError(
                f"{PREFIX}INFLUX__TOKEN_FILE is not set; expected the file with the writer's token "
                f"of {SETUP}"
            )
        return token

    def _trusted(self) -> ssl.SSLContext | bool:
        try:
            return trusted(self._settings)
        except SettingsError as error:
            raise SinkRefusesError(str(error)) from None


def trusted(settings: InfluxSettings) -> ssl.SSLContext | bool:
    """Return what TLS to InfluxDB trusts.

    Raises:
        SettingsError: the file of authorities cannot be read.
    """
    path = settings.ca_file
    if path is None:
        return True
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise SettingsError(
            f"{PREFIX}INFLUX__CA_FILE={str(path)!r}: {error.strerror or error}; expected "
            "certificates in PEM"
        ) from None


def retry_after(text: str | None, now: float) -> float | None:
    """Read seconds or a date (RFC 9110, 10.2.3); None where it is neither.

    Args:
        now: seconds since the epoch.
    """
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text.strip()[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _told(text: str) -> str:
    """Return words of InfluxDB as a part of a line of ours."""
    return clip(clean(text[: 4 * SAID]), SAID)


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read an answer; one of more bytes is cut off, and its connection closed."""
    read = bytearray()
    async for chunk in response.content.iter_any():
        read += chunk
        if len(read) >= limit:
            break
    return bytes(read)


def _read(body: bytes) -> _Said:
    try:
        return _said.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Said()


def _kind(error: Any) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    said = cause.strerror if isinstance(cause, OSError) else None
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
