"""What a worker does for its archive while it runs: compaction, retention, garbage, in pieces.

One piece is one new file, one manifest or one folder: what it takes of memory and time is bounded.
Between any two of them it may stop, rest or be killed, and others may do the same beside it: each
piece reads the manifests anew, and of two that would replace the same file one loses.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from app.archive.compacting import (
    collecting,
    compact_group,
    drop,
    groups,
    outlived,
    removing,
)
from app.archive.layout import DAY
from app.archive.manifest import (
    ArchiveConflictError,
    ArchiveError,
    Part,
    State,
    read_state,
    refresh,
)
from models.predicting.registry_store import Store

logger = logging.getLogger(__name__)

#: Bytes of the files that a worker makes one of, at most; the command takes more.
TARGET_BYTES: Final = 16 * 1024 * 1024

Step = Literal["compact", "retain", "clean"]
Outcome = Literal["done", "conflict", "failed"]


@dataclass(frozen=True)
class Piece:
    """What was done at once.

    Attributes:
        files: that were replaced, dropped or removed.
        rows: in them; 0 where files were only removed.
    """

    step: Step
    files: int = 0
    rows: int = 0
    outcome: Outcome = "done"


@dataclass(frozen=True)
class Duties:
    """What of an archive is one's own to keep; asked before each piece, for it may change.

    Attributes:
        compacts: whether a topic's files are.
        rest: whether what is nobody's topic is: retention, and what is to be removed.
    """

    compacts: Callable[[str], bool]
    rest: Callable[[], bool]


def upkeep(
    store: Store,
    now: Callable[[], int],
    duties: Duties,
    *,
    rows: int,
    retention: int,
    collects: bool,
    target: int = TARGET_BYTES,
) -> Iterator[Piece]:
    """Keep an archive small, a piece at each step; a file that is damaged holds up no other.

    Args:
        now: the present, ns.
        rows: of a compacted file, at most; all are in memory at once.
        retention: ns; days that are over for longer are dropped once their files have been there
            as long. 0: none.
        collects: whether to look for files that nobody names, which lists every folder.

    Raises:
        ArchiveError: a manifest cannot be read.
        OSError: the store does not answer.
    """
    state = read_state(store)
    # First: a file that compaction makes is a new one.
    if retention and duties.rest():
        yield _retained(store, state, now(), -(-retention // DAY))
    for group in groups(state, now(), target=target, rows=rows):
        if duties.compacts(group[0].topic):
            yield _compacted(store, state, group, now())
    steps = [removing, *([collecting] if collects else [])]
    for step in steps:
        if not duties.rest():
            return
        refresh(store, state)
        try:
            for paths in step(store, state, now):
                yield Piece("clean", len(paths))
                if not duties.rest():
                    return
        except ArchiveConflictError as error:
            yield _lost("clean", error)


def _compacted(store: Store, state: State, group: list[Part], now: int) -> Piece:
    """Make one file of several, unless somebody has replaced any of them since."""
    refresh(store, state)
    if any(each.path not in state.parts for each in group):
        return Piece("compact", outcome="conflict")
    try:
        new = compact_group(store, state, group, now)
    except ArchiveConflictError as error:
        return _lost("compact", error)
    except ArchiveError as error:
        logger.error("archive: %s %s is not compacted: %s", group[0].topic, group[0].day, error)
        return Piece("compact", outcome="failed")
    return Piece("compact", len(group), new.rows)


def _retained(store: Store, state: State, now: int, days: int) -> Piece:
    refresh(store, state)
    old = outlived(state, now, days)
    try:
        drop(store, state, old, now)
    except ArchiveConflictError as error:
        return _lost("retain", error)
    return Piece("retain", len(old), sum(each.rows for each in old))


def _lost(step: Step, error: ArchiveConflictError) -> Piece:
    logger.info("archive: %s", error)
    return Piece(step, outcome="conflict")
