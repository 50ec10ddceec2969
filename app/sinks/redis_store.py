"""Latest values in one Redis: written only where they are newer, read, its errors as a sink's.

A key is a hash of two fields: `value`, the record's JSON as in the topic, and `order`, by which a
later write is judged: event time or start, a dot, offset or revision, both as 20 decimal digits.
The comparison and the write are one script of the server, so no writer comes between: an older
record, of a replay or of a worker that lost its partition, changes nothing and lets the key die
when its time is over. The same record again begins the time anew.

One server, or a primary that fails over behind one address: a Redis Cluster wants each key's calls
at another node and is not offered.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from app.identity import deployment_name
from app.notify.secrets import read_secret
from app.observe.masking import mask_addresses
from app.settings import Settings, SettingsError
from app.sinks.driver import SinkRefusesError, SinkUnavailableError
from app.sinks.newest import Entry, Order

logger = logging.getLogger(__name__)

INSTALL: Final = "pip install 'candlewick[redis]'"
#: Keys of one call of the script, which nothing else of the server runs beside: some 0.2 ms.
CALL_KEYS: Final = 100
CLOSE_SECONDS: Final = 2.0
_MILLISECOND: Final = 1_000_000
#: Answers that another moment may change; redis-py has no classes for them.
_PASSING: Final = ("MISCONF", "BUSY", "NOREPLICAS")

#: KEYS: some. ARGV: time to live (ms, 0 for ever), then order and value of each key. Returns how
#: many were written. What is not of ours under a key of ours is replaced.
SCRIPT: Final = b"""
local written = 0
for row, key in ipairs(KEYS) do
  local order, value = ARGV[2 * row], ARGV[2 * row + 1]
  local held = redis.pcall('HGET', key, 'order')
  if type(held) == 'table' then
    if string.sub(held.err, 1, 9) ~= 'WRONGTYPE' then return held end
    redis.call('DEL', key)
    held = false
  end
  if not held or #held ~= #order or held <= order then
    redis.call('HSET', key, 'order', order, 'value', value)
    if ARGV[1] ~= '0' then redis.call('PEXPIRE', key, ARGV[1]) end
    written = written + 1
  end
