"""Manifests: which files are the archive's, and how far each partition is held.

`manifests/NUMBER.json`, from 1 on, without gaps, each created once and never changed. The archive
is what all of them say in turn; every 64th also says what that amounts to, so that older ones can
be removed. Whoever adds one has read all before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from models.predicting.registry_store import Store

VERSION: Final = 1
FOLDER: Final = "manifests"
#: Each so many manifests one tells the whole state.
WHOLE_EVERY: Final = 64
#: How often a commit is tried anew because another came first.
ATTEMPTS: Final = 20


class ArchiveError(RuntimeError):
    """The archive cannot be read or written; the message is the operator's one line."""


class ArchiveConflictError(ArchiveError):
    """Another writer has committed what this one was about to; nothing of it is in the archive.

    Attributes:
        places: the partitions that the other has written, by topic and number; none where there
            were others only all the time, and trying again helps.
    """

    def __init__(self, message: str, places: Sequence[tuple[str, int]] = ()) -> None:
        super().__init__(message)
        self.places = tuple(places)


class Part(msgspec.Struct, frozen=True):
    """A file: its path below the archive, its topic and UTC day (yyyy-mm-dd), rows and bytes."""

    path: str
    topic: str
    day: str
    rows: int
    bytes: int


class Span(msgspec.Struct, frozen=True, rename={"begin": "from", "end": "to"}):
    """Offsets [from, to) of a topic's partition whose records a manifest's files hold.

    Attributes:
        rows: how many records there are; markers and aborted records have offsets, too.
        log: Kafka's id of the topic; another id is another topic of that name. Empty: not told.
        lost: offsets that the log no longer had when the archive came to them: those before `from`
            that are not held, and any in between.
    """

    topic: str
    partition: int
    begin: int
    end: int
    rows: int = 0
    log: str = ""
    lost: int = 0


class Position(msgspec.Struct, frozen=True):
    """The offset after the last one held, and who wrote it; `log` and `lost` as in its spans."""

    next: int
    writer: str
    log: str = ""
    lost: int = 0

    def goes_on(self, log: str) -> bool:
        """Return whether a log is the one that is held, and not another of that name."""
        return not self.log or not log or self.log == log


class Whole(msgspec.Struct):
    """The state behind a manifest. `positions` is by topic, then partition in decimals."""

    parts: list[Part]
    positions: dict[str, dict[str, Position]]
    removed: dict[str, int]


class Change(msgspec.Struct):
    """What a manifest changes; `removed` are files that readers no longer take, `forgotten` those
    of them that are deleted."""

    kind: Literal["flush", "compaction", "retention", "cleaning"]
    spans: list[Span] = []
    added: list[Part] = []
    removed: list[str] = []
    forgotten: list[str] = []


class Manifest(msgspec.Struct):
    """One step of the archive; `time` is when, in ns, by its writer's clock."""

    version: int
    number: int
    writer: str
    time: int
    change: Change
    whole: Whole | None = None


class State:
    """What the manifests up to `number` amount to."""

    def __init__(self) -> None:
        self.number = 0
        self.parts: dict[str, Part] = {}
        self.positions: dict[tuple[str, int], Position] = {}
        #: Files that were replaced or dropped and not yet deleted, with the time of that in ns.
        self.removed: dict[str, int] = {}

    def apply(self, manifest: Manifest) -> None:
        """Take one step."""
        change = manifest.change
        for path in change.removed:
            self.parts.pop(path, None)
            self.removed[path] = manifest.time
        for path in change.forgotten:
            self.removed.pop(path, None)
        self.parts.update((each.path, each) for each in change.added)
        for span in change.spans:
            place = (span.topic, span.partition)
            held, log, lost = self.positions.get(place), span.log, span.lost
            if held is not None and held.goes_on(log):
                log, lost = log or held.log, lost + held.lost
            self.positions[place] = Position(span.end, manifest.writer, log, lost)
        self.number = manifest.number

    def whole(self) -> Whole:
        """Return the state as a manifest tells it."""
        positions: dict[str, dict[str, Position]] = {}
        for (topic, partition), position in sorted(self.positions.items()):
            positions.setdefault(topic, {})[str(partition)] = position
        return Whole(list(self.parts.values()), positions, dict(self.removed))

    def set(self, number: int, whole: Whole) -> None:
        """Begin at a manifest that tells the whole state."""
        self.number = number
        self.parts = {each.path: each for each in whole.parts}
        self.removed = dict(whole.removed)
        self.positions = {
            (topic, int(partition)): position
            for topic, partitions in whole.positions.items()
            for partition, position in partitions.items()
        }


