"""`/api/v1/latest/SYMBOL`: the newest record of each kind, from Redis or from the views.

Redis has all kinds, whichever stage makes them (`app/sinks/latest.py`). Closed bars and quote bars
are also in the views of the workers: what Redis does not have, or where there is none, is asked of
the owner of the symbol's partition. Of the other kinds nothing else has the newest record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec
from faust.web import Request

from app.durations import format_duration
from app.feeds.partitioning import partition_of
from app.sinks.latest import Latest, LatestCache, Wanted
from app.sinks.newest import SUBJECTS
from app.streaming.store import StoreDamagedError
from app.web.answers import ApiError, Parameters, bad, symbol_of, unknown, with_times
from app.web.api import ROOT, Api, Handler
from app.web.cluster import FORWARDED

#: The agent whose workers have a view of a topic.
VIEWED: Final[Mapping[str, str]] = {"bars": "bars", "quotes.bars": "quotes"}
#: What is asked for by default, by the agents of the stage; anomalies are seldom, so not they.
KINDS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "bars": ("ticks", "bars"),
    "quotes": ("quotes", "quotes.bars"),
    "indicators": ("indicators",),
    "predictions": ("predictions",),
}
#: What the last part of a key is, where it has three.
_PART: Final = {"predictions": "model", "anomalies": "source"}


class _Own(msgspec.Struct):
    """What one worker answers another: records by kind, as they are in their topics."""

    records: dict[str, msgspec.Raw]


class LatestAnswers:
    """The handler; beside the others of `api`."""

    def __init__(self, api: Api, cache: LatestCache | None) -> None:
        self._api, self._cache = api, cache

    @property
    def routes(self) -> dict[str, Handler]:
        """Handler of each path, as `Api.routes`."""
        return {f"{ROOT}/latest/{{symbol:.+}}": self.latest}

    async def latest(self, request: Request, symbol: str) -> Any:
        """The newest records of a symbol: `kinds=bars,indicators`, `interval=1m`."""
        query = Parameters(request.query, {"kinds", "interval", "local"})
        kinds = self._kinds(query.text("kinds"))
        label = self._label(query)
        name = symbol_of(symbol)
        if FORWARDED in request.headers or query.text("local") == "1":
            return await self._own(kinds, name, label)
        wanted = [each for kind in kinds for each in self._wanted(kind, name, label)]
        faults: dict[str, ApiError] = {}

        async def fallback(missing: Sequence[Wanted]) -> dict[Wanted, bytes]:
            return await self._views(missing, faults)

        if self._cache is not None:
            found = await self._cache.get(wanted, fallback)
        else:
            values = await fallback(wanted)
            found = {each: Latest(value, "fallback") for each, value in values.items()}
        if not found and faults:
            raise next(iter(faults.values()))
        if not found:
            raise unknown("symbol", name)
        return {
            "symbol": name,
            "interval": label,
            "latest": [_shown(each, found[each]) for each in wanted if each in found],
            "missing": self._missing(kinds, {each.topic for each in found}, faults),
        }

    def _kinds(self, text: str) -> tuple[str, ...]:
        if not text:
            agents = self._api.settings.agents
            return tuple(kind for agent in agents for kind in KINDS_OF.get(agent, ()))
        kinds = tuple(dict.fromkeys(text.split(",")))
        for kind in kinds:
            if kind not in SUBJECTS:
                raise bad(f"kinds={text!r}: expected some of {','.join(SUBJECTS)}")
        return kinds

    def _label(self, query: Parameters) -> str:
        labels = [format_duration(length) for length in self._api.settings.bars.intervals]
        length = query.interval("interval", "1m" if "1m" in labels else labels[0])
        if length not in self._api.settings.bars.intervals:
            given = query.text("interval")
            raise bad(f"interval={given!r}: expected one of {', '.join(labels)}")
        return format_duration(length)

    def _wanted(self, kind: str, symbol: str, label: str) -> list[Wanted]:
        """Return the keys of a kind; of predictions and anomalies there are several."""
        if SUBJECTS[kind].parts == ("symbol",):
            return [Wanted(kind, (symbol,))]
        last: Sequence[str] = ()
        if kind == "predictions":
            models = (each.partition("@") for each in self._api.settings.predictions.models)
            last = [model for model, _, interval in models if interval == label]
        elif kind == "anomalies":
            last = tuple(VIEWED)
        else:
            return [Wanted(kind, (symbol, label))]
        return [Wanted(kind, (symbol, label, each)) for each in last]

    async def _own(self, kinds: Sequence[str], symbol: str, label: str) -> dict[str, Any]:
        """Answer another worker from this one's views, and let the cache have it."""
        records: dict[Wanted, bytes] = {}
        for kind in kinds:
            if kind in VIEWED:
                value = self._view(kind, symbol, label)
                if value is not None:
                    records[Wanted(kind, (symbol, label))] = value
        if self._cache is not None:
            await self._cache.keep(records)
        return {"records": {each.topic: msgspec.Raw(value) for each, value in records.items()}}

    def _view(self, kind: str, symbol: str, label: str) -> bytes | None:
        """Return the newest closed bar from this worker's view.

        Raises:
            ApiError: 503, the view is not here or not ready.
        """
        cluster, local = self._api.cluster, self._api.local
        agent = VIEWED[kind]
        if agent not in local.sources:
            return None
        place = cluster.place(agent, partition_of(symbol, cluster.partitions))
        if place.owner != cluster.own:
            raise place.unavailable("this worker does not own it")
        lengths = self._api.settings.bars.intervals
        length = next(each for each in lengths if format_duration(each) == label)
        try:
            return local.newest_bar(place, symbol, length)
        except StoreDamagedError as error:
            raise place.unavailable("its store is damaged and is being rebuilt") from error

    async def _views(
        self, missing: Sequence[Wanted], faults: dict[str, ApiError]
    ) -> dict[Wanted, bytes]:
        """Return what the views have; `faults` are of kinds whose view does not answer."""
        found: dict[Wanted, bytes] = {}
        for each in missing:
            if VIEWED.get(each.topic) in self._api.local.sources:
                try:
                    value = await self._of_owner(each)
                except ApiError as error:
                    faults[each.topic] = error
                else:
                    if value is not None:
                        found[each] = value
        return found

    async def _of_owner(self, wanted: Wanted) -> bytes | None:
        cluster = self._api.cluster
        symbol, label = wanted.parts
        place = cluster.place(VIEWED[wanted.topic], partition_of(symbol, cluster.partitions))
        if place.owner == cluster.own:
            return self._view(wanted.topic, symbol, label)
        found = await cluster.forward(
            place,
            f"{ROOT}/latest/{quote(symbol, safe='')}",
            {"kinds": wanted.topic, "interval": label},
        )
        if found.status != 200:
            raise place.unavailable("its owner has no answer")
        try:
            own = msgspec.json.decode(found.body, type=_Own)
        except msgspec.DecodeError as error:
            raise place.unavailable("its owner's answer cannot be read") from error
        record = own.records.get(wanted.topic)
        return None if record is None else bytes(record)

    def _missing(
        self, kinds: Sequence[str], found: set[str], faults: Mapping[str, ApiError]
    ) -> list[dict[str, str]]:
        rows = []
        for kind in kinds:
            if kind in found:
                continue
            if kind in faults:
                reason = str(faults[kind])
            elif kind in VIEWED:
                reason = "there is none"
            else:
                reason = "not in the cache" if self._cache else "there is no cache"
            rows.append({"kind": kind, "reason": reason})
        return rows


def _shown(wanted: Wanted, latest: Latest) -> dict[str, Any]:
    part = _PART.get(wanted.topic)
    return {
        "kind": wanted.topic,
        **({} if part is None else {part: wanted.parts[-1]}),
        "from": "cache" if latest.source == "cache" else "view",
        "record": with_times(msgspec.json.decode(latest.value)),
    }
