"""What a shell is offered: asked as the shell asks, by its variables."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app import exits
from app.cli import candlewick
from app.cli.common import CandlewickGroup
from app.cli.completion import SHELLS, VARIABLE
from app.contracts.reasons import REASONS
from app.settings import PREFIX
from app.topics import ALL_SINKS, BURYING


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder of its own, no settings around."""
    for name in list(os.environ):
        if name.upper().startswith("CANDLEWICK_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def offered(line: str) -> list[str]:
    """What bash is offered at the end of a line: the last word is the one being typed."""
    words = line.split(" ")
    environment = {
        VARIABLE: "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    result = CliRunner().invoke(candlewick, [], prog_name="candlewick", env=environment)
    assert result.exit_code == exits.OK, result.output
    # Nothing to offer is an empty line.
    return [entry.partition(",")[2] for entry in result.output.splitlines() if entry]


def test_the_variable_is_no_setting() -> None:
    assert not VARIABLE.startswith(PREFIX)


def test_commands_are_offered() -> None:
    assert offered("candlewick ") == sorted(candlewick.commands)
    assert offered("candlewick do") == ["doctor"]
    assert offered("candlewick dead ") == ["list", "resend", "show"]
    assert offered("candlewick broker st") == ["start", "status", "stop"]


def test_options_are_offered() -> None:
    assert offered("candlewick topics --s") == ["--schema"]
    assert {"--follow", "--json", "--deployment"} <= set(offered("candlewick bars SPY --"))


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("candlewick dead list --agent ", [*BURYING, ALL_SINKS]),
        ("candlewick dead list --reason ", list(REASONS)),
        ("candlewick dead resend --reason wrong", ["wrong_partition"]),
        ("candlewick bars SPY --kind ", ["trades", "quotes"]),
        ("candlewick bars SPY --interval 1", ["1s", "10s", "1m", "15m"]),
        ("candlewick worker --level w", ["warning"]),
        ("candlewick completion ", list(SHELLS)),
    ],
)
def test_choices_are_offered(line: str, choices: list[str]) -> None:
    assert offered(line) == choices


def test_deployments_with_a_folder_here_are_offered(tmp_path: Path) -> None:
    assert offered("candlewick reset --deployment ") == []
    for name in ("default", "trial", "p.other", "trial-2"):
        (tmp_path / "data" / "state" / name).mkdir(parents=True)
    (tmp_path / "data" / "state" / "tracks").touch()
    assert offered("candlewick reset --deployment ") == ["default", "trial", "trial-2"]
    assert offered("candlewick reset --deployment tr") == ["trial", "trial-2"]
    assert offered("candlewick reset --prefix p. --deployment ") == ["other"]


def test_settings_that_cannot_be_read_offer_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDLEWICK_NONSENSE", "1")
    assert offered("candlewick reset --deployment ") == []


@pytest.fixture(params=SHELLS)
def script(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """Each shell's script in a file."""
    result = CliRunner().invoke(candlewick, ["completion", request.param])
    assert result.exit_code == exits.OK
    path = tmp_path / f"complete.{request.param}"
    path.write_text(result.stdout, encoding="utf-8")
    return request.param, path


def test_the_script_is_of_its_shell(script: tuple[str, Path]) -> None:
    shell, path = script
    text = path.read_text(encoding="utf-8")
    assert f"{VARIABLE}={shell}_complete" in text
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: its script's syntax is not checked")
    checked = subprocess.run(
        [shell, "-n", str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_bash_itself_completes(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    script = CliRunner().invoke(candlewick, ["completion", "bash"]).stdout
    command = tmp_path / "bin" / "candlewick"
    command.parent.mkdir()
    root = Path(__file__).resolve().parents[2]
    python = sys.executable
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{root}" exec "{python}" -m app.cli "$@"\n')
    command.chmod(0o755)
    ask = (
        f"{script}\nCOMP_WORDS=(candlewick dead re); COMP_CWORD=2\n"
        '_candlewick_completion candlewick; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environment = {"PATH": f"{command.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(
        [bash, "--norc", "-c", ask],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert done.stdout.splitlines() == ["resend"], done.stderr


def test_help_lists_every_command_below_one_heading() -> None:
    text = CliRunner().invoke(candlewick, ["--help"]).output
    for name in candlewick.commands:
        assert text.count(f"\n  {name} ") == 1
    for heading in ("Start", "Send", "Look", "Operate"):
        assert f"\n{heading}:\n" in text
    assert "\nCommands:\n" not in text


def test_commands_without_a_heading_are_listed_too() -> None:
    @click.group(cls=CandlewickGroup)
    def group() -> None:
        """A group."""

    @group.command()
    def one() -> None:
        """Do one thing."""

    @group.command(hidden=True)
    def two() -> None:
        """Do another thing."""

    text = CliRunner().invoke(group, ["--help"]).output
    assert "Commands:\n  one  Do one thing.\n" in text
    assert "two" not in text


def leaves(command: click.Command, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The full name of each command that does something."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*names, name))
    else:
        yield names


@pytest.mark.parametrize("names", list(leaves(candlewick, ())), ids=" ".join)
def test_help_has_an_example_that_can_be_parsed(names: tuple[str, ...]) -> None:
    text = CliRunner().invoke(candlewick, [*names, "--help"]).output
    assert "xample" in text
    shown = text.partition("\nOptions:")[0].partition("xample")[2]
    examples = re.findall(rf"candlewick {' '.join(names)}\b(.*)", shown)
    assert examples
    command: click.Command = candlewick
    for name in names:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    known = {option for each in command.params for option in each.opts} | {"--help"}
    for example in examples:
        given = {word for word in example.split() if word.startswith("-")}
        assert given <= known, example
