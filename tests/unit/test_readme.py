"""What the pages say exists: commands, options, targets, files, links, settings, examples."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.cli import candlewick
from app.contracts.records import Bar, Trade
from app.run.environment import environment_name, setting_text, walk_settings
from app.settings import Settings
from tests.unit.test_import_rules import OURS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "app/README.md", "deploy/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
FOLDERS = ("app", "agents", "tables", "models", "deploy", "docs", "tests")
#: A path of the checkout in backticks, in a link or in a command.
PATH = re.compile(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})(?:/[\w.-]+)+")
CODE = re.compile(r"`([^`\n]+)`|^ {4}(\S.*)$", re.MULTILINE)
LINK = re.compile(r"\[[^\]\n]+\]\(([^)\s]+)\)")
SETTING = re.compile(r"CANDLEWICK_[A-Z_]+")
ROW = re.compile(r"^\| `(CANDLEWICK_\w+)` \| (`[^`]*`|not set|empty) \|", re.MULTILINE)

page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def commands(text: str, program: str) -> Iterator[list[str]]:
    """The words behind a program's name, wherever a page shows a command."""
    for match in CODE.finditer(text):
        code = match[1] or match[2]
        words = code.split()
        if words and words[0].removeprefix(".venv/bin/") == program:
            yield words[1:]


def options_of(command: click.Command) -> set[str]:
    return {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {
        "--help",
        "--version",
    }


@page
def test_every_command_and_option_is_there(path: Path) -> None:
    for words in commands(path.read_text(encoding="utf-8"), "candlewick"):
        command: click.Command = candlewick
        names: list[str] = []
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            assert words[0] in command.commands, f"candlewick {' '.join([*names, words[0]])}"
            command = command.commands[words[0]]
            names.append(words.pop(0))
        given = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert given <= options_of(command), f"candlewick {' '.join([*names, *words])}"
        assert CliRunner().invoke(candlewick, [*names, "--help"]).exit_code == 0


def test_commands_are_found_in_every_form() -> None:
    text = (
        "see `candlewick run --help`\n\n    .venv/bin/candlewick bars AAA\n\nno candlewick here\n"
    )
    assert list(commands(text, "candlewick")) == [["run", "--help"], ["bars", "AAA"]]


@page
def test_every_target_of_make_is_there(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) \?=", makefile, re.MULTILINE))
    for words in commands(path.read_text(encoding="utf-8"), "make"):
        assigned = {word.partition("=")[0] for word in words if "=" in word}
        assert {word for word in words if "=" not in word} <= targets, f"make {' '.join(words)}"
        assert assigned <= variables, f"make {' '.join(words)}"


@page
def test_every_file_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    missing = {name for name in PATH.findall(text) if not (ROOT / name.rstrip(".")).exists()}
    assert missing == set()


@page
def test_every_link_leads_to_a_file(path: Path) -> None:
    links = LINK.findall(path.read_text(encoding="utf-8"))
    missing = [
        link
        for link in links
        if "://" in link or not (path.parent / link.partition("#")[0]).resolve().exists()
    ]
    assert missing == []


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The text of every setting's default, by its name in the environment."""
    for name in list(os.environ):
        if name.upper().startswith("CANDLEWICK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    found = {}
    for path, field, value in walk_settings(Settings()):
        text = setting_text(field, value)
        shown = "not set" if text is None else f"`{text}`" if text else "empty"
        found[environment_name(path)] = shown
    return found


def test_the_table_of_settings_has_the_defaults(defaults: dict[str, str]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = dict(ROW.findall(text))
    assert len(table) == text.count("\n| `CANDLEWICK_"), "a row cannot be read"
    assert len(table) >= 15
    assert table == {name: defaults.get(name) for name in table}


@page
def test_every_setting_is_there(path: Path, defaults: dict[str, str]) -> None:
    names = set(SETTING.findall(path.read_text(encoding="utf-8")))
    # `CANDLEWICK_...` stands for all of them.
    assert names - {"CANDLEWICK_", "CANDLEWICK_CONFIG"} <= set(defaults)


def fields_of(page: str, heading: str) -> list[str]:
    """First column of the table of a section."""
    section = (ROOT / "docs" / page).read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section.partition("\n## ")[0], re.MULTILINE)
    return re.findall(r"\w+", " ".join(cells))


def test_the_pages_tell_every_field_of_the_contracts() -> None:
    assert sorted(fields_of("send-your-own-ticks.md", "The message")) == sorted(Trade.model_fields)
    assert fields_of("read-the-bars.md", "The record") == list(Bar.model_fields)


def test_the_messages_that_are_shown_are_of_the_contracts() -> None:
    for name, contract in (("send-your-own-ticks.md", Trade), ("read-the-bars.md", Bar)):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        found = re.search(r"```json\n(.*?)```", text, re.DOTALL)
        assert found is not None
        contract.model_validate_json(found[1])


def test_the_figures_have_a_place_of_their_own() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("<!-- figures -->") == text.count("<!-- /figures -->") == 1
    assert text.index("<!-- figures -->") < text.index("<!-- /figures -->")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_use_nothing_of_ours_and_tell_how_to_run_them(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not {name.partition(".")[0] for name in imported} & {*OURS, "tests"}
    assert f"python docs/examples/{path.name} " in (ast.get_docstring(tree) or "")
