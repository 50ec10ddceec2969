"""The chart library of the candle page: JavaScript out of a wheel that set-up installs.

TradingView's Lightweight Charts is published for npm; set-up has no Node. The wheel
`lwcharts` carries the same production build. Its Python part (which wants pandas) is neither
installed with what it needs nor ever imported: the file is found through the wheel's metadata, and
served only if it is, byte for byte, the build that npm's `lightweight-charts` 5.2.0 publishes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from typing import Final

#: As in requirements-charts.lock.
WHEEL: Final = "lwcharts"
WHEEL_VERSION: Final = "0.3.0"
#: Of the library itself.
VERSION: Final = "5.2.0"
FILE: Final = "lwcharts/vendor/lightweight-charts.standalone.production.js"
#: SHA-256 of `dist/lightweight-charts.standalone.production.js` in npm's lightweight-charts 5.2.0.
SHA256: Final = "c0992580867c4912cc9385b3c2728315bcc1a76c7f1087dca908430fccdf31d7"
INSTALL: Final = f"python -m pip install --no-deps {WHEEL}=={WHEEL_VERSION}"


@dataclass(frozen=True, slots=True)
class ChartLibrary:
    """The library's file, or why there is none.

    Attributes:
        content: the JavaScript; None where it is missing or another one.
        reason: one sentence for the page; empty where there is a file.
    """

    content: bytes | None
    reason: str = ""


def find_library(wheel: str = WHEEL) -> ChartLibrary:
    """Look for the library among the installed packages; nothing of it is imported."""
    try:
        found = metadata.distribution(wheel)
    except metadata.PackageNotFoundError:
        return ChartLibrary(None, "The chart library is not installed.")
    try:
        # `locate_file` promises a path of its own kind, for wheels in folders it is a `Path`.
        content = found.locate_file(FILE).read_bytes()  # type: ignore[attr-defined]
    except OSError as error:
        return ChartLibrary(None, f"The chart library cannot be read: {error.strerror}.")
    if hashlib.sha256(content).hexdigest() != SHA256:
        return ChartLibrary(
            None,
            f"The chart library of {wheel} {found.version} is not Lightweight Charts {VERSION}.",
        )
    return ChartLibrary(content)
