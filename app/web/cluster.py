"""Which worker owns a partition, and asking that worker: any worker answers for any key.

Owners come from Faust's own assignment metadata, which each member of the group is given with its
assignment (faust 0.15.3, assignor/partition_assignor.py); only those addresses are called. Faust's
own router is not used: for a dead owner it answers 500 after the client's time-out of minutes,
it raises for topics that the producer does not know, and it has no listings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec

from app.web.answers import Answer, ApiError

#: Marks a question of another worker, which is answered from what is here or not at all.
FORWARDED = "X-Candlewick-Forwarded"
#: Seconds to reach a worker, and for its whole answer.
CONNECT_SECONDS = 0.3
TOTAL_SECONDS = 0.8
#: Seconds for which a worker that did not answer is not asked again.
DEAD_SECONDS = 1.0

#: Faust's metadata: address of a worker to topic to partitions.
Distribution = Mapping[str, Mapping[str, Iterable[int]]]


class NoAnswerError(Exception):
    """A worker did not answer; the message says how."""


@dataclass(frozen=True, slots=True)
class Place:
    """A partition of an agent, and the worker that owns it, if any is known."""

    agent: str
    partition: int
    owner: str | None

    def unavailable(self, reason: str) -> ApiError:
        """The answer 503 that names partition and owner."""
        owner = self.owner or "nobody yet"
        return ApiError(
            503,
            f"{self.agent} partition {self.partition} of {owner} is not available: {reason}",
            agent=self.agent,
            partition=self.partition,
            owner=self.owner,
            reason=reason,
        )

    def missing(self) -> dict[str, Any]:
        """How a listing names a partition that has not answered."""
        return {"agent": self.agent, "partition": self.partition, "owner": self.owner}


class Cluster:
    """The workers of this stage, seen from one of them.

    Args:
        own: this worker's address, as in the metadata.
        distribution: the metadata as it is now.
        sources: the topic that each agent reads, by which the metadata knows it.
        partitions: of every topic.
        now: monotonic seconds.
    """

    def __init__(
        self,
        own: str,
        distribution: Callable[[], Distribution],
        sources: Mapping[str, str],
        partitions: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.own = own
        self.partitions = partitions
        self._distribution = distribution
        self._sources = sources
        self._now = now
        self._dead: dict[str, tuple[float, str]] = {}
        self._session: aiohttp.ClientSession | None = None

    # --- who -------------------------------------------------------------------------------

    def places(self, agents: Iterable[str] | None = None) -> list[Place]:
        """All partitions of some agents (all unless told) with their owners."""
        owners = {
            (topic, int(partition)): url
            for url, topics in self._distribution().items()
            for topic, partitions in topics.items()
            for partition in partitions
        }
        return [
            Place(agent, partition, owners.get((self._sources[agent], partition)))
            for agent in sorted(self._sources if agents is None else agents)
            for partition in range(self.partitions)
        ]

    def place(self, agent: str, partition: int) -> Place:
        """One partition with its owner."""
        return self.places([agent])[partition]

    # --- asking ----------------------------------------------------------------------------

    async def ask(self, url: str, path: str, query: Mapping[str, str]) -> Answer:
        """What another worker answers.

        Args:
            url: of the metadata.
            path: quoted.

        Raises:
            NoAnswerError: it does not, or did not a moment ago.
        """
        until, reason = self._dead.get(url, (0.0, ""))
        if self._now() < until:
            raise NoAnswerError(reason)
        try:
            found = await self._get(f"{url.rstrip('/')}{path}", query)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            reason = _in_words(error)
            self._dead[url] = (self._now() + DEAD_SECONDS, reason)
            raise NoAnswerError(reason) from error
        self._dead.pop(url, None)
        return found

    async def _get(self, url: str, query: Mapping[str, str]) -> Answer:
        if self._session is None or self._session.closed:
            # No cookies, no proxy of the environment; the time-outs are those of a local network.
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        target = f"{url}?{urlencode(query)}" if query else url
        async with self._session.get(
            target, headers={FORWARDED: "1"}, allow_redirects=False
        ) as response:
            if response.content_type != "application/json":
                raise ValueError(f"answered {response.status} with something else than our JSON")
            return Answer(response.status, await response.read())

    async def forward(self, place: Place, path: str, query: Mapping[str, str]) -> Answer:
        """The owner's answer, whatever it is.

        Raises:
            ApiError: 503, there is no owner or it does not answer.
        """
        if place.owner is None:
            raise place.unavailable("no worker owns it: a rebalance is under way")
        try:
            return await self.ask(place.owner, path, query)
        except NoAnswerError as error:
            raise place.unavailable(str(error)) from error

    async def gather(
        self, path: str, query: Mapping[str, str], local: Callable[[], dict[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """What each worker answers to a listing, by address; those that do not are left out.

        Raises:
            ApiError: of the local part.
        """
        others = sorted(
            {place.owner for place in self.places() if place.owner not in (None, self.own)}
        )
        asked = [asyncio.ensure_future(self._listing(url or "", path, query)) for url in others]
        try:
            found = {self.own: local()}
            for url, body in zip(others, await asyncio.gather(*asked), strict=True):
                if body is not None:
                    found[url or ""] = body
        finally:
            for task in asked:
                task.cancel()
        return found

    async def _listing(
        self, url: str, path: str, query: Mapping[str, str]
    ) -> dict[str, Any] | None:
        try:
            found = await self.ask(url, path, query)
            if found.status != 200:
                return None
            body = msgspec.json.decode(found.body)
        except (NoAnswerError, msgspec.DecodeError):
            # The listing names this worker's partitions as missing.
            return None
        return body if isinstance(body, dict) else None

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"the owner does not answer within {TOTAL_SECONDS:g} s"
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return "the owner cannot be reached"
    return str(error)
