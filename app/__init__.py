"""Candlewick: what it runs on (settings, topics, contracts, streaming, feeds, web, broker, CLI).

`faust -A app worker` finds the Faust application as `app.app`; it is made on first use, so
that pure parts (`app.contracts`, `app.settings`) load without Faust.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def _application() -> Any:
    """Make the application; what keeps it from being made ends this process with one line."""
    from app.exits import FAILURE, REFUSED, OperatorError, RefusalError
    from app.settings import SettingsError

    try:
        from app.application import app
    except (SettingsError, OperatorError) as error:
        # Faust imports it before there is a worker that could say so.
        from app.observe.worker import refuse

        final = isinstance(error, SettingsError | RefusalError)
        refuse(error, REFUSED if final else FAILURE)
    return app


def __getattr__(name: str) -> Any:
    if name == "app":
        return _application()
    raise AttributeError(f"module 'app' has no attribute {name!r}")
