"""The manifest of a model version: what it is, what it was made of, how good it was.

A manifest is JSON with a checksum over its own content, so that a changed digit in a quantile is
found as surely as one in the model. Times are ns since the epoch, given by who publishes.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from models.predicting.baselines import BASELINES
from models.predicting.conformal import Calibration
from models.predicting.drift import DriftReference
from models.predicting.registry_errors import CorruptModelError, MismatchedModelError

#: Of manifests and of moves of an alias. Other formats are refused by name.
FORMAT = 1
#: The model itself, in `scores`; beside it must be all of `BASELINES`.
MODEL = "model"
#: Among `parameters`: whether bars without trades were input.
FILL_FORWARD = "fill_forward"
#: Of models and aliases: they become folders.
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_FEATURE_SET = re.compile(r"[^@:\s]+@[^@:\s]+:[0-9a-f]{8,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

Kind = Literal["xgboost", "ensemble", "river"]
Record = TypeVar("Record", bound=msgspec.Struct)


def _need(fulfilled: bool, fault: str) -> None:
    if not fulfilled:
        raise ValueError(fault)


def digest(content: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a version: its name in the folder, SHA-256 in hexadecimal, size in bytes."""

    name: str
    sha256: str
    size: int

    def __post_init__(self) -> None:
        _need(_FILE.fullmatch(self.name) is not None, f"{self.name!r} is not a file name")
        _need(_SHA256.fullmatch(self.sha256) is not None, f"{self.sha256!r} is not a SHA-256")
        _need(self.size >= 0, "a size below zero")


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version in an ensemble of the same name: its weight, and the SHA-256 of its manifest."""

    version: int
    weight: float
    sha256: str

    def __post_init__(self) -> None:
        _need(self.version > 0, f"{self.version} is not a version")
        _need(0 < self.weight < math.inf, f"weight {self.weight}: expected more than 0")
        _need(_SHA256.fullmatch(self.sha256) is not None, f"{self.sha256!r} is not a SHA-256")


class TrainedMarket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A calendar that features were computed with, and for which of the symbols.

    Attributes:
        name: for people: `XNYS`, `24/7`.
        fingerprint: `Market.fingerprint`, of all open times.
        symbols: sorted.
    """

    name: str
    fingerprint: str
    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        _need(bool(self.fingerprint and self.symbols), f"market {self.name!r} says nothing")
        _need(sorted(set(self.symbols)) == list(self.symbols), "symbols not distinct and sorted")

    def has(self, symbol: str) -> bool:
        """Return whether a symbol was trained on with this calendar."""
        place = bisect_left(self.symbols, symbol)
        return place < len(self.symbols) and self.symbols[place] == symbol


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a trainer says of a model; the registry adds the version and the files.

    Attributes:
        name: of the model; its versions are made for the same purpose.
        kind: how the files are to be read.
        created: ns.
        feature_set: name, version and hash: `returns@1:0123456789abcdef`.
        feature_names: in the order of the columns.
        interval: label of the bar size, `1m`.
        horizon: of the target, in bars.
        data_from, data_to: ns, the first and the last row's time.
        rows: all that were trained or calibrated on.
        fitted_rows, calibration_rows: how they were shared out, where it is known.
        symbols: that the rows are of.
        parameters: of the training.
        importance: share of the gain by feature.
        libraries: versions, by name.
        commit: of the code, if it is known.
        scores: by `model` and each of `BASELINES`, metrics out of sample.
        calibration: residuals out of sample; None where there are no intervals.
        drift: where the features of the rows lay; None where nobody says, as before there was any.
        members: of an ensemble, and of no other kind.
        market: calendars of the symbols; None where it is not known, as in older manifests.
    """

    name: str
    kind: Kind
    created: int
    feature_set: str
    feature_names: tuple[str, ...]
    interval: str
    horizon: int
    data_from: int
    data_to: int
    rows: int
    fitted_rows: int | None = None
    calibration_rows: int | None = None
    symbols: tuple[str, ...] = ()
    parameters: dict[str, str | int | float | bool | None] = {}
    importance: dict[str, float] = {}
    libraries: dict[str, str]
    commit: str | None = None
    scores: dict[str, dict[str, float]]
    calibration: Calibration | None = None
    drift: DriftReference | None = None
    members: tuple[Member, ...] = ()
    market: tuple[TrainedMarket, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what nobody could use or judge.

        Raises:
            ValueError: the first fault.
        """
        _need(NAME.fullmatch(self.name) is not None, f"{self.name!r} is not a model's name")
        _need(
            _FEATURE_SET.fullmatch(self.feature_set) is not None,
            f"feature set {self.feature_set!r}: expected name@version:hash",
        )
        names = self.feature_names
        _need(0 < len(names) == len(set(names)), "feature names are none or not distinct")
        drift = self.drift
        fits = drift is None or len(drift.cuts) == len(names)
        _need(fits, "a drift reference of other features than are named")
        _need(self.horizon > 0 and self.rows > 0, "horizon or rows are not above zero")
        _need(self.data_from <= self.data_to, "data that end before they begin")
        missing = [each for each in (MODEL, *BASELINES) if not self.scores.get(each)]
        _need(not missing, f"scores without {', '.join(missing)}")
        figures = [one for each in self.scores.values() for one in each.values()]
        figures += [one for one in self.parameters.values() if isinstance(one, float)]
        _need(all(map(math.isfinite, figures)), "a score or parameter that is not finite")
        _need(bool(self.members) == (self.kind == "ensemble"), "members are an ensemble's")
        distinct = {each.version for each in self.members}
        _need(len(distinct) == len(self.members), "a member is named twice")

    @property
    def feature_hash(self) -> str:
        """Of the feature set, as in its text."""
        return self.feature_set.rpartition(":")[2]


