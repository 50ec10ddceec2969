"""The rules of dependency between the packages, read from the source without importing it.

``tables`` and ``models`` are pure: no Kafka, no Faust, of ``app`` the contracts only. Agents are
thin: decode, call pure code, send. ``app`` never looks up at agents, and ``app.streaming``
knows nothing of what flows through it. ``tests/oracle`` checks our bars, so it imports nothing
of ours.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("app", "agents", "tables", "models")
MAXIMUM_LINES = 500

#: Of ``app``, pure code may use what has no Kafka in it.
PURE_PARTS_OF_APP = ("app.contracts", "app.durations")
KAFKA_WORLD = ("faust", "mode", "aiokafka", "confluent_kafka", "rocksdict")
#: Makes the application out of the agents, so these alone look up at them.
COMPOSITION = ("app/application.py", "app/cli.py", "app/cli/")


def source_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imported_names(path: Path) -> Iterator[str]:
    """Yield the full name of each module, or name of a module, that the file imports anywhere."""
    module = path.relative_to(ROOT).with_suffix("").parts
    package = module[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            # `from app import streaming` names a module too.
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def is_within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def offences(
    folders: tuple[str, ...], forbidden: tuple[str, ...], allowed: tuple[str, ...] = ()
) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in source_files(*folders)
        for name in imported_names(path)
        if is_within(name, forbidden) and not is_within(name, allowed)
    ]


@pytest.mark.parametrize("package", ["tables", "models"])
def test_pure_code_imports_no_kafka_and_of_app_the_contracts_only(package: str) -> None:
    assert offences((package,), (*KAFKA_WORLD, "agents"), ()) == []
    assert offences((package,), ("app",), PURE_PARTS_OF_APP) == []


def test_contracts_import_no_kafka_and_nothing_else_of_ours() -> None:
    assert offences(("app/contracts",), (*KAFKA_WORLD, *OURS), PURE_PARTS_OF_APP) == []


def test_tables_do_not_import_models() -> None:
    assert offences(("tables",), ("models",)) == []


def test_agents_import_of_ours_tables_models_and_app() -> None:
    assert offences(("agents",), ("tests", "deploy")) == []


def test_streaming_knows_neither_agents_nor_their_arithmetic() -> None:
    assert offences(("app/streaming",), ("agents", "tables", "models", "app.web", "app.cli")) == []


def test_app_does_not_import_agents_but_where_the_application_is_made() -> None:
    assert [
        line for line in offences(("app",), ("agents",)) if not line.startswith(COMPOSITION)
    ] == []


def test_nothing_that_runs_imports_tests() -> None:
    assert offences(OURS, ("tests",)) == []


def test_the_oracle_imports_nothing_of_what_it_judges() -> None:
    assert offences(("tests/oracle",), OURS) == []


def test_no_file_is_longer_than_the_limit() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in source_files(*OURS, "tests")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAXIMUM_LINES
    }
    assert long == {}


def test_the_rules_see_every_way_of_importing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    folder = tmp_path / "tables" / "deep"
    folder.mkdir(parents=True)
    (folder / "one.py").write_text(
        "import faust.app\n"
        "from app import streaming\n"
        "from ..windows import close\n"
        "from . import near\n"
        "def later():\n"
        "    from aiokafka import errors\n"
    )
    assert sorted(imported_names(folder / "one.py")) == [
        "aiokafka.errors",
        "app.streaming",
        "faust.app",
        "tables.deep.near",
        "tables.windows.close",
    ]
    assert offences(("tables",), KAFKA_WORLD) == [
        "tables/deep/one.py imports faust.app",
        "tables/deep/one.py imports aiokafka.errors",
    ]
