"""The JSON API under `/api/v1`: tables, partitions, symbols, candles, dead letters of all workers.

Any worker answers for any key: it asks the owner of the key's partition, and says 503 with
`Retry-After` within a second where that cannot answer. Listings ask all workers at once; what is
`missing` from them is named. Everything is data in JSON: text of a user is never markup here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote

from aiokafka.errors import KafkaError
from faust.web import Request

from app.dead import dead_topics, recent_dead
from app.durations import format_duration
from app.exits import OperatorError
from app.feeds.partitioning import partition_of
from app.run.errors import RunError, UnknownTopicError
from app.settings import Settings
from app.streaming.store import StoreDamagedError
from app.topics import AGENTS, ALL_SINKS, BURYING
from app.web.answers import (
    Answer,
    ApiError,
    Parameters,
    answer,
    bad,
    refusal,
    symbol_of,
    unknown,
)
from app.web.cluster import FORWARDED, Cluster, Place
from app.web.local import KINDS, Local

logger = logging.getLogger(__name__)

ROOT = "/api/v1"
#: Rows, symbols or bars of one answer, at most.
MOST = 5_000
DEFAULT = 500
MOST_DEAD = 200
#: Bytes of a dead record's value that are shown; `candlewick dead` has all of them.
DEAD_BYTES = 16 * 1024
#: Questions of the broker at the same time.
DEAD_AT_ONCE = 2
_MILLISECOND = 1_000_000

Handler = Callable[..., Awaitable[Any]]
Found = TypeVar("Found")


class Api:
    """The answers of one worker, which asks the others."""

    def __init__(self, settings: Settings, local: Local, cluster: Cluster) -> None:
        self.settings = settings
        self.local = local
        self.cluster = cluster
        self._dead_slots = asyncio.Semaphore(DEAD_AT_ONCE)

    @property
    def routes(self) -> dict[str, Handler]:
        """Handler of each path; paths are aiohttp's patterns. A symbol may hold a slash."""
        return {
            f"{ROOT}/tables": self.tables,
            f"{ROOT}/partitions": self.partitions,
            f"{ROOT}/tables/{{table}}/rows": self.rows,
            f"{ROOT}/tables/{{table}}/rows/{{key:.+}}": self.row,
            f"{ROOT}/symbols": self.symbols,
            f"{ROOT}/candles/{{symbol:.+}}": self.candles,
            f"{ROOT}/dead": self.dead_topics,
            f"{ROOT}/dead/{{agent}}": self.dead,
        }

    async def respond(self, handler: Handler, request: Request, names: Mapping[str, str]) -> Answer:
        """The answer of a handler, or of its error."""
        try:
            found = await handler(request, **names)
        except ApiError as error:
            return refusal(error)
        except Exception:
            # A fault of ours: the page says so in JSON, the log has the details.
            logger.exception("a request could not be answered: %s", request.url)
            return refusal(ApiError(500, "internal error; the worker's log has the details"))
        return found if isinstance(found, Answer) else answer(found)

    # --- listings --------------------------------------------------------------------------

    async def tables(self, request: Request) -> dict[str, Any]:
        """All tables and their rows."""
        _parameters(request)
        if _is_local(request):
            return self.local.list_tables()
        found = await self.cluster.gather(f"{ROOT}/tables", {}, self.local.list_tables)
        counts: dict[str, int] = {}
        for body in found.values():
            for entry in body["tables"]:
                counts[entry["name"]] = counts.get(entry["name"], 0) + entry["rows"]
        tables = [
            {
                "name": table.name,
                "agent": table.agent,
                "kind": table.kind,
                "help": table.help,
                "partitions": self.cluster.partitions,
                "rows": counts.get(table.name),
            }
            for table in self.local.tables.values()
        ]
        return {"tables": tables, "missing": self._missing(found)}

    async def partitions(self, request: Request) -> dict[str, Any]:
        """All partitions of all agents, those that do not answer as well."""
        _parameters(request)
        if _is_local(request):
            return self.local.list_partitions()
        found = await self.cluster.gather(f"{ROOT}/partitions", {}, self.local.list_partitions)
        owned = {place: place.owner for place in self.cluster.places()}
        entries = [
            entry
            for url, body in found.items()
            for entry in body["partitions"]
            if owned.get(Place(entry["agent"], entry["partition"], url)) == url
        ]
        missing = self._missing(found)
        entries += [each | _UNANSWERED for each in missing]
        entries.sort(key=lambda entry: (entry["agent"], entry["partition"]))
        return {"partitions": entries, "missing": missing}

    async def rows(self, request: Request, table: str) -> dict[str, Any]:
        """Rows of a table by prefix of their key, a page at a time."""
        query = _parameters(request, "prefix", "after", "limit")
        limit = query.number("limit", 100, MOST)
        chosen = self.local.table(table)
        prefix, after = query.text("prefix"), query.text("after")
        if _is_local(request):
            return self.local.list_rows(chosen, prefix, after, limit)
        found = await self.cluster.gather(
            f"{ROOT}/tables/{quote(table, safe='')}/rows",
            _given(prefix=prefix, after=after, limit=str(limit + 1)),
            lambda: self.local.list_rows(chosen, prefix, after, limit + 1),
        )
        rows = sorted(
            (row for body in found.values() for row in body["rows"]),
            key=lambda row: str(row["key"]),
        )
        return {
            "table": table,
            "rows": rows[:limit],
            "next": rows[limit - 1]["key"] if len(rows) > limit else None,
            "missing": self._missing(found, [chosen.agent]),
        }

    async def symbols(self, request: Request) -> dict[str, Any]:
        """Symbols by prefix, with what there is of each."""
        query = _parameters(request, "prefix", "after", "limit")
        limit = query.number("limit", DEFAULT, MOST)
        prefix, after = query.text("prefix"), query.text("after")
        if _is_local(request):
            return self.local.list_symbols(prefix, after, limit)
        found = await self.cluster.gather(
            f"{ROOT}/symbols",
            _given(prefix=prefix, after=after, limit=str(limit + 1)),
            lambda: self.local.list_symbols(prefix, after, limit + 1),
        )
        lengths: dict[str, set[int]] = {}
        kinds: dict[str, set[str]] = {}
        for row in (row for body in found.values() for row in body["symbols"]):
            lengths.setdefault(row["key"], set()).update(row["lengths"])
            kinds.setdefault(row["key"], set()).update(row["kinds"])
        names = sorted(lengths)
        return {
            "symbols": [
                {
                    "symbol": name,
                    "intervals": [format_duration(length) for length in sorted(lengths[name])],
                    "kinds": sorted(kinds[name], reverse=True),
                }
                for name in names[:limit]
            ],
            "next": names[limit - 1] if len(names) > limit else None,
            "missing": self._missing(found),
        }

    def _missing(
        self, found: Mapping[str, Mapping[str, Any]], agents: Iterable[str] | None = None
    ) -> list[dict[str, Any]]:
        """Partitions that their owner has not answered for."""
        covered = {
            (url, entry["agent"], entry["partition"])
            for url, body in found.items()
            for entry in body["covered"]
        }
        return [
            place.missing()
            for place in self.cluster.places(agents)
            if (place.owner, place.agent, place.partition) not in covered
        ]

    # --- single keys -----------------------------------------------------------------------

    async def row(self, request: Request, table: str, key: str) -> Any:
        """One row of a state table, or one symbol's history of a view."""
        query = _parameters(request, "limit")
        limit = query.number("limit", 100, MOST)
        chosen = self.local.table(table)
        symbol = symbol_of(key)
        return await self._of_owner(
            request,
            chosen.agent,
            symbol,
            f"{ROOT}/tables/{quote(table, safe='')}/rows/{quote(symbol, safe='')}",
            {"limit": str(limit)},
            lambda place: self.local.row(chosen, place, symbol, limit),
        )

    async def candles(self, request: Request, symbol: str) -> Any:
        """Closed bars of a symbol and interval, and the forming one."""
        query = _parameters(request, "kind", "interval", "limit", "since_ms")
        kind = query.choice("kind", "trades", tuple(KINDS))
        if KINDS[kind] not in self.local.sources:
            raise ApiError(404, f"no agent of this stage makes bars of {kind}")
        lengths = self.settings.bars.intervals
        labels = [format_duration(length) for length in lengths]
        length = query.interval("interval", "1m" if "1m" in labels else labels[0])
        if length not in lengths:
            raise bad(f"interval={query.text('interval')!r}: expected one of {', '.join(labels)}")
        limit = query.number("limit", DEFAULT, MOST)
        since = query.number("since_ms", 0, 2**43, least=0)
        name = symbol_of(symbol)
        return await self._of_owner(
            request,
            KINDS[kind],
            name,
            f"{ROOT}/candles/{quote(name, safe='')}",
            {
                "kind": kind,
                "interval": format_duration(length),
                "limit": str(limit),
                "since_ms": str(since),
            },
            lambda place: self.local.candles(
                place, kind, name, length, limit, since * _MILLISECOND
            ),
        )

    async def _of_owner(
        self,
        request: Request,
        agent: str,
        symbol: str,
        path: str,
        query: Mapping[str, str],
        local: Callable[[Place], dict[str, Any]],
    ) -> Any:
        place = self.cluster.place(agent, partition_of(symbol, self.cluster.partitions))
        if place.owner == self.cluster.own:
            try:
                return local(place)
            except StoreDamagedError as error:
                raise place.unavailable("its store is damaged and is being rebuilt") from error
        if _is_local(request):
            raise place.unavailable("this worker does not own it")
        return await self.cluster.forward(place, path, query)

    # --- dead letters ----------------------------------------------------------------------

    async def dead_topics(self, request: Request) -> dict[str, Any]:
        """The topics of dead letters of the whole deployment: agents', and the sinks'."""
        _parameters(request)
        found = await self._of_broker(lambda: dead_topics(self.settings))
        return {"topics": [{"agent": each, "topic": topic} for each, topic in found.items()]}

    async def dead(self, request: Request, agent: str) -> dict[str, Any]:
        """The newest dead letters of an agent or the sinks: any worker can read their topics."""
        query = _parameters(request, "limit")
        limit = query.number("limit", 50, MOST_DEAD)
        if agent not in (*AGENTS, ALL_SINKS):
            raise unknown("agent", agent)
        if agent not in BURYING and agent != ALL_SINKS:
            raise ApiError(404, f"agent {agent!r} has no dead letters; see {ROOT}/dead")
        letters = await self._of_broker(lambda: recent_dead(self.settings, agent, limit))
        shown = []
        for letter in letters:
            value = letter.value
            cut = value is not None and len(value) > DEAD_BYTES
            short = replace(letter, value=value[:DEAD_BYTES]) if cut and value else letter
            shown.append(
                short.to_json()
                | {"bytes": letter.left_out if value is None else len(value), "cut": cut}
                | ({} if letter.sink is None else {"sink": letter.sink})
            )
        return {"agent": agent, "dead": shown}

    async def _of_broker(self, question: Callable[[], Awaitable[Found]]) -> Found:
        """Await what is read of the broker for an answer about dead letters."""
        try:
            async with self._dead_slots:
                return await question()
        except UnknownTopicError as error:
            raise ApiError(404, f"there are no dead letters: {_one_line(error)}") from error
        except (OperatorError, RunError, KafkaError, TimeoutError, OSError) as error:
            raise ApiError(503, f"dead letters cannot be read: {_one_line(error)}") from error


#: What is not known of a partition that has not answered.
_UNANSWERED: dict[str, Any] = {
    "answered": False,
    "phase": None,
    "reason": "its owner does not answer",
    "position": None,
    "lag": None,
    "watermark_iso": None,
    "watermark_ms": None,
    "watermark_ns": None,
    "event_time_iso": None,
    "event_time_ms": None,
    "event_time_ns": None,
    "checkpoint_age_seconds": None,
    "counts": {},
    "rows": None,
    "view_behind": None,
    "view_rows": None,
}


def _parameters(request: Request, *names: str) -> Parameters:
    return Parameters(request.query, {*names, "local"})


def _is_local(request: Request) -> bool:
    """Whether another worker asks, or a user asks for this worker's part alone."""
    return FORWARDED in request.headers or request.query.get("local") == "1"


def _given(**query: str) -> dict[str, str]:
    return {name: value for name, value in query.items() if value}


def _one_line(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())
