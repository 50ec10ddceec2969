"""What is registered of a version of a feature set, and in what two of them differ.

A record is JSON with a checksum, as a model's manifest. Of each feature it has the term as it would
be written in code, and a hash of its own that covers the code of the user's terms and functions:
so a refusal can name the feature that changed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import msgspec

from models.predicting.features_plan import make_plan
from models.predicting.features_terms import Node, Reading
from models.predicting.featuresets import FeatureSet
from models.predicting.manifest import FORMAT, plain

#: Of tags, owners and callers: they are searched for and printed in one line.
GREATEST_TEXT = 200
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,63}")


class FeatureEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A feature: `Change(CLOSE, 5)`, what it says, and a hash of its declaration and code."""

    name: str
    term: str
    about: str
    hash: str


class FeatureSetRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A registered version.

    Attributes:
        name, version, hash: as the set declares them.
        features: in the order of the columns.
        inputs: outputs of indicators that are read, `MACD(12,26,9).signal`.
        indicators: that must run for them, `MACD(12,26,9)`.
        warm_up: with so many bars there are features.
        depth: how many bars before its own a row reads the indicators of.
        description: the class's documentation.
        module: import path of the class.
        owner: who answers for it.
        tags: by name; a tag without a value has an empty one.
        code: version of the code that declared it: of candlewick, or a commit.
        by: who registered it.
        time: ns, given.
    """

    format: int = FORMAT
    name: str
    version: int
    hash: str
    features: tuple[FeatureEntry, ...]
    inputs: tuple[str, ...]
    indicators: tuple[str, ...]
    warm_up: int
    depth: int
    description: str
    module: str
    owner: str | None
    tags: dict[str, str]
    code: str
    by: str | None
    time: int

    @property
    def label(self) -> str:
        """`returns@1:0123456789abcdef`, as models and rows name it."""
        return f"{self.name}@{self.version}:{self.hash}"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """In the order of the columns."""
        return tuple(each.name for each in self.features)


def describe(
    kind: type[FeatureSet],
    *,
    time: int,
    code: str,
    owner: str | None = None,
    by: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> FeatureSetRecord:
    """Return the record of a feature set.

    Args:
        time: ns.
        code: version of the code.
        tags: by name, of letters, digits, `_`, `.`, `/` and `-`.

    Raises:
        FeatureSetError: the set is not as it must be.
        ValueError: a tag or a text is none.
    """
    plan = kind.plan()
    for name, value in (tags or {}).items():
        if not _TAG.fullmatch(name):
            raise ValueError(f"tag {name!r}: expected {_TAG.pattern}")
        _line(f"tag {name}", value)
    for what, text in (("owner", owner), ("by", by), ("code", code)):
        _line(what, text or "")
    entries = tuple(
        FeatureEntry(
            each.name,
            written(each.term),
            each.about,
            make_plan("feature", 1, (each,), kind.MODULES).hash,
        )
        for each in plan.features
    )
    return plain(
        FeatureSetRecord(
            name=kind.NAME,
            version=kind.VERSION,
            hash=plan.hash,
            features=entries,
            inputs=plan.inputs,
            indicators=tuple(dict.fromkeys(each.label for each in plan.requests)),
            warm_up=plan.warm_up,
            depth=plan.depth,
            description=inspect.cleandoc(kind.__doc__ or ""),
            module=kind.__module__,
            owner=owner,
            tags=dict(sorted((tags or {}).items())),
            code=code,
            by=by,
            time=time,
        )
    )


def _line(what: str, text: str) -> None:
    if len(text) > GREATEST_TEXT or not text.isprintable():
        raise ValueError(
            f"{what} {text[:40]!r}: expected at most {GREATEST_TEXT} printable characters"
        )


def written(node: Node) -> str:
    """Return a term as it is written: `Ratio(CLOSE, Mean(CLOSE, 20))`; functions by their names."""
    if isinstance(node, Reading):
        return node.name
    parts = ", ".join(_written(getattr(node, each.name)) for each in fields(node))
    return f"{type(node).__qualname__}({parts})"


def _written(value: Any) -> str:
    if isinstance(value, Node):
        return written(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_written, value))}]"
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else repr(value)


def differences(held: FeatureSetRecord, other: FeatureSetRecord) -> Iterator[str]:
    """Yield in what another declaration differs from the one that is held, for people."""
    ours = {each.name: each for each in held.features}
    theirs = {each.name: each for each in other.features}
    gone = [name for name in ours if name not in theirs]
    come = [name for name in theirs if name not in ours]
    if gone:
        yield f"without {', '.join(gone)}"
    if come:
        yield f"with {', '.join(come)} besides"
    for name, entry in ours.items():
        found = theirs.get(name)
        if found is None or found.hash == entry.hash:
            continue
        if found.term != entry.term:
            yield f"{name} is {found.term}, was {entry.term}"
        else:
            yield f"the code of {name} is another"
    if not gone and not come and held.feature_names != other.feature_names:
        yield "the order of the features is another"
    if all(theirs[name].hash == ours[name].hash for name in ours if name in theirs) and (
        held.feature_names == other.feature_names
    ):
        yield "the code of the set's own methods is another"
