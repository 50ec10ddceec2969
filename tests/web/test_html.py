"""The pages' shells and files: headers, escaping, caching, and the chart library's wheel."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from app.web import charts, html_static
from app.web.charts import FILE, SHA256, ChartLibrary, find_library
from app.web.html import FOLDER, PAGES
from app.web.html_static import FOREVER, LIBRARY
from tests.web.fake_api import FakeApi, serve

ROOT = Path(__file__).resolve().parents[2]
PATHS = [path for path, _, _ in PAGES] + ["/tables/bars"]


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with serve(FakeApi()) as origin, ClientSession(origin) as session:
        yield session


@pytest.mark.parametrize("path", [*PATHS, "/", "/static/candlewick.css", "/static/none.css"])
async def test_every_answer_has_the_strict_headers(client: ClientSession, path: str) -> None:
    async with client.get(path, allow_redirects=False) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_the_first_page_is_the_candles(client: ClientSession) -> None:
    async with client.get("/", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/candles")


@pytest.mark.parametrize("path", PATHS)
async def test_a_page_loads_nothing_but_files_that_are_there(
    client: ClientSession, path: str
) -> None:
    async with client.get(path) as answer:
        assert answer.content_type == "text/html"
        text = await answer.text()
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert 'style="' not in text
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=", text)
    loaded = re.findall(r'(?:src|href)="(/static/[^"]+)"', text)
    assert len(loaded) >= 4
    for address in loaded:
        async with client.get(address) as answer:
            assert answer.status == 200, address
            assert answer.headers["Cache-Control"] == FOREVER


async def test_every_label_and_every_control_belong_together(client: ClientSession) -> None:
    for path in PATHS:
        async with client.get(path) as answer:
            text = await answer.text()
        controls = set(re.findall(r'<(?:input|select)\b[^>]*\bid="([^"]+)"', text))
        assert controls == set(re.findall(r'<label for="([^"]+)"', text)), path
        headings = re.findall(r"<th\b[^>]*>", text)
        assert all('scope="col"' in heading for heading in headings), path


async def test_text_in_the_address_is_escaped(client: ClientSession) -> None:
    async with client.get('/tables/"><img src=x onerror=alert(1)>') as answer:
        text = await answer.text()
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert 'data-table="&#34;&gt;&lt;img' in text


async def test_files_without_a_version_are_asked_for_again(client: ClientSession) -> None:
    async with client.get("/static/common.js") as answer:
        assert answer.content_type == "text/javascript"
        assert answer.headers["Cache-Control"] == "no-cache"
        tag = answer.headers["ETag"]
    async with client.get("/static/common.js", headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304
    async with client.get("/static/common.js?v=another") as answer:
        assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["none.js", "..%2Fhtml.py", "%2Fetc%2Fpasswd"])
async def test_only_the_known_files_are_served(client: ClientSession, name: str) -> None:
    async with client.get(f"/static/{name}") as answer:
        assert answer.status == 404


def test_our_scripts_never_write_markup() -> None:
    scripts = sorted((FOLDER / "static").glob("*.js"))
    assert len(scripts) >= 8
    for path in scripts:
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function",
            path.read_text(encoding="utf-8"),
        )
        assert found == [], path.name


# --- the chart library -------------------------------------------------------------------------


def test_the_lock_the_makefile_and_the_code_name_the_same_wheel() -> None:
    wheel = f"{charts.WHEEL}=={charts.WHEEL_VERSION}"
    lock = (ROOT / "requirements-charts.lock").read_text(encoding="utf-8")
    assert re.findall(r"^\S+", lock, re.MULTILINE) == [wheel]
    assert lock.count("--hash=sha256:") >= 1
    assert f"CHARTS := {wheel}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert charts.INSTALL.endswith(wheel)


def test_the_library_is_the_published_build_of_its_version() -> None:
    library = find_library()
    assert library.reason == ""
    assert library.content is not None
    assert f"Lightweight Charts™ v{charts.VERSION}" in library.content[:200].decode()
    assert charts.VERSION in (ROOT / "NOTICE").read_text(encoding="utf-8")


async def test_the_library_is_kept_by_the_browser(client: ClientSession) -> None:
    address = f"/static/{LIBRARY}?v={SHA256[:16]}"
    async with client.get(address) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/javascript"
        assert answer.headers["Cache-Control"] == FOREVER


def installed(folder: Path, content: bytes | None) -> str:
    """A wheel's metadata in a folder, with its file; its name."""
    metadata = folder / "otherwheel-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: otherwheel\nVersion: 1.0\n", "utf-8")
    if content is not None:
        (folder / FILE).parent.mkdir(parents=True)
        (folder / FILE).write_bytes(content)
    return "otherwheel"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"alert(1)", r"otherwheel 1\.0 is not Lightweight Charts"),
        (None, "cannot be read: No such"),
    ],
)
def test_another_file_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, reason: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    library = find_library(installed(tmp_path, content))
    assert library.content is None
    assert re.search(reason, library.reason)


def test_a_missing_wheel_is_told() -> None:
    assert find_library("no-such-wheel-anywhere").reason == "The chart library is not installed."


async def test_without_the_library_the_page_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault = "The chart library is not installed."
    monkeypatch.setattr(html_static, "find_library", lambda: ChartLibrary(None, fault))
    async with serve(FakeApi()) as origin, ClientSession(origin) as session:
        async with session.get("/candles") as answer:
            text = await answer.text()
        async with session.get(f"/static/{LIBRARY}") as answer:
            assert answer.status == 404
        assert answer.status == 404
        assert fault in text
        assert f"<pre>{charts.INSTALL}</pre>" in text
        assert LIBRARY not in text

        # Installed meanwhile: the next page has it.
        monkeypatch.undo()
        async with session.get("/candles") as answer:
            assert f"/static/{LIBRARY}?v=" in await answer.text()
