"""The registry: versions, aliases, lineage, deletion, on files and on an object store."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from models.predicting.manifest import Manifest, digest
from models.predicting.registry import Registry
from models.predicting.registry_errors import (
    CorruptModelError,
    MismatchedModelError,
    MissingModelError,
    ModelError,
    MovedAliasError,
    UsedModelError,
)
from models.predicting.registry_store import LocalStore, RemoteStore, Store, open_store
from tests.unit.model_records import FILES, NAMES, described


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "local":
        yield open_store(tmp_path / "models")
    else:
        yield open_store(f"memory://{secrets.token_hex(8)}/models")


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store)


def publish(registry: Registry, **changes: Any) -> int:
    return registry.publish(described(**changes), FILES).version


def promote(registry: Registry, version: int, alias: str = "champion", time: int = 1) -> None:
    registry.promote("returns", alias, version, reason="test", time=time)


def put(store: Store, path: str, content: bytes) -> None:
    """Change a file behind the registry's back."""
    store.remove(path)
    store.create(path, content)


def test_places_are_folders_or_addresses(tmp_path: Path) -> None:
    assert isinstance(open_store(tmp_path), LocalStore)
    assert open_store(f"file://{tmp_path}").where("a") == f"{tmp_path}/a"
    assert isinstance(open_store("memory://a"), RemoteStore)
    with pytest.raises(ValueError, match="Protocol not known"):
        open_store("nonsense://a")


def test_versions_are_numbered_from_one_and_read_back(registry: Registry) -> None:
    assert registry.names() == ()
    assert registry.versions("returns") == ()
    first = registry.publish(described(), {"model.ubj": b"1", "notes.txt": b"2"})
    assert (first.version, [each.name for each in first.files]) == (1, ["model.ubj", "notes.txt"])
    assert publish(registry, commit=None) == 2
    assert registry.names() == ("returns",)
    assert registry.versions("returns") == (1, 2)
    loaded = registry.load("returns", 1)
    assert loaded.files == {"model.ubj": b"1", "notes.txt": b"2"}
    assert loaded.size == 2
    assert registry.manifest("returns", 1) == loaded.manifest == first


def test_layout_is_as_documented(registry: Registry, store: Store) -> None:
    promote(registry, publish(registry))
    assert store.names("returns") == ("aliases", "versions")
    assert store.names("returns/versions/000001") == ("claim.json", "manifest.json", "model.ubj")
    assert store.names("returns/aliases/champion") == ("000001.json",)


@pytest.mark.parametrize("file", ["manifest.json", "claim.json", "removal-1.json", "../x", "a/b"])
def test_names_of_files_that_could_do_harm_are_refused(registry: Registry, file: str) -> None:
    with pytest.raises(ValueError, match=r"own name|not a file name"):
        registry.publish(described(), {file: b""})
    assert registry.names() == ()


@pytest.mark.parametrize("name", ["..", "a/b", "", "Upper", "x" * 65])
def test_names_that_could_leave_the_folder_are_refused(registry: Registry, name: str) -> None:
    version = publish(registry)
    for act in (
        lambda: registry.load(name, 1),
        lambda: registry.versions(name),
        lambda: registry.resolve("returns", name),
        lambda: registry.promote("returns", name, version, reason="", time=1),
    ):
        with pytest.raises(ValueError, match="expected a name"):
            act()


@pytest.mark.parametrize(
    ("content", "error", "fault"),
    [
        (b"the bytes of a modeL", CorruptModelError, "SHA-256"),
        (b"the bytes of a", CorruptModelError, "14 bytes; expected 20 bytes"),
        (b"", CorruptModelError, "0 bytes; expected 20 bytes"),
        (b"x" * 1_000, CorruptModelError, "1,000 bytes; expected 20 bytes"),
        (None, MissingModelError, "no file; expected 20 bytes"),
    ],
)
def test_a_model_file_that_is_not_as_published_is_named(
    registry: Registry, store: Store, content: bytes | None, error: type[ModelError], fault: str
) -> None:
    promote(registry, publish(registry))
    publish(registry)
    path = "returns/versions/000002/model.ubj"
    store.remove(path)
    if content is not None:
        store.create(path, content)
    for act in (
        lambda: registry.load("returns", 2),
        lambda: registry.verify("returns", 2),
        lambda: promote(registry, 2),
    ):
        with pytest.raises(error, match=fault) as caught:
            act()
        assert caught.value.file == store.where(path)
    # The old champion goes on.
    assert registry.load("returns", registry.resolve("returns", "champion")).files == FILES


