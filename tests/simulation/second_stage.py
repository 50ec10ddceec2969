"""A second stage, small, with a state, changelog and checkpoint of its own: it folds the bars.

The indicators agent reads the same bars beside it: they share each fetch, and nothing else.

It reads the first stage's committed bars and keeps, of each symbol, how many bars it has seen and
a chain: the hash of the chain so far and of the next bar. A bar that is lost, doubled or in another
order changes every chain after it. Each `EMIT_EVERY`-th bar of a symbol publishes the chain; each
`FORGET_EVERY`-th deletes the symbol's row (it begins anew from the partition's own chain), so that
the changelog has deletions. Holes move its position and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from app.contracts.batch import RecordBatch
from app.contracts.outputs import OutputRecord, Taken
from app.exits import RefusalError
from app.streaming.protocols import Progress, Reader, RowsOf

EMIT_EVERY = 2
FORGET_EVERY = 5
MARKER = b"m"
SYMBOL = b"s"


def chained(chain: str, text: str) -> str:
    """The next link of a chain."""
    return hashlib.blake2b(f"{chain} {text}".encode(), digest_size=8).hexdigest()


class FoldState:
    """One partition."""

    #: It never reads its log again.
    recall = None

    def __init__(self, topic_id: str) -> None:
        self.next: int | None = None
        self.total = 0
        self.chain = ""
        self.symbols: dict[str, tuple[int, str]] = {}
        self._topic_id = topic_id
        self._outputs: list[OutputRecord] = []
        self._changed: set[str] = set()

    def begin(self, position: int) -> None:
        """Set the first source offset."""
        self.next = position

    def apply(self, batch: RecordBatch) -> None:
        """Take a batch that begins at `next`."""
        if batch.base != self.next:
            raise ValueError(f"batch begins at {batch.base}, the state at {self.next}")
        for value in batch.values:
            self._fold(value or b"")
        self.next = batch.next

    def _fold(self, value: bytes) -> None:
        bar: dict[str, Any] = json.loads(value)
        symbol, text = bar["symbol"], json.dumps(bar, sort_keys=True)
        self.total += 1
        self.chain = chained(self.chain, text)
        count, chain = self.symbols.get(symbol, (0, self.chain))
        count, chain = count + 1, chained(chain, text)
        self._changed.add(symbol)
        if count % EMIT_EVERY == 0:
            value = b'{"symbol":"%s","bars":%d,"all":%d,"chain":"%s"}' % (
                symbol.encode(), count, self.total, chain.encode()
            )  # fmt: skip
            self._outputs.append(OutputRecord(symbol.encode(), value, []))
        if count % FORGET_EVERY == 0:
            del self.symbols[symbol]
        else:
            self.symbols[symbol] = (count, chain)

    def take(self, topic_id: str) -> Taken:
        """Freeze a checkpoint."""
        assert self.next is not None
        outputs, self._outputs = self._outputs, []
        rows: list[tuple[bytes, bytes | None]] = []
        for symbol in sorted(self._changed):
            held = self.symbols.get(symbol)
            rows.append((SYMBOL + symbol.encode(), None if held is None else _encoded(held)))
        self._changed.clear()
        rows.append((MARKER, _encoded([self.next, self.total, self.chain, topic_id])))
        return Taken(self.next, {"folds": outputs} if outputs else {}, rows)

    def recalled(self, *, whole: bool) -> None:
        """Never asked for."""

    def stored(self) -> None:
        """Nothing is kept for it."""

    @property
    def pending_outputs(self) -> int:
        """Outputs that no checkpoint has taken."""
        return len(self._outputs)

    @property
    def pending_bytes(self) -> int:
        """About how many bytes they have."""
        return 64 * len(self._outputs)

    @property
    def progress(self) -> Progress:
        """For metrics."""
        return Progress(None, None, {"applied": self.total}, {}, len(self.symbols))

    def clock_due(self, idle: int) -> int | None:
        """It has no clock."""
        return None

    def read_ahead(self, rows_of: RowsOf) -> Iterator[None]:
        """It has all that it needs."""
        return iter(())

    def announcements(self) -> Sequence[bytes]:
        """It has nothing to say."""
        return ()

    def forming(self) -> tuple[list[bytes], int]:
        """Nothing is published outside the checkpoint."""
        return [], 0

    def forming_of(self, symbol: str) -> list[bytes]:
        """Nothing either."""
        return []


class FoldStage:
    """The stage's part of a deployment."""

    agent = "fold"
    loaded_prefixes: Sequence[bytes] = (SYMBOL,)
    #: Small, so that crashes come between pieces.
    piece: int | None = 3

    def __init__(self, source: str, prefix: str) -> None:
        self.source = source
        self.changelog = f"{prefix}fold.changelog"
        self.forming_topic = f"{prefix}fold.forming"
        self.outputs = {"folds": f"{prefix}folds"}

    def load(
        self, partition: int, topic_id: str, read: Reader, rows: Iterable[tuple[bytes, bytes]]
    ) -> FoldState:
        """Build a partition's state from its store.

        Raises:
            RefusalError: its source is another topic.
        """
        state = FoldState(topic_id)
        marker = read(MARKER)
        if marker is not None:
            state.next, state.total, state.chain, topic = json.loads(marker)
            if topic != topic_id:
                raise RefusalError(f"stored state was computed from source topic {topic}")
            for key, row in rows:
                count, chain = json.loads(row)
                state.symbols[key[1:].decode()] = (count, chain)
        return state


def _encoded(value: object) -> bytes:
    return json.dumps(value).encode()
