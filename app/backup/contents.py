"""What a backup is: its sections and files, the order of copying, what does not fit. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal, get_args

import msgspec

from models.predicting.manifest import FORMAT
from models.predicting.registry_moves import NUMBER, numbered

SectionName = Literal["models", "features", "archive"]
SECTIONS: Final[tuple[SectionName, ...]] = get_args(SectionName)
#: Names the files; written last.
CONTENTS: Final = "backup.json"
SETTINGS, POSITIONS = "settings.json", "positions.json"
#: What makes a folder a version: of a model, of a feature set.
_SEALS: Final = {"models": "manifest.json", "features": "record.json"}
#: Of a folder that is no version (yet, or any more): its number stays taken.
_KEPT: Final = ("claim.json", "removal-")

#: Lists a folder, as `Store.names`.
Names = Callable[[str], tuple[str, ...]]


class BackupError(RuntimeError):
    """A backup cannot be taken or put back; the message is the operator's one line."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file: its path in the backup, bytes, SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where something was, without secrets, and how much of it there is."""

    location: str
    files: int
    bytes: int


class Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole backup.

    Attributes:
        created: when it was begun, ns.
        engine: version of Candlewick.
        deployment: with its topic prefix.
        files: sorted by path; those of a section below a folder of its name.
        notes: what is not as it should be, a line each.
    """

    created: int
    engine: str
    deployment: str
    sections: dict[SectionName, Section]
    files: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    format: int = FORMAT

    def of(self, section: SectionName) -> dict[str, Entry]:
        """Return the files of a section by their paths in it."""
        below = f"{section}/"
        return {
            each.path.removeprefix(below): each
            for each in self.files
            if each.path.startswith(below)
        }


def check_paths(files: Iterable[Entry]) -> None:
    """Make sure that no file would be put where it does not belong.

    Raises:
        BackupError: a path leads out of its section, or is there twice.
    """
    seen = set()
    for each in files:
        parts = each.path.split("/")
        below = each.path in (SETTINGS, POSITIONS) or (parts[0] in SECTIONS and len(parts) > 1)
        # A name that begins with a dot is a draft to every store.
        bad = any(part[:1] in ("", ".") or "\\" in part or "\0" in part for part in parts)
        if bad or not below or each.path in seen:
            raise BackupError(f"the backup names the file {each.path!r}, which it must not")
        seen.add(each.path)


# --- registries --------------------------------------------------------------------------------


def registry_paths(section: SectionName, names: Names) -> Iterator[str]:
    """Yield the files of a registry in the order in which to copy them.

    Aliases come before versions, so that what they name is there; a version's seal comes before its
    files, and those of a version that is not sealed are left out.
    """
    for name in names(""):
        for alias in names(f"{name}/aliases"):
            for file in names(f"{name}/aliases/{alias}"):
                yield f"{name}/aliases/{alias}/{file}"
    for name in names(""):
        for version in names(f"{name}/versions"):
            folder = f"{name}/versions/{version}"
            yield from (f"{folder}/{file}" for file in _of_version(section, names(folder)))
    if section == "features":
        yield from (f"usage/{file}" for file in names("usage") if file.endswith(".json"))


def _of_version(section: SectionName, files: tuple[str, ...]) -> list[str]:
    seal = _SEALS[section]
    if seal in files:
        return [seal, *(each for each in files if each != seal)]
    return [each for each in files if each.startswith(_KEPT)]


def loose_aliases(
    section: SectionName, moves: Mapping[str, bytes], paths: Iterable[str]
) -> list[str]:
    """Return a line for each alias whose last move names a version that is not there.

    Args:
        moves: contents of the aliases' files by path.
    """
    there = set(paths)
    last: dict[tuple[str, str], str] = {}
    for path in moves:
        name, _, alias, file = path.split("/")
        if NUMBER.fullmatch(file.removesuffix(".json")):
            held = last.get((name, alias))
            last[name, alias] = path if held is None else max(held, path, key=_generation)
    lines = []
    for (name, alias), path in sorted(last.items()):
        version = _named_by(moves[path])
        seal = f"{name}/versions/{numbered(version)}/{_SEALS[section]}" if version else None
        if seal is not None and seal not in there:
            lines.append(
                f"{section}: {alias} of {name} names version {version}, which is not there"
            )
    return lines


def _generation(path: str) -> int:
    return int(path.rsplit("/", 1)[-1].removesuffix(".json"))


def _named_by(move: bytes) -> int | None:
    """Return the version that a move names; what cannot be read names none."""
    try:
        found = msgspec.json.decode(move)["version"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
    return found if isinstance(found, int) else None


# --- putting back ------------------------------------------------------------------------------


def paths_in(section: SectionName, names: Names) -> Iterator[str]:
    """Yield every file that a place holds, whatever it is of."""
    yield from _below("", names, lambda path: _depth(section, path))


def _depth(section: SectionName, path: str) -> int:
    """Return how many parts the path of a file has that begins like this one."""
    if section != "archive":
        return 2 if path.partition("/")[0] == "usage" else 4
    return 5 if path.startswith("topic=") else 2


def _below(folder: str, names: Names, depth: Callable[[str], int]) -> Iterator[str]:
    for name in names(folder):
        path = f"{folder}/{name}" if folder else name
        if path.count("/") + 1 >= depth(path):
            yield path
            continue
        inner = list(_below(path, names, depth))
        # A file that stands where a folder should is one that does not belong there.
        yield from inner or [path]


def in_order(section: SectionName, paths: Iterable[str]) -> list[str]:
    """Return paths in the order in which to create them: what makes others count comes last."""

    def rank(path: str) -> tuple[int, str]:
        if section == "archive":
            return (int(path.startswith("manifests/")), path)
        parts = path.split("/")
        if parts[1:2] == ["aliases"]:
            return (2, path)
        return (int(parts[-1] == _SEALS[section]), path)

    return sorted(paths, key=rank)