class Manifest(Description, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published version.

    Attributes:
        version: from 1.
        files: sorted by name; none for an ensemble.
    """

    format: int = FORMAT
    version: int
    files: tuple[File, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        _need(self.version > 0, f"{self.version} is not a version")
        names = [each.name for each in self.files]
        _need(sorted(set(names)) == names, "files are not distinct and sorted")
        _need(bool(names) == (self.kind != "ensemble"), "files are of all kinds but an ensemble")

    def require(
        self, file: str, feature_set: str, feature_names: tuple[str, ...], interval: str
    ) -> None:
        """Check that the version is for these inputs.

        Raises:
            MismatchedModelError: it is for others.
        """
        if self.feature_set != feature_set:
            raise MismatchedModelError(
                file, f"feature set {self.feature_set}", f"feature set {feature_set}"
            )
        if self.feature_names != feature_names:
            found, expected = _first_difference(self.feature_names, feature_names)
            raise MismatchedModelError(file, found, expected)
        if self.interval != interval:
            raise MismatchedModelError(file, f"bars of {self.interval}", f"bars of {interval}")

    @property
    def fill_forward(self) -> bool | None:
        """Whether bars without trades were input; None where it is not known, as in older ones."""
        found = self.parameters.get(FILL_FORWARD)
        return None if found is None else bool(found)

    def require_filling(self, file: str, *, fill_forward: bool) -> None:
        """Check that bars without trades were input where they are, and not where they are not.

        Raises:
            MismatchedModelError: the features of the training are others.
        """
        if self.fill_forward not in (None, fill_forward):
            found = f"trained with {_filling(not fill_forward)}"
            raise MismatchedModelError(file, found, _filling(fill_forward))

    def require_market(self, file: str, symbol: str, fingerprint: str) -> None:
        """Check that features of a symbol come from a calendar that was trained on.

        A symbol of the training must have the calendar that it had there, any other symbol one of
        those that were. A version that names no calendar says nothing, and is taken as it is.

        Raises:
            MismatchedModelError: another calendar.
        """
        if self.market is None:
            return
        own = [each for each in self.market if each.has(symbol)] or list(self.market)
        if any(each.fingerprint == fingerprint for each in own):
            return
        named = " or ".join(f"{each.name} ({each.fingerprint:.16})" for each in own)
        found = f"trained with the calendar {named}"
        raise MismatchedModelError(file, found, f"{fingerprint:.16}, that of {symbol} here")


def _filling(fill_forward: bool) -> str:
    return f"bars.fill_forward {'on' if fill_forward else 'off'}"


def draft_manifest(description: Description, files: Mapping[str, bytes]) -> Manifest:
    """Return what a description and the contents of files will be as version 1.

    Raises:
        ValueError: a value of another type, or a name that is none.
    """
    rows = tuple(File(each, digest(files[each]), len(files[each])) for each in sorted(files))
    fields = {each: getattr(description, each) for each in Description.__struct_fields__}
    return plain(Manifest(**fields, version=1, files=rows))


def _first_difference(found: tuple[str, ...], expected: tuple[str, ...]) -> tuple[str, str]:
    if len(found) != len(expected):
        return f"{len(found)} features", f"{len(expected)} features"
    for place, (ours, theirs) in enumerate(zip(found, expected, strict=True), 1):
        if ours != theirs:
            return f"feature {place} is {ours!r}", f"{theirs!r}"
    raise AssertionError("the same features")


def _checksum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return digest(text.encode())


def plain(record: Record) -> Record:
    """Return a record as it will be read again: its types checked, a 1 that is a float as 1.0.

    Raises:
        ValueError: a value is of another type.
    """
    try:
        return msgspec.convert(msgspec.to_builtins(record), type(record))
    except (msgspec.ValidationError, TypeError) as error:
        raise ValueError(str(error)) from error


def seal(record: msgspec.Struct) -> bytes:
    """Return a record as JSON with a checksum over its content."""
    content = msgspec.to_builtins(record)
    sealed = content | {"checksum": _checksum(content)}
    # A line a field: people read it, and a thousand residuals are not a thousand lines.
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(sealed[name])}" for name in sealed)
    return f"{{\n{lines}\n}}\n".encode()


def unseal(data: bytes, kind: type[Record], file: str) -> Record:
    """Read what `seal` has written.

    Raises:
        CorruptModelError: not JSON, another checksum, or fields that make no sense.
        MismatchedModelError: of another format.
    """
    try:
        content = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found = f"{len(data)} bytes that are not JSON ({error})"
        raise CorruptModelError(file, found, "JSON with a checksum") from error
    if not isinstance(content, dict):
        raise CorruptModelError(file, f"JSON of {type(content).__name__}", "an object")
    if content.get("format") != FORMAT:
        # Before the checksum: another format may have another one.
        found = f"format {content.get('format', 'unknown')!s:.40}"
        raise MismatchedModelError(file, found, f"format {FORMAT}")
    stated = content.pop("checksum", "none")
    computed = _checksum(content)
    if stated != computed:
        found = f"content of checksum {computed[:16]}"
        raise CorruptModelError(file, found, f"{stated!s:.16}, as the file states")
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise CorruptModelError(file, str(error), f"a {kind.__name__.lower()}") from error
