"""Kinds of recorded data, and the agent that each is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from app.feeds.files import Kind

AGENT_OF: Final[dict[Kind, str]] = {"trades": "bars", "quotes": "quotes"}
KIND_OF: Final[dict[str, Kind]] = {agent: kind for kind, agent in AGENT_OF.items()}
