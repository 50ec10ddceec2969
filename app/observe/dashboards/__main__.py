"""Writes or compares `deploy/grafana`: `python -m app.observe.dashboards --write`."""

from __future__ import annotations

import argparse
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
    parser = argparse.ArgumentParser(prog="python -m app.observe.dashboards", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write what differs")
    write = parser.parse_args(arguments).write
    differing = [
        (path, text)
        for path, text in files(root).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in differing:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(f"{'written' if write else 'differs'}: {path.relative_to(root)}")
    return int(bool(differing) and not write)


if __name__ == "__main__":
    sys.exit(main())