def test_a_broken_manifest_is_named_and_other_versions_go_on(
    registry: Registry, store: Store
) -> None:
    publish(registry)
    publish(registry)
    path = "returns/versions/000002/manifest.json"
    whole = store.read(path)
    for content, error in (
        (whole[:-9], CorruptModelError),
        (b"", CorruptModelError),
        (whole.replace(b'"rows": 1000', b'"rows": 1001'), CorruptModelError),
        (whole.replace(b'"format": 1', b'"format": 2'), MismatchedModelError),
        # The whole manifest of another version.
        (store.read("returns/versions/000001/manifest.json"), CorruptModelError),
    ):
        put(store, path, content)
        with pytest.raises(error) as caught:
            registry.load("returns", 2)
        assert caught.value.file == store.where(path)
        assert registry.versions("returns") == (1, 2)
        assert registry.verify("returns", 1).version == 1


def test_a_number_without_a_manifest_is_no_version_and_not_given_again(
    registry: Registry, store: Store
) -> None:
    store.create("returns/versions/000001/claim.json", b"{}")
    assert registry.versions("returns") == ()
    assert registry.unfinished("returns") == (1,)
    with pytest.raises(MissingModelError, match="no file; expected version 1 of returns"):
        registry.load("returns", 1)
    assert publish(registry) == 2


def test_an_alias_names_nothing_before_it_is_moved(registry: Registry) -> None:
    publish(registry)
    assert registry.aliases("returns") == {}
    with pytest.raises(MissingModelError, match="names no version"):
        registry.resolve("returns", "champion")
    with pytest.raises(MissingModelError, match="no version before this one"):
        registry.rollback("returns", "champion", reason="", time=1)


def test_a_version_that_is_not_there_is_not_promoted(registry: Registry) -> None:
    publish(registry)
    with pytest.raises(MissingModelError, match="version 2 of returns"):
        promote(registry, 2)
    assert registry.history("returns", "champion") == ()


def test_a_move_needs_the_generation_that_was_seen(registry: Registry) -> None:
    publish(registry)
    promote(registry, 1)
    with pytest.raises(MovedAliasError, match="at generation 1; expected generation 0"):
        registry.promote("returns", "champion", 1, reason="", time=1, expected=0)
    with pytest.raises(MovedAliasError, match="expected generation 2"):
        registry.rollback("returns", "champion", reason="", time=1, expected=2)
    move = registry.promote("returns", "champion", 1, reason="again", time=2, expected=1)
    assert (move.generation, move.version, move.reason) == (2, 1, "again")


