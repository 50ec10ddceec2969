"""The registry as MLflow shows it; with MLflow's own sqlite store where it is installed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from app.cli.models import models
from app.training.mlflow import MANIFEST, Mirrored, MirrorError, facts_of, mirror, open_client
from models.predicting.manifest import draft_manifest
from models.predicting.registry import Registry
from tests.unit.model_records import FILES, described

DELETION_TIME = 9

#: MLflow's own, of SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Two versions; the second is the champion."""
    made = Registry.at(tmp_path / "registry")
    for rows in (1_000, 2_000):
        made.publish(described(rows=rows), FILES)
    made.promote("returns", "champion", 2, reason="better", time=1, by="Ann")
    return made


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with nothing in it; MLflow takes seconds to make one."""
    for needed in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(
            needed, reason="MLflow is optional: pip install mlflow-skinny sqlalchemy alembic"
        )
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    assert open_client(f"sqlite:///{path}").search_registered_models() == []
    return path


@pytest.fixture
def address(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of an empty store of MLflow."""
    # Whatever it writes beside its store is found here.
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def versions_in(address: str, name: str = "returns") -> dict[str, Any]:
    """Versions in MLflow, by our number."""
    found = open_client(address).search_model_versions(f"name = '{name}'")
    return {each.tags["candlewick.version"]: each for each in found}


# --- without MLflow ----------------------------------------------------------------------------


def test_a_version_is_told_with_scores_and_lineage() -> None:
    description = described(
        parameters={"eta": 0.1, "embargo": None, "odd:key": 1},
        scores=described().scores | {"champion, then": {"mse": 1.0}},
    )
    facts = facts_of(draft_manifest(description, FILES), "ab" * 32)
    assert facts.parameters == {"eta": "0.1", "embargo": "None", "odd_key": "1"}
    assert facts.metrics["model/skill_against_zero"] == 0.01
    assert facts.metrics["ar1/mse"] == 1.1e-05
    assert facts.metrics["champion_ then/mse"] == 1.0
    told = {key.removeprefix("candlewick."): value for key, value in facts.tags.items()}
    assert told["version"] == "1"
    assert told["manifest"] == "ab" * 32
    assert told["feature_set"] == "returns@1:0123456789abcdef"
    assert told["symbols"] == "SPY, IBM"
    assert told["commit"] == "0123abc"
    assert told["package.xgboost"] == "3.2.0"
    assert len(told["sha256.model.ubj"]) == 64
    assert "members" not in told


def test_a_long_text_is_cut() -> None:
    many = tuple(f"S{number:05}" for number in range(5_000))
    facts = facts_of(draft_manifest(described(symbols=many), FILES), "ab" * 32)
    assert len(facts.tags["candlewick.symbols"]) == 4_003


def test_the_extra_that_lacks_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MirrorError, match=r"pip install 'candlewick\[mlflow\]'"):
        mirror(Registry.at(tmp_path), "sqlite:///x.db")
    shown = command(tmp_path, "sqlite:///x.db")
    assert shown.exit_code == 1
    line = "candlewick: mlflow is not installed: pip install 'candlewick[mlflow]'\n"
    assert shown.stderr == line


# --- with MLflow -------------------------------------------------------------------------------


def test_mlflow_has_versions_scores_lineage_and_aliases(registry: Registry, address: str) -> None:
    done = mirror(registry, address)
    assert done == Mirrored([("returns", 1), ("returns", 2)], [("returns", "champion", 2)])
    client = open_client(address)
    named = client.get_model_version_by_alias("returns", "champion")
    assert named.tags["candlewick.version"] == "2"
    assert named.tags[MANIFEST] == registry.load("returns", 2).sha256
    assert named.source == registry.load("returns", 2).place
    run = client.get_run(named.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.start_time == 1_700_000_000_000
    assert run.data.metrics["model/mse"] == 1e-05
    assert run.data.metrics["zero/mse"] == 1.1e-05
    assert run.data.params["max_depth"] == "3"
    assert run.data.tags["candlewick.rows"] == "2000"
    told = json.loads(client.get_registered_model("returns").tags["candlewick.alias.champion"])
    assert (told["generation"], told["reason"], told["by"]) == (1, "better", "Ann")


def test_a_second_time_changes_nothing(registry: Registry, address: str, tmp_path: Path) -> None:
    mirror(registry, address)
    before = content_of(address)
    assert mirror(registry, address) == Mirrored()
    assert content_of(address) == before
    # No model is copied, and nothing lies about.
    assert {each.name for each in tmp_path.iterdir()} == {"registry", "mlflow.db"}


def content_of(address: str) -> list[Any]:
    """Every row of the store."""
    import sqlite3

    database = sqlite3.connect(address.removeprefix("sqlite:///"))
    try:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return [
            (name, database.execute(f'SELECT * FROM "{name}"').fetchall())
            for (name,) in sorted(tables)
        ]
    finally:
        database.close()


def test_what_was_cut_off_is_ended_by_the_next(
    registry: Registry, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    class CutError(Exception):
        """The process ends here."""

    def cut(*arguments: Any, **named: Any) -> None:
        raise CutError

    verbs = ("log_batch", "set_terminated", "create_model_version", "set_registered_model_alias")
    for verb in ("create_registered_model", "create_experiment", "create_run", *verbs):
        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, verb, cut)
            with pytest.raises(CutError):
                mirror(registry, address)
    mirror(registry, address)
    found = versions_in(address)
    assert sorted(found) == ["1", "2"]
    client = open_client(address)
    experiment = client.get_experiment_by_name("candlewick/returns")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_id for run in runs) == sorted(each.run_id for each in found.values())
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all(run.data.metrics["model/mse"] == 1e-05 for run in runs)


