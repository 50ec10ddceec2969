"""POST to an operator's address, with bounded time and answers; no redirect is followed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

import aiohttp

from app import __version__
from app.notify.channel import PermanentError, TransientError
from app.notify.messages import clean
from app.notify.settings import NotifySettings

#: Bytes of an answer that are read, for the reason of a refusal.
ANSWER_BYTES = 200
REQUEST_TIMEOUT, TOO_EARLY, TOO_MANY_REQUESTS = 408, 425, 429
_SECOND = 1e9


class Poster:
    """An HTTP client for one channel.

    Args:
        now: the wall clock in seconds, for a Retry-After that is a date.
    """

    def __init__(self, settings: NotifySettings, now: Callable[[], float] = time.time) -> None:
        self._timeout = aiohttp.ClientTimeout(
            total=settings.timeout / _SECOND, connect=settings.connect_timeout / _SECOND
        )
        self._now = now
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a body.

        Raises:
            TransientError: no answer, or one of 408, 425, 429 or 5xx.
            PermanentError: any other answer than 2xx.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"candlewick/{__version__}"},
            )
        sent = {"Content-Type": "application/json; charset=utf-8", **headers}
        try:
            async with self._session.post(
                url, data=body, headers=sent, allow_redirects=False
            ) as response:
                if 200 <= response.status < 300:
                    return
                answer = await response.content.read(ANSWER_BYTES)
                asked = self._retry_after(response.headers.get("Retry-After"))
        except TimeoutError:
            raise TransientError("no answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            # Not its text: it may hold the address, which is a secret.
            raise TransientError(_kind(error)) from None
        _judge(response.status, answer, asked)

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _retry_after(self, text: str | None) -> float | None:
        """Read seconds or a date (RFC 9110, 10.2.3); None where it is neither."""
        if text is None:
            return None
        if text.strip().isdecimal():
            return float(text[:9])
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - self._now())
        except (ValueError, OverflowError):
            return None


def _judge(status: int, answer: bytes, asked: float | None) -> None:
    said = clean(answer.decode("utf-8", "replace"))
    reason = f"HTTP {status}" + (f": {said}" if said else "")
    if status == TOO_MANY_REQUESTS:
        raise TransientError(reason, asked, limited=True)
    if status >= 500 or status in (REQUEST_TIMEOUT, TOO_EARLY):
        raise TransientError(reason, asked)
    raise PermanentError(reason)


def _kind(error: BaseException) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    said = cause.strerror if isinstance(cause, OSError) else None
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
