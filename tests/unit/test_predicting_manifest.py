"""Manifests: what is refused, and that a changed byte is seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.predicting.conformal import Calibration
from models.predicting.manifest import (
    FORMAT,
    Manifest,
    Member,
    digest,
    draft_manifest,
    seal,
    unseal,
)
from models.predicting.registry_errors import (
    CorruptModelError,
    MismatchedModelError,
    ModelError,
)
from tests.unit.model_records import FEATURE_SET, FILES, NAMES, described

PLACE = "somewhere/manifest.json"


def sealed(**changes: Any) -> bytes:
    return seal(draft_manifest(described(**changes), FILES))


def resealed(changes: dict[str, Any]) -> bytes:
    """A manifest with other fields and the checksum that fits them."""
    content = json.loads(sealed()) | changes
    del content["checksum"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return json.dumps(content | {"checksum": digest(text.encode())}).encode()


def test_what_is_written_is_read_again_equal() -> None:
    manifest = draft_manifest(described(), FILES)
    assert unseal(seal(manifest), Manifest, PLACE) == manifest
    assert manifest.feature_hash == "0123456789abcdef"
    assert manifest.files[0].size == len(FILES["model.ubj"])
    assert manifest.files[0].sha256 == digest(FILES["model.ubj"])


@given(
    scores=st.dictionaries(st.text(min_size=1), st.floats(allow_nan=False, allow_infinity=False)),
    commit=st.none() | st.text(),
    times=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=2).map(sorted),
)
@settings(max_examples=50, deadline=None)
def test_any_texts_and_numbers_come_back(
    scores: dict[str, float], commit: str | None, times: list[int]
) -> None:
    own = described().scores
    manifest = draft_manifest(
        described(
            scores=own | {"model": own["model"] | scores},
            commit=commit,
            data_from=times[0],
            data_to=times[1],
        ),
        FILES,
    )
    assert unseal(seal(manifest), Manifest, PLACE) == manifest


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"name": "../up"}, "is not a model's name"),
        ({"name": "Upper"}, "is not a model's name"),
        ({"feature_set": "returns"}, "expected name@version:hash"),
        ({"feature_names": ()}, "none or not distinct"),
        ({"feature_names": ("a", "a")}, "none or not distinct"),
        ({"horizon": 0}, "not above zero"),
        ({"data_to": 1}, "end before they begin"),
        ({"scores": {"model": {"mse": 1.0}}}, "without zero, last_value, ar1"),
        ({"kind": "ensemble"}, "members are an ensemble's"),
        ({"members": (Member(1, 1.0, "0" * 64),)}, "members are an ensemble's"),
        ({"parameters": {"eta": float("nan")}}, "not finite"),
    ],
)
def test_a_description_that_nobody_could_use_is_refused(
    changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        described(**changes)


@pytest.mark.parametrize("name", ["../model.ubj", "a/b", ".hidden", "", "x" * 200])
def test_a_file_name_that_leaves_the_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a file name"):
        draft_manifest(described(), {name: b""})


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="got `int`"):
        draft_manifest(described(commit=5), FILES)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_flipped_bit_is_seen(data: st.DataObject) -> None:
    whole = sealed()
    manifest = unseal(whole, Manifest, PLACE)
    place = data.draw(st.integers(0, len(whole) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    broken = whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :]
    try:
        found = unseal(broken, Manifest, PLACE)
    except ModelError as error:
        named = error.file
    else:
        # 1e-05 and 1E-05 are the same.
        assert found == manifest
        named = PLACE
    assert named == PLACE


@given(st.integers(0, len(sealed()) - 2))
@settings(max_examples=100, deadline=None)
def test_a_truncated_manifest_is_corrupt(length: int) -> None:
    with pytest.raises(CorruptModelError) as caught:
        unseal(sealed()[:length], Manifest, PLACE)
    assert caught.value.file == PLACE


def test_another_format_is_named() -> None:
    with pytest.raises(MismatchedModelError) as caught:
        unseal(resealed({"format": FORMAT + 1}), Manifest, PLACE)
    assert str(caught.value) == f"{PLACE}: format 2; expected format 1"


@pytest.mark.parametrize(
    "changes",
    [
        {"unheard_of": 1},
        {"rows": "many"},
        {"version": 0},
        {"files": [{"name": "../../passwd", "sha256": "0" * 64, "size": 1}]},
        {"calibration": {"scores": [2.0, 1.0], "scale": 1.0}},
        {"scores": {}},
    ],
)
def test_a_manifest_that_was_written_wrong_is_corrupt(changes: dict[str, Any]) -> None:
    with pytest.raises(CorruptModelError, match="expected a manifest"):
        unseal(resealed(changes), Manifest, PLACE)


@pytest.mark.parametrize("data", [b"", b"[]", b"[" * 100_000, b"NaN", b'"text"', b"\xff\xfe"])
def test_what_is_no_manifest_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match=PLACE):
        unseal(data, Manifest, PLACE)


def test_other_features_or_bars_are_told_by_the_first_difference() -> None:
    manifest = draft_manifest(described(), FILES)
    manifest.require(PLACE, FEATURE_SET, NAMES, "1m")
    swapped = (NAMES[1], NAMES[0], *NAMES[2:])
    for arguments, found, expected in (
        (("returns@2:aaaaaaaa", NAMES, "1m"), f"feature set {FEATURE_SET}", "returns@2"),
        ((FEATURE_SET, NAMES[:3], "1m"), "4 features", "3 features"),
        ((FEATURE_SET, swapped, "1m"), "feature 1 is 'return_1'", "'return_5'"),
        ((FEATURE_SET, NAMES, "5m"), "bars of 1m", "bars of 5m"),
    ):
        with pytest.raises(MismatchedModelError) as caught:
            manifest.require(PLACE, *arguments)
        assert caught.value.file == PLACE
        assert caught.value.found == found
        assert expected in caught.value.expected


def test_calibration_keeps_its_bits() -> None:
    calibration = Calibration((5e-324, 0.1, 1 / 3, 1e300), 0.1 + 0.2)
    manifest = draft_manifest(described(calibration=calibration), FILES)
    assert unseal(seal(manifest), Manifest, PLACE).calibration == calibration