end
return written
"""
_SHA: Final = hashlib.sha1(SCRIPT, usedforsecurity=False).hexdigest()


def namespace(settings: Settings) -> str:
    """Return what all keys of a deployment begin with, without the colon behind it."""
    return f"{settings.redis.prefix}:{deployment_name(settings)}"


def order_text(order: Order) -> bytes:
    """Return an order as text whose own order is the same."""
    return b"%020d.%020d" % order


class LatestStore:
    """The values of one deployment. Made without touching the server.

    All of its coroutines raise `SinkUnavailableError` and `SinkRefusesError`.
    """

    def __init__(self, settings: Settings, seconds: float) -> None:
        """Begin.

        Args:
            seconds: to connect, and for each answer.

        Raises:
            SettingsError: there is no address, or none that is one; or the package is missing.
        """
        address = read_secret("redis", settings.redis, "url")
        if address is None:
            raise SettingsError(
                "CANDLEWICK_REDIS__URL is not set: expected redis[s]://user:password@host:port/0, "
                "or a file that holds it in CANDLEWICK_REDIS__URL_FILE"
            )
        self.namespace = namespace(settings)
        self._errors = _library("redis.exceptions")
        library, backoff, retry = map(
            _library, ("redis.asyncio", "redis.backoff", "redis.asyncio.retry")
        )
        try:
            self.where = _place(address)
            self._client: Any = library.Redis.from_url(
                address,
                socket_timeout=seconds,
                socket_connect_timeout=seconds,
                # Who asks decides when to ask again.
                retry=retry.Retry(backoff.NoBackoff(), 0),
            )
        except ValueError:
            raise SettingsError(
                "CANDLEWICK_REDIS__URL: expected redis[s]://user:password@host:port/0"
            ) from None

    async def open(self) -> None:
        """See that values can be written: one is, and taken away again by its time to live."""
        with self._told():
            await self._client.ping()
            await self._client.script_load(SCRIPT)
            key = f"{self.namespace}:probe"
            await self._client.evalsha(_SHA, 1, key, 1000, order_text((0, 0)), b"{}")

    async def close(self) -> None:
        """Let go of the connections; never raises."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._client.aclose()
        except (self._errors.RedisError, OSError) as error:
            logger.debug("closing Redis: %r", error)

    async def write(self, entries: Sequence[tuple[bytes, Entry]], time_to_live: int) -> int:
        """Write what is newer than what is there; in one go there and back.

        Args:
            entries: by key, at most some thousand.
            time_to_live: ns; 0 for ever.

        Returns: how many were written; the other keys hold something newer. After an error some
            may have been, and writing all again changes nothing.
        """
        milliseconds = max(1, time_to_live // _MILLISECOND) if time_to_live else 0
        calls: list[list[Any]] = []
        for begin in range(0, len(entries), CALL_KEYS):
            part = entries[begin : begin + CALL_KEYS]
            call: list[Any] = [len(part), *(key for key, _ in part), milliseconds]
            for _, (order, value) in part:
                call += (order_text(order), value)
            calls.append(call)
        with self._told():
            try:
                return await self._call(calls)
            except self._errors.NoScriptError:
                # The server has been started anew, or somebody flushed its scripts.
                await self._client.script_load(SCRIPT)
                return await self._call(calls)
            except self._errors.ReadOnlyError:
                # The address may lead to the new primary by now, this connection never will.
                await self._client.connection_pool.disconnect()
                raise

    async def _call(self, calls: Sequence[Sequence[Any]]) -> int:
        pipeline = self._client.pipeline(transaction=False)
        for call in calls:
            pipeline.evalsha(_SHA, *call)
        # Raised by the pipeline, an error would carry the command, and so the values.
        results = await pipeline.execute(raise_on_error=False)
        for result in results:
            if isinstance(result, Exception):
                raise result
        return sum(results)

    async def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each key, None where there is none."""
        with self._told():
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.hget(key, "value")
            results: list[Any] = await pipeline.execute(raise_on_error=False)
            for result in results:
                if isinstance(result, Exception):
                    raise result
            return results

    async def describe(self) -> list[str]:
        """Return lines about the server, where it tells them."""
        with self._told():
            try:
                server, memory = [await self._client.info(part) for part in ("server", "memory")]
            except self._errors.NoPermissionError:
                return [f"Redis at {self.where}; it does not tell this user about itself"]
        limit = memory.get("maxmemory", 0)
        bound = f"{limit:,} bytes, {memory.get('maxmemory_policy')}" if limit else "no limit"
        return [
            f"Redis {server.get('redis_version', 'of unknown version')} at {self.where}",
            f"memory: {memory.get('used_memory', 0):,} bytes in use of {bound}",
        ]

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the library's errors into those of a sink."""
        known = self._errors
        try:
            yield
        except (
            known.AuthenticationError,
            known.AuthorizationError,
            known.NoPermissionError,
        ) as error:
            raise SinkRefusesError(f"{self.where} does not let us in: {_line(error)}") from error
        except (known.OutOfMemoryError, known.ReadOnlyError) as error:
            raise SinkUnavailableError(f"{self.where} takes no writes: {_line(error)}") from error
        except (known.ConnectionError, known.TimeoutError, OSError) as error:
            raise SinkUnavailableError(f"{self.where} does not answer: {_line(error)}") from error
        except known.RedisError as error:
            passing = str(error).startswith(_PASSING)
            kind = SinkUnavailableError if passing else SinkRefusesError
            raise kind(f"{self.where} refuses: {_line(error)}") from error


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise SettingsError(f"Redis needs a package that is not there: {INSTALL}") from None


def _place(address: str) -> str:
    """Return an address as it may be shown.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(address)
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 6379}{parts.path}"


def _line(error: Exception) -> str:
    return mask_addresses(" ".join(str(error).split()))[:300] or type(error).__name__
