"""The application that `faust -A app worker` runs: settings, stages, agents, put together."""

from __future__ import annotations

from agents import bars
from app.assembly import make_app
from app.observe.logs import faust_logging
from app.settings import load_settings

settings = load_settings()
stage = bars.BarsStage(settings)
app = make_app(settings, [stage], **faust_logging(settings))
bars.register(app, stage)
