"""What a version holds: reading it checks every byte."""

from __future__ import annotations

from dataclasses import dataclass

from models.predicting.manifest import Manifest, digest, unseal
from models.predicting.registry_errors import (
    CorruptModelError,
    MismatchedModelError,
    MissingModelError,
)
from models.predicting.registry_moves import NUMBER, numbered
from models.predicting.registry_store import Store

MANIFEST = "manifest.json"
#: A larger manifest is none.
GREATEST_MANIFEST = 16 * 1024 * 1024


@dataclass(frozen=True)
class LoadedVersion:
    """A version whose bytes are those that were published.

    Attributes:
        files: contents by name.
        place: where they were read, for errors.
        members: of an ensemble, in its manifest's order.
        sha256: of the manifest's file; empty where it was not read from one.
    """

    manifest: Manifest
    files: dict[str, bytes]
    place: str
    members: tuple[LoadedVersion, ...] = ()
    sha256: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files, those of members among them."""
        return sum(map(len, self.files.values())) + sum(each.size for each in self.members)

    def where(self, file: str) -> str:
        """Return the path or address of a file."""
        return f"{self.place}/{file}"


def version_folder(name: str, version: int) -> str:
    """Return a version's folder: `returns/versions/000001`."""
    return f"{name}/versions/{numbered(version)}"


def claimed_versions(store: Store, name: str) -> tuple[int, ...]:
    """Return the numbers that a writer has ever taken, ascending."""
    found = store.names(f"{name}/versions")
    return tuple(sorted(int(each) for each in found if NUMBER.fullmatch(each)))


def read_manifest(store: Store, name: str, version: int) -> tuple[Manifest, str]:
    """Return a version's manifest, and the SHA-256 of its file.

    Raises:
        MissingModelError: there is no such version.
        CorruptModelError, MismatchedModelError: see `unseal`; or it is another version's.
    """
    path = f"{version_folder(name, version)}/{MANIFEST}"
    where = store.where(path)
    try:
        size = store.size(path)
        if size > GREATEST_MANIFEST:
            found = f"a manifest of {size:,} bytes"
            raise CorruptModelError(where, found, f"at most {GREATEST_MANIFEST:,}")
        content = store.read(path)
    except FileNotFoundError:
        raise MissingModelError(where, "no file", f"version {version} of {name}") from None
    manifest = unseal(content, Manifest, where)
    if (manifest.name, manifest.version) != (name, version):
        found = f"the manifest of {manifest.name} {manifest.version}"
        raise CorruptModelError(where, found, f"that of {name} {version}")
    return manifest, digest(content)


def read_version(store: Store, name: str, version: int) -> LoadedVersion:
    """Return a version with all its files, and an ensemble's members; all are checked.

    Raises:
        MissingModelError: there is no such version, or a file of it lacks.
        CorruptModelError: a file is not as it was published.
        MismatchedModelError: another format, or members that do not fit.
    """
    manifest, sha256 = read_manifest(store, name, version)
    folder = version_folder(name, version)
    files: dict[str, bytes] = {}
    for file in manifest.files:
        path = f"{folder}/{file.name}"
        where = store.where(path)
        expected = f"{file.size:,} bytes"
        try:
            # The size first: what is too large is not read at all.
            size = store.size(path)
            content = store.read(path) if size == file.size else b""
        except FileNotFoundError:
            raise MissingModelError(where, "no file", expected) from None
        if len(content) != file.size:
            raise CorruptModelError(where, f"{size:,} bytes", expected)
        found = digest(content)
        if found != file.sha256:
            raise CorruptModelError(where, f"SHA-256 {found}", file.sha256)
        files[file.name] = content
    place = store.where(folder)
    check_members(store, manifest, f"{place}/{MANIFEST}")
    members = tuple(read_version(store, name, each.version) for each in manifest.members)
    return LoadedVersion(manifest, files, place, members, sha256)


def check_members(store: Store, whole: Manifest, where: str) -> None:
    """Check that the members of an ensemble are those it was made of, and belong together.

    Raises:
        ModelError: as `read_manifest`; another manifest than the one named, an ensemble in an
            ensemble, other features, bars or horizon.
    """
    for member in whole.members:
        one, found = read_manifest(store, whole.name, member.version)
        if found != member.sha256:
            found = f"member {member.version} whose manifest has the SHA-256 {found}"
            raise CorruptModelError(where, found, member.sha256)
        if one.kind == "ensemble":
            raise MismatchedModelError(where, f"member {member.version} is an ensemble", "a model")
        one.require(where, whole.feature_set, whole.feature_names, whole.interval)
        if one.horizon != whole.horizon:
            found = f"member {member.version} with a horizon of {one.horizon} bars"
            raise MismatchedModelError(where, found, f"{whole.horizon} bars")
