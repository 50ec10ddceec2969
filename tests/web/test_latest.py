"""`/api/v1/latest`: from the cache, from the views, of whichever worker has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from app.settings import Settings, load_settings
from app.sinks.latest import Fallback, Latest, Wanted
from app.streaming.store import StoreDamagedError
from app.web.answers import Answer, ApiError, answer
from app.web.cluster import FORWARDED, Place
from app.web.latest import LatestAnswers
from tests.unit.sink_batches import FRIDAY, MINUTE, anomaly, bar, indicators, prediction, trade

OWN, OTHER = "http://own:1", "http://other:2"


@dataclass
class FakeLocal:
    """The views of this worker: the newest bars by symbol."""

    bars: dict[str, bytes] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=lambda: {"bars": "ticks"})
    damaged: bool = False

    def newest_bar(self, place: Place, symbol: str, length: int) -> bytes | None:
        if self.damaged:
            raise StoreDamagedError("a block")
        return self.bars.get(symbol) if length == MINUTE else None


@dataclass
class FakeCluster:
    """One partition, and what its owner answers."""

    owner: str | None = OWN
    own: str = OWN
    partitions: int = 1
    answer: Answer | None = None
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    def place(self, agent: str, partition: int) -> Place:
        return Place(agent, partition, self.owner)

    async def forward(self, place: Place, path: str, query: Mapping[str, str]) -> Answer:
        self.asked.append((path, query))
        if self.answer is None:
            raise place.unavailable("the owner cannot be reached")
        return self.answer


@dataclass
class FakeApi:
    settings: Settings
    local: FakeLocal
    cluster: FakeCluster


@dataclass
class FakeCache:
    """A cache in a dictionary."""

    values: dict[Wanted, bytes] = field(default_factory=dict)
    kept: dict[Wanted, bytes] = field(default_factory=dict)

    async def get(self, wanted: Sequence[Wanted], fallback: Fallback) -> dict[Wanted, Latest]:
        found = {each: Latest(self.values[each], "cache") for each in wanted if each in self.values}
        missing = [each for each in wanted if each not in found]
        others = await fallback(missing) if missing else {}
        return found | {each: Latest(value, "fallback") for each, value in others.items()}

    async def keep(self, values: Mapping[Wanted, bytes]) -> None:
        self.kept |= values


@dataclass
class FakeRequest:
    query: dict[str, str]
    headers: dict[str, str] = field(default_factory=dict)


class Worker:
    """A worker of bars alone, with or without a cache."""

    def __init__(self, *, cached: bool = True, **settings: Any) -> None:
        self.local, self.cluster, self.cache = FakeLocal(), FakeCluster(), FakeCache()
        chosen = load_settings(**{"agents": ("bars",), **settings})
        api = FakeApi(chosen, self.local, self.cluster)
        self.answers = LatestAnswers(cast(Any, api), cast(Any, self.cache) if cached else None)

    async def ask(self, symbol: str = "A", *, forwarded: bool = False, **query: str) -> Any:
        headers = {FORWARDED: "1"} if forwarded else {}
        request = cast(Any, FakeRequest(query, headers))
        return msgspec.json.decode(answer(await self.answers.latest(request, symbol)).body)


def kinds(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["kind"], each["from"]) for each in found["latest"]]


async def test_the_cache_answers_with_all_kinds_it_has() -> None:
    worker = Worker()
    worker.cache.values = {
        Wanted("ticks", ("A",)): trade("A", 5),
        Wanted("bars", ("A", "1m")): bar("A", 1, 2),
    }
    found = await worker.ask()
    assert (found["symbol"], found["interval"], found["missing"]) == ("A", "1m", [])
    assert kinds(found) == [("ticks", "cache"), ("bars", "cache")]
    tick, candle = (each["record"] for each in found["latest"])
    assert tick["event_time_ns"] == str(FRIDAY + 5)
    assert (candle["start_ns"], candle["revision"]) == (str(FRIDAY + MINUTE), 2)
    assert worker.cluster.asked == []


async def test_what_the_cache_lacks_comes_from_the_view() -> None:
    worker = Worker()
    worker.local.bars = {"A": bar("A", 7)}
    found = await worker.ask()
    assert kinds(found) == [("bars", "view")]
    assert found["latest"][0]["record"]["start_ns"] == str(FRIDAY + 7 * MINUTE)
    assert found["missing"] == [{"kind": "ticks", "reason": "not in the cache"}]


async def test_without_a_cache_the_view_answers() -> None:
    worker = Worker(cached=False)
    worker.local.bars = {"A": bar("A", 7)}
    found = await worker.ask()
    assert kinds(found) == [("bars", "view")]
    assert found["missing"] == [{"kind": "ticks", "reason": "there is no cache"}]


async def test_a_view_of_another_worker_is_asked_and_lets_its_cache_have_it() -> None:
    asking, owner = Worker(), Worker()
    asking.cluster.owner = OTHER
    owner.local.bars = {"BTC/USD": bar("BTC/USD", 7)}
    body = await owner.ask("BTC/USD", forwarded=True, kinds="bars", interval="1m")
    assert owner.cache.kept == {Wanted("bars", ("BTC/USD", "1m")): bar("BTC/USD", 7)}
    asking.cluster.answer = answer(body)
    found = await asking.ask("BTC/USD", kinds="bars")
    assert kinds(found) == [("bars", "view")]
    assert found["latest"][0]["record"]["start_ns"] == str(FRIDAY + 7 * MINUTE)
    assert asking.cluster.asked == [
        ("/api/v1/latest/BTC%2FUSD", {"kinds": "bars", "interval": "1m"})
    ]


async def test_records_of_another_worker_are_the_bytes_of_its_view() -> None:
    owner = Worker()
    owner.local.bars = {"A": bar("A", 7)}
    request = cast(Any, FakeRequest({"kinds": "bars"}, {FORWARDED: "1"}))
    own = answer(await owner.answers.latest(request, "A")).body
    assert bar("A", 7) in own


@pytest.mark.parametrize("body", [None, Answer(503, b"{}"), Answer(200, b"[]")])
async def test_an_owner_that_does_not_answer_is_told(body: Answer | None) -> None:
    worker = Worker()
    worker.cluster.owner, worker.cluster.answer = OTHER, body
    with pytest.raises(ApiError) as caught:
        await worker.ask()
    assert caught.value.status == 503
    worker.cache.values = {Wanted("ticks", ("A",)): trade("A", 5)}
    found = await worker.ask()
    assert kinds(found) == [("ticks", "cache")]
    assert "is not available" in found["missing"][0]["reason"]


async def test_an_owner_asked_for_what_it_does_not_own_or_cannot_read_says_so() -> None:
    worker = Worker()
    worker.cluster.owner = OTHER
    with pytest.raises(ApiError, match="this worker does not own it"):
        await worker.ask(forwarded=True)
    worker.cluster.owner = OWN
    worker.local.damaged = True
    with pytest.raises(ApiError, match="is being rebuilt"):
        await worker.ask(forwarded=True)


async def test_kinds_follow_the_agents_and_can_be_chosen() -> None:
    worker = Worker(
        agents=("indicators", "predictions"), predictions={"models": "returns@1m,hourly@1h"}
    )
    worker.cache.values = {
        Wanted("indicators", ("A", "1m")): indicators("A", 1),
        Wanted("predictions", ("A", "1m", "returns")): prediction("A", 1, "returns"),
        Wanted("anomalies", ("A", "1m", "quotes.bars")): anomaly("A", 1, "quotes.bars"),
    }
    found = await worker.ask()
    assert kinds(found) == [("indicators", "cache"), ("predictions", "cache")]
    assert found["latest"][1]["model"] == "returns"
    found = await worker.ask(kinds="anomalies")
    assert found["latest"][0]["source"] == "quotes.bars"


@pytest.mark.parametrize(
    ("symbol", "query", "status"),
    [
        ("A", {}, 404),
        ("<b>", {}, 404),
        ("A", {"kinds": "news"}, 400),
        ("A", {"interval": "7m"}, 400),
        ("A", {"interval": "soon"}, 400),
        ("A", {"limit": "1"}, 400),
    ],
)
async def test_what_is_not_there_is_refused(
    symbol: str, query: dict[str, str], status: int
) -> None:
    with pytest.raises(ApiError) as caught:
        await Worker().ask(symbol, **query)
    assert caught.value.status == status