def test_aliases_move_with_ours_and_others_stay(registry: Registry, address: str) -> None:
    mirror(registry, address)
    client = open_client(address)
    own = versions_in(address)["1"].version
    client.set_registered_model_alias("returns", "mine", own)
    registry.promote("returns", "champion", 1, reason="calmer", time=2)
    registry.promote("returns", "challenger", 2, reason="again", time=3)
    done = mirror(registry, address)
    assert done.aliases == [("returns", "challenger", 2), ("returns", "champion", 1)]
    model = client.get_registered_model("returns")
    assert set(model.aliases) == {"champion", "challenger", "mine"}
    assert client.get_model_version_by_alias("returns", "champion").version == own
    registry.rollback("returns", "champion", reason="worse", time=4)
    assert mirror(registry, address).aliases == [("returns", "champion", 2)]


def test_an_alias_that_names_nothing_any_more_goes(
    registry: Registry, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror(registry, address)
    nothing = msgspec.structs.replace(
        registry.history("returns", "champion")[-1], generation=2, version=None, verb="withdraw"
    )
    monkeypatch.setattr(Registry, "current", lambda self, name, alias: nothing)
    monkeypatch.setattr(Registry, "aliases", lambda self, name: {})
    assert mirror(registry, address).aliases == [("returns", "champion", None)]
    assert open_client(address).get_registered_model("returns").aliases == {}
    assert mirror(registry, address) == Mirrored()


def test_a_deleted_version_is_marked_and_stays(registry: Registry, address: str) -> None:
    mirror(registry, address)
    registry.delete("returns", 1, reason="old", time=DELETION_TIME)
    assert mirror(registry, address).deleted == [("returns", 1)]
    assert versions_in(address)["1"].tags["candlewick.deleted"] == "true"
    assert mirror(registry, address) == Mirrored()


def test_our_numbers_are_kept_where_mlflow_counts_otherwise(
    registry: Registry, address: str
) -> None:
    registry.delete("returns", 1, reason="old", time=DELETION_TIME)
    mirror(registry, address)
    assert versions_in(address)["2"].version == 1
    assert open_client(address).get_model_version_by_alias("returns", "champion").version == 1


def test_what_is_broken_is_a_fault_and_the_rest_is_mirrored(
    registry: Registry, address: str, tmp_path: Path
) -> None:
    (tmp_path / "registry/returns/versions/000002/model.ubj").write_bytes(b"short")
    registry.promote("returns", "latest", 1, reason="a name that MLflow keeps", time=2)
    shown = command(tmp_path / "registry", address)
    assert shown.exit_code == 1
    assert "returns 1: new in MLflow" in shown.stdout
    assert "model.ubj: 5 bytes; expected 20 bytes" in shown.stderr
    assert "returns champion: names version 2, which is not mirrored" in shown.stderr
    assert "returns latest: MLflow: " in shown.stderr
    assert set(versions_in(address)) == {"1"}


def command(place: Path, address: str, *more: str) -> Result:
    return CliRunner().invoke(models, ["mirror", "--to", address, "--registry", str(place), *more])


def test_the_command_tells_what_is_new(registry: Registry, address: str, tmp_path: Path) -> None:
    shown = command(tmp_path / "registry", address)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout.splitlines() == [
        "returns 1: new in MLflow",
        "returns 2: new in MLflow",
        "returns champion: version 2",
    ]
    again = command(tmp_path / "registry", address, "--json")
    assert json.loads(again.stdout) == {"versions": [], "aliases": [], "deleted": [], "faults": []}
    once_more = command(tmp_path / "registry", address)
    assert once_more.stdout == "MLflow has all of it already\n"


def test_an_address_that_is_none_is_one_line(
    registry: Registry, address: str, tmp_path: Path
) -> None:
    shown = command(tmp_path / "registry", "nonsense://user:hidden@host/x")
    assert shown.exit_code == 1
    assert len(shown.stderr.splitlines()) == 1
    assert "hidden" not in shown.stderr
