"""Dead letters by the JSON API: which topics there are, and their newest records."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from app.dead import DeadLetter
from app.run.errors import RunError, UnknownTopicError
from app.settings import Settings
from app.web import api as api_module
from tests.web.api_page import (
    Page,
    running_page,
)


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with running_page(tmp_path) as found:
        yield found


async def test_dead_letters_are_text_and_bytes(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    async def recent(settings: Settings, agent: str, limit: int) -> list[DeadLetter]:
        asked.append((agent, limit))
        values = (b"<script>\xff", None, b"x" * 100_000)
        return [
            DeadLetter("d.dead", 0, at, "malformed", "ticks", 0, 7, 1_381_154_400_000, value)
            for at, value in enumerate(values)
        ]

    monkeypatch.setattr(api_module, "recent_dead", recent)
    status, found = await page.get("/dead/bars?limit=3")
    assert (status, found["agent"], asked) == (200, "bars", [("bars", 3)])
    first, second, third = found["dead"]
    assert (first["text"], first["base64"]) == ("<script>\ufffd", "PHNjcmlwdD7/")
    assert (first["append_time"], first["append_time_ms"]) == (
        "2013-10-07T14:00:00.000Z",
        1_381_154_400_000,
    )
    assert (second["text"], second["bytes"], second["cut"]) == (None, None, False)
    assert (third["bytes"], third["cut"], len(third["text"])) == (100_000, True, 16_384)
    assert msgspec.json.encode(found)


async def test_dead_letters_of_the_sinks_name_the_sink(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def recent(settings: Settings, agent: str, limit: int) -> list[DeadLetter]:
        letter = DeadLetter("d.sinks.dead", 0, 3, "a NUL", "d.bars", 1, 7, 1_381_154_400_000, b"{}")
        return [replace(letter, headers=(("sink", b"postgres"),)), replace(letter, offset=2)]

    monkeypatch.setattr(api_module, "recent_dead", recent)
    status, found = await page.get("/dead/sinks")
    assert (status, found["agent"]) == (200, "sinks")
    assert [each.get("sink") for each in found["dead"]] == ["postgres", None]


async def test_topics_of_dead_letters_are_those_that_there_are(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def topics(settings: Settings) -> dict[str, str]:
        return {"bars": "d.bars.dead", "sinks": "d.sinks.dead"}

    monkeypatch.setattr(api_module, "dead_topics", topics)
    assert await page.get("/dead") == (
        200,
        {
            "topics": [
                {"agent": "bars", "topic": "d.bars.dead"},
                {"agent": "sinks", "topic": "d.sinks.dead"},
            ]
        },
    )


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (UnknownTopicError("topic d.pairs.dead does not exist"), 404, "there are no dead letters"),
        (RunError("could not be read\nwithin 15 s"), 503, "dead letters cannot be read"),
    ],
)
async def test_a_topic_that_is_not_there_is_unknown_and_a_slow_one_unavailable(
    page: Page, monkeypatch: pytest.MonkeyPatch, error: RunError, status: int, text: str
) -> None:
    async def fails(settings: Settings, agent: str, limit: int) -> list[DeadLetter]:
        raise error

    monkeypatch.setattr(api_module, "recent_dead", fails)
    found_status, found = await page.get("/dead/pairs")
    assert found_status == status
    assert found["error"] == f"{text}: {' '.join(str(error).split())}"


@pytest.mark.parametrize("path", ["/dead", "/dead/bars", "/dead/sinks"])
async def test_dead_letters_without_a_broker(page: Page, path: str) -> None:
    status, found = await page.get(path)
    assert status == 503
    assert found["error"].startswith("dead letters cannot be read: ")