def test_a_move_that_was_overtaken_while_it_checked_is_refused(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(registry)
    publish(registry)
    verify = registry.verify

    def meanwhile(name: str, version: int) -> Manifest:
        monkeypatch.setattr(registry, "verify", verify)
        promote(registry, 2)
        return verify(name, version)

    monkeypatch.setattr(registry, "verify", meanwhile)
    with pytest.raises(MovedAliasError, match="moved meanwhile; expected generation 0"):
        promote(registry, 1)
    assert registry.resolve("returns", "champion") == 2


class AliasMachine(RuleBasedStateMachine):
    """An alias against a stack: promote pushes, rollback pops down to the first."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = Registry.at(f"memory://{secrets.token_hex(8)}")
        for _ in range(3):
            publish(self.registry)
        self.stack: list[int] = []
        self.moves: list[int] = []

    @rule(version=st.integers(1, 3))
    def promote(self, version: int) -> None:
        promote(self.registry, version, time=len(self.moves))
        self.stack.append(version)
        self.moves.append(version)

    @rule()
    def rollback(self) -> None:
        if len(self.stack) > 1:
            self.registry.rollback("returns", "champion", reason="", time=len(self.moves))
            self.stack.pop()
            self.moves.append(self.stack[-1])
        else:
            with pytest.raises(MissingModelError):
                self.registry.rollback("returns", "champion", reason="", time=len(self.moves))

    @invariant()
    def names_the_top(self) -> None:
        history = self.registry.history("returns", "champion")
        assert [move.version for move in history] == self.moves
        assert [move.generation for move in history] == list(range(1, len(history) + 1))
        if self.stack:
            assert self.registry.resolve("returns", "champion") == self.stack[-1]


TestAlias = AliasMachine.TestCase
TestAlias.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


def test_lineage_has_the_origin_and_all_moves(registry: Registry) -> None:
    publish(registry)
    publish(registry)
    for time, (alias, version) in enumerate(
        [("challenger", 1), ("champion", 1), ("champion", 2)], 1
    ):
        promote(registry, version, alias, time)
    registry.rollback("returns", "champion", reason="worse", by="Ann", time=4)
    lineage = registry.lineage("returns", 1)
    assert lineage.manifest.data_from == described().data_from
    assert lineage.manifest.libraries == {"xgboost": "3.2.0"}
    assert [(move.alias, move.verb, move.time) for move in lineage.moves] == [
        ("challenger", "promote", 1),
        ("champion", "promote", 2),
        ("champion", "rollback", 4),
    ]
    assert lineage.moves[-1].by == "Ann"
    assert set(registry.aliases("returns")) == {"challenger", "champion"}


def ensemble(registry: Registry, *versions: int, **changes: Any) -> Manifest:
    members = tuple(registry.member("returns", each, 1.0) for each in versions)
    return registry.publish(described(kind="ensemble", members=members, **changes), {})


def test_an_ensemble_loads_its_members(registry: Registry) -> None:
    publish(registry)
    publish(registry)
    made = ensemble(registry, 2, 1)
    assert [each.manifest.version for each in registry.load("returns", made.version).members] == [
        2,
        1,
    ]
    assert registry.lineage("returns", 1).ensembles == (3,)


def test_members_that_do_not_belong_together_are_refused(registry: Registry) -> None:
    publish(registry)
    publish(registry, feature_names=(*NAMES[:-1], "other"))
    publish(registry, horizon=1)
    assert ensemble(registry, 1).version == 4
    for version, fault in (
        (2, "feature 4 is 'other'"),
        (3, "horizon of 1 bars; expected 5 bars"),
        (4, "member 4 is an ensemble"),
    ):
        with pytest.raises(MismatchedModelError, match=fault):
            ensemble(registry, 1, version)
    assert registry.versions("returns") == (1, 2, 3, 4)


def test_a_member_that_was_exchanged_is_seen(registry: Registry, store: Store) -> None:
    publish(registry)
    ensemble(registry, 1)
    path = "returns/versions/000001/manifest.json"
    before = store.read(path)
    publish(registry, name="other", commit="exchanged")
    other = store.read("other/versions/000001/manifest.json")
    assert digest(before) != digest(other)
    put(store, path, before + b"\n")
    with pytest.raises(CorruptModelError, match="member 1 whose manifest has the SHA-256"):
        registry.load("returns", 2)


def test_what_is_used_is_not_deleted(registry: Registry) -> None:
    for _ in range(3):
        publish(registry)
    promote(registry, 1)
    promote(registry, 2)
    made = ensemble(registry, 3).version
    for version, fault in ((2, "alias champion"), (3, f"member of version {made}")):
        with pytest.raises(UsedModelError, match=fault):
            registry.delete("returns", version, reason="old", time=1)
        # Nothing is left of the attempt: it can be promoted.
        promote(registry, version, "challenger")
    registry.delete("returns", 1, reason="old", time=1)
    assert registry.versions("returns") == (2, 3, made)
    assert registry.unfinished("returns") == ()
    for act in (
        lambda: registry.load("returns", 1),
        lambda: promote(registry, 1),
        lambda: registry.rollback("returns", "champion", reason="", time=1),
        lambda: registry.delete("returns", 1, reason="twice", time=1),
    ):
        with pytest.raises(MissingModelError):
            act()
    assert publish(registry) == made + 1


def test_a_version_that_a_log_may_name_is_not_deleted(registry: Registry) -> None:
    publish(registry)
    publish(registry)
    promote(registry, 1, time=10)
    promote(registry, 2, time=20)
    with pytest.raises(UsedModelError, match="named by the alias champion until 20"):
        registry.delete("returns", 1, reason="", time=30, unnamed_since=20)
    registry.delete("returns", 1, reason="", time=30, unnamed_since=21)
    assert registry.versions("returns") == (2,)


def test_a_promotion_that_meets_a_deletion_is_taken_back(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(registry)
    publish(registry)
    promote(registry, 1)
    create = store.create

    def meanwhile(path: str, content: bytes) -> None:
        if path.endswith("champion/000002.json"):
            # The deletion has looked at the aliases already.
            registry.delete("returns", 2, reason="old", time=1)
        create(path, content)

    monkeypatch.setattr(store, "create", meanwhile)
    with pytest.raises(MissingModelError, match="deleted, or being deleted: old"):
        promote(registry, 2)
    assert registry.resolve("returns", "champion") == 1
    assert [move.verb for move in registry.history("returns", "champion")] == [
        "promote",
        "promote",
        "withdraw",
    ]


def test_a_first_promotion_that_is_taken_back_leaves_no_version(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(registry)
    publish(registry)
    create = store.create

    def meanwhile(path: str, content: bytes) -> None:
        if path.endswith("champion/000001.json"):
            registry.delete("returns", 1, reason="old", time=1)
        create(path, content)

    monkeypatch.setattr(store, "create", meanwhile)
    with pytest.raises(MissingModelError):
        promote(registry, 1)
    assert registry.aliases("returns") == {}
    promote(registry, 2)
    with pytest.raises(MissingModelError, match="no version before this one"):
        registry.rollback("returns", "champion", reason="", time=1)


def test_an_answer_that_was_lost_is_not_another_writers_success() -> None:
    store = RemoteStore(f"memory://{secrets.token_hex(8)}")
    store.create("a", b"ours")
    store.create("a", b"ours")
    with pytest.raises(FileExistsError):
        store.create("a", b"theirs")
    assert store.read("a") == b"ours"


def test_a_file_system_without_hard_links_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    with pytest.raises(OSError, match="without hard links"):
        Registry.at(tmp_path).publish(described(), FILES)
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []
