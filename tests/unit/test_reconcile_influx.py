"""Reconciling with InfluxDB: what a point says, and what goes wrong; of a server that pretends."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner

from app import exits
from app.cli import candlewick
from app.reconcile.batch import FIELDS
from app.reconcile.compare import Drift
from app.reconcile.influx import InfluxBars, _nanoseconds
from app.reconcile.judging import Span
from app.reconcile.stores import Held
from app.run.errors import RunError
from app.settings import Settings, SettingsError
from tests.notify.servers import closed_port

TOKEN = "reader-token"
MINUTE = 60_000_000_000
HEADER = ("", "result", "table", "_time", "_value", "_field", "interval", "symbol")
WANTED = re.compile(
    r'from\(bucket: "(\w+)"\) \|> range\(start: time\(v: (\d+)\), stop: time\(v: (\d+)\)\)'
)
Row = tuple[str, ...]


@dataclass
class FakeReader:
    """Answers queries with the rows of a bucket between two times, each row a table of its own."""

    buckets: dict[str, list[Row]] = field(
        default_factory=lambda: {"candlewick": [], "candlewick_history": []}
    )
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    answer: Callable[[], web.Response] | None = None
    url: str = ""

    def point(
        self, bucket: str, at: str, fields: Mapping[str, str], tags: Row = ("1m", "A")
    ) -> None:
        self.buckets[bucket] += [
            ("", "_result", "0", at, value, name, *tags) for name, value in fields.items()
        ]

    async def query(self, request: web.Request) -> web.StreamResponse:
        if self.answer is not None:
            return self.answer()
        if request.headers["Authorization"] != f"Token {TOKEN}":
            return web.json_response({"message": "unauthorized access"}, status=401)
        assert request.query["org"] == "candlewick"
        found = WANTED.match((await request.json())["query"])
        assert found is not None
        bucket, begin, end = found[1], int(found[2]), int(found[3])
        self.asked.append((bucket, begin, end))
        if bucket not in self.buckets:
            text = f'could not find bucket "{bucket}"'
            return web.json_response({"code": "not found", "message": text}, status=404)
        rows = [row for row in self.buckets[bucket] if begin <= _nanoseconds(row[3]) < end]
        tables = (f"{','.join(HEADER[: len(row)])}\r\n{','.join(row)}\r\n\r\n" for row in rows)
        # In pieces that end anywhere, as they come over a network.
        response = web.StreamResponse()
        await response.prepare(request)
        body = "".join(tables).encode()
        for place in range(0, len(body), 37):
            await response.write(body[place : place + 37])
        await response.write_eof()
        return response


@pytest.fixture
async def server() -> AsyncIterator[FakeReader]:
    fake = FakeReader()
    app = web.Application()
    app.router.add_post("/api/v2/query", fake.query)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


def settings_of(url: str | None, token: str | None = TOKEN, **influx: object) -> Settings:
    return Settings.model_validate({"influx": {"url": url, "reader_token": token, **influx}})


async def held(
    server: FakeReader, span: Span | None = None, cuts: Sequence[int] = (), agent: str = "bars"
) -> list[Held]:
    store = InfluxBars(settings_of(server.url), agent)
    return [part async for part in store.bars(span or Span(), cuts)]


PRICES = {"open": "1.5", "high": "2.25", "low": "0.1", "close": "0.30000000000000004"}
WHOLE = {**PRICES, "volume": "100", "vwap": "1e-09", "trades": "9007199254740993"}


async def test_numbers_are_the_same_doubles_and_the_same_integers(server: FakeReader) -> None:
    server.point("candlewick", "2026-11-20T14:30:00Z", WHOLE)
    (part,) = await held(server)
    ((key, values),) = part.bars.items()
    assert key == ("A", "1m", 1_795_185_000_000_000_000)
    assert list(values.values()) == [1.5, 2.25, 0.1, 0.1 + 0.2, 100.0, 1e-9, 2**53 + 1]
    assert (type(values["volume"]), type(values["trades"])) == (float, int)
    assert part.copies == {}


async def test_quote_bars_have_their_own_measurement(server: FakeReader) -> None:
    values = {name: str(number) for number, name in enumerate(FIELDS["quotes"])}
    server.point("candlewick", "2026-11-20T14:30:00Z", values)
    (part,) = await held(server, agent="quotes")
    ((_, found),) = part.bars.items()
    assert list(found.values()) == list(range(len(values)))


async def test_what_nulls_names_or_a_point_lacks_is_none(server: FakeReader) -> None:
    server.point("candlewick", "2026-11-20T14:30:00Z", {**WHOLE, "nulls": '"vwap,high"'})
    server.point("candlewick", "2026-11-20T14:31:00Z", {**PRICES, "nulls": ""})
    (part,) = await held(server)
    first, second = (part.bars[key] for key in sorted(part.bars))
    assert [name for name, value in first.items() if value is None] == ["high", "vwap"]
    assert [name for name, value in second.items() if value is None] == ["volume", "vwap", "trades"]


async def test_the_history_holds_and_is_no_double(server: FakeReader) -> None:
    for bucket, close in (("candlewick", "1"), ("candlewick_history", "2")):
        server.point(bucket, "2026-11-20T14:30:00Z", {**WHOLE, "close": close})
    server.point("candlewick", "2026-11-20T14:31:00Z", WHOLE)
    (part,) = await held(server)
    assert [values["close"] for values in part.bars.values()] == [2.0, 0.1 + 0.2]
    assert part.copies == {}


async def test_a_point_with_another_tag_is_told_as_a_copy(server: FakeReader) -> None:
    server.point("candlewick", "2026-11-20T14:30:00Z", WHOLE)
    server.point("candlewick", "2026-11-20T14:30:00Z", PRICES)
    server.point("candlewick", "2026-11-20T14:30:00Z", {"close": "3"})
    server.point("candlewick", "2026-11-20T14:31:00Z", WHOLE)
    (part,) = await held(server)
    assert len(part.bars) == 2
    assert part.copies == {("A", "1m", 1_795_185_000_000_000_000): 2}


async def test_a_point_without_our_tags_is_a_bar_of_nobody(server: FakeReader) -> None:
    server.point("candlewick", "2026-11-20T14:30:00.000000001Z", WHOLE, ())
    (part,) = await held(server)
    assert list(part.bars) == [("", "", 1_795_185_000_000_000_001)]


async def test_times_are_asked_for_between_the_cuts(server: FakeReader) -> None:
    start = _nanoseconds("2026-11-20T14:30:00Z")
    for number in range(5):
        server.point("candlewick", f"2026-11-20T14:3{number}:00Z", WHOLE)
    cuts = [start + MINUTE, start + 3 * MINUTE]
    parts = await held(server, Span(start, start + 4 * MINUTE), [start, *cuts, start + 9 * MINUTE])
    assert [len(part.bars) for part in parts] == [1, 2, 1]
    borders = [start, *cuts, start + 4 * MINUTE]
    asked = [(begin, end) for bucket, begin, end in server.asked if bucket == "candlewick"]
    assert asked == list(pairwise(borders))
    assert {bucket for bucket, _, _ in server.asked} == {"candlewick", "candlewick_history"}
    assert await held(server, Span(5, 5)) == []


def csv_answer(text: str) -> Callable[[], web.Response]:
    return lambda: web.Response(text=text, content_type="text/csv")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda: web.Response(status=503, text="busy"), "HTTP 503"),
        (lambda: web.json_response({"message": "no rights"}, status=403), "HTTP 403: no rights: "),
        (
            csv_answer("error,reference\r\nthe storage\nhas failed,897\r\n"),
            "the storage",
        ),
        (
            csv_answer(f"{','.join(HEADER)}\r\n,,0,2026-11-20T14:30:00Z,x,close,1m,A\r\n"),
            "bars of A 1m at 1795185000000000000: a field is no number",
        ),
    ],
)
async def test_an_answer_that_is_no_rows_is_one_line(
    server: FakeReader, answer: Callable[[], web.Response], text: str
) -> None:
    server.answer = answer
    with pytest.raises(RunError, match=r"InfluxDB.*") as caught:
        await held(server)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_an_error_behind_rows_is_told(server: FakeReader) -> None:
    row = ",,0,2026-11-20T14:30:00Z,1,close,1m,A"
    server.answer = csv_answer(f"{','.join(HEADER)}\r\n{row}\r\n\r\n,error,reference\r\n,gone,\r\n")
    with pytest.raises(RunError, match="gone"):
        await held(server)


async def test_a_wrong_token_a_bucket_that_is_not_there_and_no_server_are_told(
    server: FakeReader,
) -> None:
    store = InfluxBars(settings_of(server.url, "writer-token"), "bars")
    with pytest.raises(RunError, match=r"HTTP 401: unauthorized access: set .*READER_TOKEN_FILE"):
        await store.positions()
    store = InfluxBars(settings_of(server.url, bucket="another"), "bars")
    with pytest.raises(RunError, match='HTTP 404: could not find bucket "another": '):
        await store.positions()
    store = InfluxBars(settings_of(f"http://127.0.0.1:{closed_port()}"), "bars")
    with pytest.raises(RunError, match="InfluxDB at http"):
        await store.positions()


def test_bars_that_the_bucket_has_let_go_are_told() -> None:
    now = _nanoseconds("2026-11-20T14:30:00Z")
    settings = settings_of("http://127.0.0.1:1", bar_retention="10d")
    store = InfluxBars(settings, "bars", lambda: now)
    day = 24 * 60 * MINUTE
    (note,) = store.notes(Drift("bars", first_missing=now - 11 * day))
    assert "bucket candlewick keeps points 10d" in note
    assert store.notes(Drift("bars", first_missing=now - 9 * day)) == []
    for_ever = settings_of("http://127.0.0.1:1", bar_retention="0s")
    assert InfluxBars(for_ever, "bars").notes(Drift("bars", first_missing=5)) == []


def test_settings_that_lack_are_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CANDLEWICK_INFLUX__URL is not set"):
        InfluxBars(settings_of(None), "bars")
    with pytest.raises(SettingsError, match="READER_TOKEN_FILE is not set"):
        InfluxBars(settings_of("http://127.0.0.1:1", None), "bars")
    wrong = settings_of("http://127.0.0.1:1", ca_file=tmp_path / "none.pem")
    with pytest.raises(SettingsError, match="CANDLEWICK_INFLUX__CA_FILE"):
        InfluxBars(wrong, "bars")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--archive", "folder"], "--archive needs --against archive or --log archive"),
        (["--against", "influx"], "CANDLEWICK_INFLUX__URL is not set"),
        (["--against", "postgres"], "'postgres' is not one of"),
        (["--log", "topic"], "'topic' is not one of"),
    ],
)
def test_what_cannot_be_compared_is_said_at_once(arguments: list[str], text: str) -> None:
    environment = {"CANDLEWICK_BROKER__URL": "kafka://127.0.0.1:1"}
    result = CliRunner().invoke(candlewick, ["reconcile", *arguments], env=environment)
    assert result.exit_code == exits.USAGE
    assert text in " ".join(result.output.split())


def test_agents_without_bars_are_left_out() -> None:
    environment = {"CANDLEWICK_AGENTS": "indicators"}
    result = CliRunner().invoke(candlewick, ["reconcile"], env=environment)
    assert result.exit_code == exits.USAGE
    assert "none of the agents publishes bars" in " ".join(result.output.split())
