"""What the pages load: our scripts and styles, read once, and the chart library.

A file is asked for with its content's hash in the address (`?v=`) and then kept by the browser for
good; without it (modules that import each other) the browser asks each time whether it has changed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.web.charts import find_library

#: The name under which the chart library is served.
LIBRARY: Final = "lightweight-charts.js"
FOREVER: Final = "public, max-age=31536000, immutable"
ASK_AGAIN: Final = "no-cache"
#: By the end of the name: other files of the folder are not served.
TYPES: Final = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HASH_DIGITS = 16


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent."""

    content: bytes
    content_type: str
    version: str

    def headers(self, version: str | None) -> dict[str, str]:
        """Return the caching headers of an answer to a request for that version of it."""
        kept = FOREVER if version == self.version else ASK_AGAIN
        return {"ETag": f'"{self.version}"', "Cache-Control": kept}


class StaticFiles:
    """The files of a folder, and the chart library as soon as it is installed."""

    def __init__(self, folder: Path) -> None:
        self._files = {
            path.name: _static(path.read_bytes(), TYPES[path.suffix])
            for path in sorted(folder.iterdir())
            if path.suffix in TYPES
        }

    def get(self, name: str) -> StaticFile | None:
        """Return the file of that name, if there is one."""
        if name == LIBRARY:
            self.look_for_library()
        return self._files.get(name)

    def look_for_library(self) -> str:
        """Look again while it is missing; return what is wrong, or an empty text."""
        if LIBRARY not in self._files:
            library = find_library()
            if library.content is None:
                return library.reason
            self._files[LIBRARY] = _static(library.content, TYPES[".js"])
        return ""

    def address(self, name: str) -> str:
        """Return where a page finds a file.

        Raises:
            KeyError: there is no such file.
        """
        return f"/static/{name}?v={self._files[name].version}"


def _static(content: bytes, content_type: str) -> StaticFile:
    return StaticFile(content, content_type, hashlib.sha256(content).hexdigest()[:_HASH_DIGITS])