_decoder = msgspec.json.Decoder(Manifest)


def path_of(number: int) -> str:
    """Return a manifest's path below the archive."""
    return f"{FOLDER}/{number:020d}.json"


def numbers(store: Store) -> list[int]:
    """Return the numbers of the manifests that there are, ascending."""
    names = (name.removesuffix(".json") for name in store.names(FOLDER) if name.endswith(".json"))
    return sorted(int(name) for name in names if name.isdecimal())


def read_manifest(store: Store, number: int) -> Manifest:
    """Return one manifest.

    Raises:
        ArchiveError: it is not there, or not one of this version.
    """
    place = store.where(path_of(number))
    try:
        manifest = _decoder.decode(store.read(path_of(number)))
    except FileNotFoundError:
        raise ArchiveError(f"{place}: the manifest is missing") from None
    except msgspec.DecodeError as error:
        raise ArchiveError(f"{place}: not a manifest of an archive: {error}") from None
    if manifest.version != VERSION:
        raise ArchiveError(
            f"{place}: version {manifest.version} of the archive; this engine knows {VERSION}"
        )
    return manifest


def refresh(store: Store, state: State) -> State:
    """Bring a state up to the newest manifest, and return it.

    Raises:
        ArchiveError: a manifest is missing or cannot be read.
    """
    found = numbers(store)
    newest = found[-1] if found else 0
    if newest < state.number:
        raise ArchiveError(
            f"{store.where(FOLDER)}: the newest manifest is {newest}, expected {state.number}"
        )
    base = newest - newest % WHOLE_EVERY
    if base > state.number:
        manifest = read_manifest(store, base)
        if manifest.whole is None:
            raise ArchiveError(f"{store.where(path_of(base))}: does not tell the whole state")
        state.set(base, manifest.whole)
    for number in range(state.number + 1, newest + 1):
        state.apply(read_manifest(store, number))
    return state


def read_state(store: Store) -> State:
    """Return what an archive holds now; nothing where there is none.

    Raises:
        ArchiveError: a manifest is missing or cannot be read.
    """
    return refresh(store, State())


def commit(
    store: Store,
    state: State,
    change: Change,
    *,
    writer: str,
    time: int,
    check: Callable[[State], None],
) -> Manifest:
    """Add a manifest behind all others, and bring the state up to it.

    Args:
        check: raises where the change no longer fits the state, because another came first.

    Raises:
        ArchiveConflictError: `check`'s; or others come first all the time.
        OSError: it is not known whether the manifest is there; `refresh` tells.
    """
    for _ in range(ATTEMPTS):
        check(state)
        manifest = Manifest(VERSION, state.number + 1, writer, time, change)
        if manifest.number % WHOLE_EVERY == 0:
            after = State()
            after.set(state.number, state.whole())
            after.apply(manifest)
            manifest.whole = after.whole()
        try:
            store.create(path_of(manifest.number), msgspec.json.encode(manifest))
        except FileExistsError:
            refresh(store, state)
            continue
        _must_follow(store, manifest.number)
        state.apply(manifest)
        return manifest
    raise ArchiveConflictError(
        f"{store.where(FOLDER)}: others committed {ATTEMPTS} times meanwhile; try again"
    )


def _must_follow(store: Store, number: int) -> None:
    """Make sure that a new manifest is not one that was removed long ago under the same number."""
    found = set(numbers(store))
    newest = max(found, default=0)
    if number != newest and number + 1 not in found:
        store.remove(path_of(number))
        raise ArchiveConflictError(
            f"{store.where(path_of(number))}: this writer was asleep while others committed up to "
            f"{newest} and cleaned up; start it anew"
        )
