"""The pages for people: `/candles`, `/tables`, `/partitions`, `/dead`, and what they load.

The server sends shells (templates/, escaped by jinja2); the data come from the JSON API and are
written by static/*.js as text, never as markup. The policy in `HEADERS` lets a browser load nothing
but this worker's own files, so that what is not text does not run either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import faust
import jinja2
from faust.web import Request, Response, View

from app.web import charts
from app.web.html_static import LIBRARY, StaticFiles

FOLDER: Final = Path(__file__).resolve().parent
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'; object-src 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
#: Path, template and title; in the order of the navigation.
PAGES: Final = (
    ("/candles", "candles.html", "Candles"),
    ("/tables", "tables.html", "Tables"),
    ("/partitions", "partitions.html", "Partitions"),
    ("/dead", "dead.html", "Dead letters"),
)
FOUND, NOT_MODIFIED, NOT_FOUND = 302, 304, 404


class Shells:
    """The templates; they find the addresses of what they load by themselves."""

    def __init__(self, files: StaticFiles) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            pages=[(path, title) for path, _, title in PAGES],
            address=files.address,
            library_fault=files.look_for_library,
            library=LIBRARY,
            library_install=charts.INSTALL,
            library_version=charts.VERSION,
        )

    def render(self, template: str, active: str, title: str, **values: object) -> str:
        """Return a page's markup; `active` is the path that the navigation marks."""
        found = self._environment.get_template(template)
        return found.render(active=active, title=title, **values)


def register_html(app: faust.App) -> None:
    """Add the pages to Faust's web application; call it once, before the worker starts."""
    files = StaticFiles(FOLDER / "static")
    shells = Shells(files)

    # First of all pages: Faust's own "/" comes later and a router takes the first that fits.
    @app.page("/", name="candlewick:home")
    class HomePage(View):
        """To the candle page."""

        async def get(self, request: Request) -> Response:
            return self.text("", status=FOUND, headers=HEADERS | {"Location": PAGES[0][0]})

    for path, template, title in PAGES:
        app.page(path, name=f"candlewick:html{path}")(_page(shells, path, template, title))

    @app.page("/tables/{table}", name="candlewick:html/table")
    class TablePage(View):
        """The rows of one table; whether there is such a table, the API says."""

        async def get(self, request: Request, table: str) -> Response:
            text = shells.render("table.html", "/tables", table, table=table)
            return self.html(text, headers=HEADERS)

    @app.page("/static/{name}", name="candlewick:static")
    class StaticPage(View):
        """Our own scripts and styles, and the chart library."""

        async def get(self, request: Request, name: str) -> Response:
            found = files.get(name)
            if found is None:
                return self.text(f"no file {name}\n", status=NOT_FOUND, headers=HEADERS)
            version = getattr(request, "query", {}).get("v")
            headers = HEADERS | found.headers(version)
            if request.headers.get("If-None-Match") == headers["ETag"]:
                return self.bytes(b"", status=NOT_MODIFIED, headers=headers)
            return self.bytes(found.content, content_type=found.content_type, headers=headers)


def _page(shells: Shells, path: str, template: str, title: str) -> type[View]:
    class Page(View):
        """A shell whose data the browser asks for."""

        async def get(self, request: Request) -> Response:
            return self.html(shells.render(template, path, title), headers=HEADERS)

    return Page
