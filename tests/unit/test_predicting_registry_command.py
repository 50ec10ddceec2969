"""`candlewick models`: list, show, publish, promote, rollback, verify."""

from __future__ import annotations

import json
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from app.cli.common import CandlewickGroup
from app.cli.models_registry import COMMANDS, registry_location
from app.settings import Settings
from models.predicting.registry import Registry
from tests.unit.model_records import FILES, boosted, described


@click.group(cls=CandlewickGroup)
def models() -> None:
    """Stand for the group that the commands are registered with."""


for _command in COMMANDS:
    models.add_command(_command)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def registry(place: Path) -> Registry:
    found = Registry.at(place)
    for _ in range(2):
        found.publish(described(), FILES)
    return found


def command(place: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(models, [*map(str, arguments), "--registry", str(place)])


def test_the_place_is_in_the_data_folder_unless_one_is_chosen(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert registry_location(settings) == str(tmp_path / "models")
    assert registry_location(settings, "s3://bucket/models") == "s3://bucket/models"


def test_a_list_has_versions_and_who_names_them(place: Path, registry: Registry) -> None:
    registry.promote("returns", "champion", 2, reason="", time=1)
    (place / "returns/versions/000001/manifest.json").write_bytes(b"{}")
    shown = command(place, "list")
    assert shown.exit_code == 0
    lines = [line.split() for line in shown.output.splitlines()]
    assert lines[0][:4] == ["MODEL", "VERSION", "ALIASES", "KIND"]
    assert lines[1][:3] == ["returns", "1", "broken"]
    assert lines[2][:4] == ["returns", "2", "champion", "xgboost"]
    rows = json.loads(command(place, "list", "returns", "--json").output)
    assert [row["aliases"] for row in rows] == [[], ["champion"]]
    assert "manifest.json: format unknown" in rows[0]["fault"]
    assert rows[1]["manifest"]["rows"] == 1_000


def test_an_empty_registry_is_a_header(place: Path) -> None:
    assert command(place, "list").output.startswith("MODEL")
    assert command(place, "verify").exit_code == 0


def test_promotion_and_rollback_are_told_and_shown(place: Path, registry: Registry) -> None:
    for version in ("1", "2"):
        moved = command(place, "promote", "returns", version, "--reason", "better", "--by", "Ann")
        assert moved.exit_code == 0
    assert moved.output == "returns champion: version 2, generation 2\n"
    back = command(place, "rollback", "returns", "--reason", "worse live")
    assert back.output == "returns champion: version 1, generation 3\n"
    shown = command(place, "show", "returns").output
    assert "model      returns 1, xgboost" in shown
    assert "score      zero: mse 1.1e-05" in shown
    assert "by Ann: better" in shown
    assert "worse live" in shown
    found = json.loads(command(place, "show", "returns", "1", "--json").output)
    assert [move["verb"] for move in found["moves"]] == ["promote", "rollback"]


def test_what_is_broken_is_one_line(place: Path, registry: Registry) -> None:
    path = place / "returns/versions/000002/model.ubj"
    path.write_bytes(b"short")
    line = f"candlewick: {path}: 5 bytes; expected 20 bytes\n"
    refused = command(place, "promote", "returns", "2", "--reason", "x")
    assert (refused.exit_code, refused.stderr) == (1, line)
    verified = command(place, "verify")
    assert verified.exit_code == 1
    assert verified.output.splitlines() == [
        "returns 1: whole",
        f"returns 2: {path}: 5 bytes; expected 20 bytes",
    ]
    assert command(place, "verify", "returns", "1").exit_code == 0
    missing = command(place, "show", "returns")
    assert missing.exit_code == 1
    assert "names no version" in missing.stderr


def test_numbers_that_nobody_finished_are_told(place: Path, registry: Registry) -> None:
    (place / "returns/versions/000003").mkdir()
    told = command(place, "verify", "returns")
    assert told.exit_code == 0
    assert "returns 3: being written, or given up by its writer" in told.stderr


def test_a_model_trained_elsewhere_is_published(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    told, model = tmp_path / "told.json", tmp_path / "model.ubj"
    told.write_bytes(msgspec.json.encode(described()))
    model.write_bytes(boosted())
    published = command(place, "publish", told, model, "--promote", "challenger")
    assert published.output == "returns 1\nreturns challenger: version 1, generation 1\n"
    assert Registry.at(place).load("returns", 1).files == {"model.ubj": boosted()}
    model.write_bytes(boosted(2))
    refused = command(place, "publish", told, model)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "2 features; expected 4 features" in refused.stderr
    assert Registry.at(place).versions("returns") == (1,)


@pytest.mark.parametrize("content", [b"{}", b"text", b"\xff", b'{"name": "../up"}'])
def test_a_description_that_is_none_is_a_wrong_argument(
    place: Path, tmp_path: Path, content: bytes
) -> None:
    told = tmp_path / "told.json"
    told.write_bytes(content)
    refused = command(place, "publish", told)
    assert refused.exit_code == 2
    assert "told.json: " in refused.stderr


def test_an_unknown_kind_of_address_is_one_line() -> None:
    refused = CliRunner().invoke(models, ["list", "--registry", "nonsense://a"])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("candlewick: Protocol not known")
