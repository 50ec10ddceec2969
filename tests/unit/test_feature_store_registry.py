"""Registered feature sets: once a version, aliases, retirement, audit, search, lineage."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from models.predicting.features_plan import Feature
from models.predicting.features_returns import Returns
from models.predicting.features_terms import Change, Mean, Ratio
from models.predicting.featuresets import FeatureSet
from models.predicting.registry import Registry
from models.predicting.registry_errors import (
    CorruptModelError,
    MismatchedModelError,
    MissingModelError,
    MovedAliasError,
    UsedModelError,
)
from models.predicting.registry_store import LocalStore
from models.store.catalogue import lineage, search
from models.store.records import describe, written
from models.store.registry import (
    ConflictingFeatureSetError,
    FeatureRegistry,
    RetiredFeatureSetError,
)
from tests.unit.feature_sets import (
    CLOSE,
    Small,
    computed,
    other_spread,
    recorded,
    small,
    spread,
)
from tests.unit.model_records import FILES, described

ONE = Feature("one", Change(CLOSE, 1))
TWO = Feature("two", Change(CLOSE, 2))


@pytest.fixture
def registry(tmp_path: Path) -> FeatureRegistry:
    return FeatureRegistry.at(tmp_path)


def versions(registry: FeatureRegistry, count: int) -> None:
    """Register `small` 1 to `count`."""
    for version in range(1, count + 1):
        features = (Feature("one", Change(CLOSE, version)),)
        registry.register(recorded(small(*features, version=version), time=version))


def test_a_record_says_what_is_declared() -> None:
    record = recorded(tags={"team": "equities", "experimental": ""})
    plan = Small.plan()
    assert record.label == plan.label
    assert record.feature_names == plan.names
    assert (record.inputs, record.indicators) == (("CLOSE", "RSI(3)"), ("CLOSE", "RSI(3)"))
    assert (record.warm_up, record.depth) == (plan.warm_up, plan.depth)
    assert [each.term for each in record.features] == [
        "Change(CLOSE, 1)",
        "Ratio(CLOSE, Mean(CLOSE, 3))",
        "Scaled(RSI(3), 0.01, -0.5)",
    ]
    assert record.description == "The last return, the close to its mean, and RSI."
    assert record.tags == {"experimental": "", "team": "equities"}
    assert written(computed(spread).term) == "Computed(spread, [CLOSE], 3)"


@pytest.mark.parametrize(
    "changes", [{"tags": {"a b": ""}}, {"owner": "a\x1b[2J"}, {"tags": {"a": "x" * 201}}]
)
def test_texts_that_are_not_one_printable_line_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        recorded(**changes)


def test_what_is_registered_is_read_back(registry: FeatureRegistry) -> None:
    record = recorded(Returns, tags={"team": "equities"})
    assert registry.register(record) == (record, True)
    assert registry.record("returns", 1) == record
    assert (registry.names(), registry.versions("returns")) == (("returns",), (1,))


def test_the_same_hash_again_leaves_what_is_held(registry: FeatureRegistry) -> None:
    held = recorded(time=1, owner="ada")
    registry.register(held)
    assert registry.register(recorded(time=2, owner="bob")) == (held, False)
    assert registry.record("small", 1) == held


class Own(FeatureSet):
    NAME = "small"

    @classmethod
    def declare(cls) -> tuple[Feature, ...]:
        return (ONE, TWO)

    def _session_elapsed(self, start: int) -> float:
        return 0.5


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (small(ONE), "without two"),
        (small(ONE, TWO, computed(spread)), "with spread besides"),
        (small(ONE, Feature("two", Change(CLOSE, 3))), r"two is Change\(CLOSE, 3\), was Change"),
        (small(TWO, ONE), "the order of the features is another"),
        (Own, "the code of the set's own methods is another"),
    ],
)
def test_a_version_with_another_hash_is_refused_with_the_difference(
    registry: FeatureRegistry, kind: type[FeatureSet], told: str
) -> None:
    held = recorded(small(ONE, TWO))
    registry.register(held)
    with pytest.raises(ConflictingFeatureSetError, match=told):
        registry.register(recorded(kind))
    assert registry.record("small", 1) == held


def test_other_code_of_a_function_is_another_hash(
    registry: FeatureRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.register(recorded(small(ONE, computed(spread))))
    # As after an edit of the function in place: declared alike, other code.
    monkeypatch.setattr(other_spread, "__qualname__", "spread")
    changed = computed(other_spread)
    with pytest.raises(ConflictingFeatureSetError, match="the code of spread is another"):
        registry.register(recorded(small(ONE, changed)))


def test_of_many_that_register_at_once_one_hash_is_kept(tmp_path: Path) -> None:
    kinds = [small(Feature("one", Change(CLOSE, 1 + number % 2))) for number in range(8)]
    outcomes: list[str | bool] = []
    start = threading.Barrier(len(kinds))

    def register(kind: type[FeatureSet]) -> None:
        record = recorded(kind)
        start.wait()
        try:
            outcomes.append(FeatureRegistry.at(tmp_path).register(record)[1])
        except ConflictingFeatureSetError:
            outcomes.append("refused")

    threads = [threading.Thread(target=register, args=(kind,)) for kind in kinds]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (outcomes.count(True), outcomes.count(False), outcomes.count("refused")) == (1, 3, 4)


def test_a_name_that_is_none_is_refused(registry: FeatureRegistry) -> None:
    for name in ("../models", "usage", "", "Upper"):
        with pytest.raises(ValueError, match="expected a name"):
            registry.record(name, 1)


def test_a_changed_digit_in_a_record_is_found(registry: FeatureRegistry, tmp_path: Path) -> None:
    registry.register(recorded())
    path = tmp_path / "small/versions/000001/record.json"
    path.write_bytes(path.read_bytes().replace(b'"warm_up": 4', b'"warm_up": 3'))
    with pytest.raises(CorruptModelError, match=r"record\.json"):
        registry.record("small", 1)


def test_a_served_version_must_be_what_the_code_makes(registry: FeatureRegistry) -> None:
    registry.register(recorded())
    registry.promote("small", 1, reason="", time=2)
    assert registry.kind("small") is Small
    registry.register(recorded(small(ONE, name="returns"), time=1))
    with pytest.raises(MismatchedModelError, match="returns@1"):
        registry.kind("returns", 1)
    registry.register(recorded(small(ONE, name="nowhere")))
    with pytest.raises(MismatchedModelError, match="nowhere"):
        registry.kind("nowhere", 1)


def test_rollback_leads_back_through_the_promotions(registry: FeatureRegistry) -> None:
    versions(registry, 3)
    with pytest.raises(MissingModelError, match="names no version"):
        registry.resolve("small")
    for version in (1, 2, 3):
        registry.promote("small", version, reason="", time=version)
    assert registry.resolve("small") == 3
    for expected in (2, 1):
        registry.rollback("small", reason="worse", time=9)
        assert registry.resolve("small") == expected
    with pytest.raises(MissingModelError, match="no version before"):
        registry.rollback("small", reason="", time=9)


def test_a_move_from_another_generation_is_refused(registry: FeatureRegistry) -> None:
    versions(registry, 2)
    registry.promote("small", 1, reason="", time=1, expected=0)
    with pytest.raises(MovedAliasError):
        registry.promote("small", 2, reason="", time=1, expected=0)
    with pytest.raises(MissingModelError):
        registry.promote("small", 3, reason="", time=1)


def test_a_retired_version_is_neither_promoted_nor_registered_again(
    registry: FeatureRegistry,
) -> None:
    versions(registry, 2)
    registry.promote("small", 1, reason="", time=1)
    with pytest.raises(UsedModelError, match="active"):
        registry.retire("small", 1, reason="", time=2)
    assert registry.retirements("small", 1) == ()
    registry.promote("small", 2, reason="", time=3)
    registry.retire("small", 1, reason="leaks", time=4, by="ada")
    for refused in (
        lambda: registry.promote("small", 1, reason="", time=5),
        lambda: registry.rollback("small", reason="", time=5),
        lambda: registry.retire("small", 1, reason="", time=5),
        lambda: registry.register(recorded(small(Feature("one", Change(CLOSE, 1))))),
    ):
        with pytest.raises(RetiredFeatureSetError, match="leaks"):
            refused()
    assert registry.resolve("small") == 2
    assert registry.record("small", 1).version == 1


def test_a_promotion_that_meets_a_retirement_is_withdrawn(tmp_path: Path) -> None:
    class Between(LocalStore):
        """Retires version 2 just before a move of the alias is written."""

        armed = False

        def create(self, path: str, content: bytes) -> None:
            if self.armed and "/aliases/" in path:
                self.armed = False
                FeatureRegistry.at(tmp_path).retire("small", 2, reason="leaks", time=5)
            super().create(path, content)

    store = Between(tmp_path)
    registry = FeatureRegistry(store)
    versions(registry, 2)
    registry.promote("small", 1, reason="", time=1)
    store.armed = True
    with pytest.raises(RetiredFeatureSetError):
        registry.promote("small", 2, reason="", time=6)
    assert registry.resolve("small") == 1
    assert [each.verb for each in registry.history("small")][-2:] == ["promote", "withdraw"]


def test_the_history_tells_who_did_what_when(registry: FeatureRegistry) -> None:
    versions(registry, 2)
    registry.promote("small", 1, reason="first", time=10, by="ada")
    registry.promote("small", 2, reason="better", time=11, by="bob")
    registry.rollback("small", reason="worse", time=12, by="ada")
    registry.retire("small", 2, reason="leaks", time=13, by="ada")
    found = [(each.time, each.verb, each.version, each.by) for each in registry.history("small")]
    assert found == [
        (1, "register", 1, "ada"),
        (2, "register", 2, "ada"),
        (10, "promote", 1, "ada"),
        (11, "promote", 2, "bob"),
        (12, "rollback", 1, "ada"),
        (13, "retire", 2, "ada"),
    ]


def labels(*hits: object) -> list[str]:
    return [f"{hit.record.name}@{hit.record.version}" for hit in hits]  # type: ignore[attr-defined]


def test_search_finds_by_words_tags_inputs_and_owner(registry: FeatureRegistry) -> None:
    registry.register(recorded(Returns, owner="bob", tags={"team": "equities"}))
    registry.register(recorded(Small, tags={"team": "crypto", "experimental": ""}))
    assert labels(*search(registry)) == ["returns@1", "small@1"]
    assert labels(*search(registry, "MEAN close rsi")) == ["returns@1", "small@1"]
    (hit,) = search(registry, "small mean")
    assert [each.name for each in hit.features] == []
    (hit,) = search(registry, "small ratio")
    assert [each.name for each in hit.features] == ["to_mean"]
    assert labels(*search(registry, tags={"team": None})) == ["returns@1", "small@1"]
    assert labels(*search(registry, tags={"team": "crypto", "experimental": None})) == ["small@1"]
    assert labels(*search(registry, inputs=("rsi",))) == ["returns@1", "small@1"]
    assert labels(*search(registry, inputs=("RSI(14)",))) == ["returns@1"]
    assert labels(*search(registry, inputs=("macd( 12, 26, 9 )",))) == ["returns@1"]
    assert labels(*search(registry, inputs=("MACD(12,26,9).histogram",))) == ["returns@1"]
    assert labels(*search(registry, inputs=("SI",))) == []
    assert labels(*search(registry, owner="bob")) == ["returns@1"]
    assert labels(*search(registry, "nowhere")) == []


def test_lineage_leads_to_indicators_and_models(tmp_path: Path) -> None:
    registry = FeatureRegistry.at(tmp_path / "features")
    models = Registry.at(tmp_path / "models")
    record = recorded(Returns)
    registry.register(record)
    for label in (record.label, "returns@1:0123456789abcdef", "returns@2:0123456789abcdef"):
        models.publish(described(feature_set=label), FILES)
    models.publish(described(name="broken", feature_set=record.label), FILES)
    (tmp_path / "models/broken/versions/000001/manifest.json").write_bytes(b"{}")
    models.promote("returns", "champion", 1, reason="", time=1)
    found = lineage(registry, "returns", 1, models)
    assert found.indicators["MACD(12,26,9)"] == ("MACD(12,26,9)", "MACD(12,26,9).histogram")
    assert sorted(sum(found.indicators.values(), ())) == sorted(record.inputs)
    assert [(each.name, each.version, each.aliases, each.same) for each in found.models] == [
        ("returns", 1, ("champion",), True),
        ("returns", 2, (), False),
    ]
    assert [each.partition(":")[0] for each in found.unreadable] == ["broken 1"]


def test_a_store_of_objects_does_as_a_folder() -> None:
    registry = FeatureRegistry.at("memory://feature-store-of-a-test")
    versions(registry, 2)
    registry.promote("small", 2, reason="", time=1)
    assert registry.resolve("small") == 2
    assert registry.versions("small") == (1, 2)
    with pytest.raises(ConflictingFeatureSetError):
        registry.register(recorded(small(Feature("one", Ratio(CLOSE, Mean(CLOSE, 2))))))


def test_a_record_needs_a_set_that_is_one() -> None:
    class Nameless(Small):
        NAME = None  # type: ignore[assignment]

    with pytest.raises(ValueError, match="NAME"):
        describe(Nameless, time=0, code="")
