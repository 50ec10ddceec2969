"""The application that `faust -A app worker` runs: settings, stages, agents, put together."""

from __future__ import annotations

from typing import Any

from agents import bars, indicators, quotes
from app.assembly import make_app
from app.observe.logs import faust_logging
from app.settings import load_settings

AGENTS: dict[str, Any] = {"bars": bars, "indicators": indicators, "quotes": quotes}

settings = load_settings()
stages = {name: AGENTS[name].make_stage(settings) for name in settings.agents}
app = make_app(settings, list(stages.values()), **faust_logging(settings))
for name, stage in stages.items():
    AGENTS[name].register(app, stage)
