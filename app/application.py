"""The application that `faust -A app worker` runs: settings, stages, agents, put together."""

from __future__ import annotations

from importlib import import_module

from app.assembly import make_app
from app.observe.logs import faust_logging
from app.settings import load_settings
from app.sinks.service import follow_with_sinks

settings = load_settings()
# Each agent is a module of its name; what is not chosen is not loaded.
agents = {name: import_module(f"agents.{name}") for name in settings.agents}
stages = {name: agent.make_stage(settings) for name, agent in agents.items()}
app = make_app(settings, list(stages.values()), **faust_logging(settings))
for name, agent in agents.items():
    agent.register(app, stages[name])
follow_with_sinks(app.engine)
