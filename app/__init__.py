"""Candlewick: what it runs on (settings, topics, contracts, streaming, feeds, web, broker, CLI).

`faust -A app worker` finds the Faust application as `app.app`; it is made on first use, so
that pure parts (`app.contracts`, `app.settings`) load without Faust.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "app":
        from app.application import app

        return app
    raise AttributeError(f"module 'app' has no attribute {name!r}")
