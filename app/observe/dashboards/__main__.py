"""Writes or compares `deploy/grafana`: `python -m app.observe.dashboards --write`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from app.observe.dashboards.building import dashboard_json
from app.observe.dashboards.engine import ENGINE
from app.observe.dashboards.market import MARKET
from app.observe.dashboards.model import Dashboard
from app.observe.dashboards.models import MODELS
from app.observe.dashboards.provisioning import datasources, providers
from app.observe.dashboards.sinks import SINKS
from app.observe.made import write_or_compare
from app.observe.rules import to_yaml

ROOT = Path(__file__).resolve().parents[3]
DASHBOARDS: tuple[Dashboard, ...] = (MARKET, ENGINE, SINKS, MODELS)
MADE = (
    "Made by `python -m app.observe.dashboards --write` from app/observe/dashboards: change that."
)


def files(root: Path = ROOT) -> dict[Path, str]:
    """Return every file that is made from the code, with what should stand in it."""
    folder = root / "deploy" / "grafana"
    made = {
        folder / "provisioning" / "datasources" / "candlewick.yml": to_yaml(datasources(), MADE),
        folder / "provisioning" / "dashboards" / "candlewick.yml": to_yaml(providers(), MADE),
    }
    return made | {
        folder / "dashboards" / f"{each.name}.json": dashboard_json(each) for each in DASHBOARDS
    }


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Compare the files with the code, or write them; return the exit code."""
    return write_or_compare(
        files(root),
        root,
        program="python -m app.observe.dashboards",
        description=__doc__,
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
