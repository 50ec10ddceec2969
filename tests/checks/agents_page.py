"""The table of agents in `docs/agents.md`: `python -m tests.checks.agents_page --write`."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.topics import AGENT_TOPICS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "agents.md"
BEGIN, END = "<!-- agents -->\n", "<!-- /agents -->\n"


def table() -> str:
    """Return the rows: each agent, what it reads, what it writes."""
    rows = []
    for agent, topics in AGENT_TOPICS.items():
        outputs = "; ".join(
            f"`{name}`: {carries}"
            for output, (name, carries) in topics.outputs.items()
            if output != "dead"
        )
        rows.append(f"| `{agent}` | `{topics.source}` | {outputs} |\n")
    return "".join(rows)


def page(text: str) -> str:
    """Return the page with the table as it is now."""
    before, rest = text.split(BEGIN)
    _, behind = rest.split(END)
    head = "| agent | reads | writes |\n|---|---|---|\n"
    before = before.replace(head, "").rstrip("\n") + "\n\n"
    return f"{before}{BEGIN}{head}{table()}{END}{behind}"


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(prog="python -m tests.checks.agents_page")
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table(), end="")


if __name__ == "__main__":
    main()
