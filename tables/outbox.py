"""Outputs of one partition, which collect until a checkpoint takes them; and per-symbol state."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.contracts.outputs import OutputRecord
from app.durations import format_duration


@dataclass(slots=True)
class SymbolState:
    """Per interval: start of the newest published bar, and bars filled in a row after it."""

    newest: list[int | None]
    runs: list[int] = field(default_factory=list)


class Outbox:
    """What leaves with the next checkpoint, by output name."""

    def __init__(self, lengths: tuple[int, ...]) -> None:
        self.lengths = lengths
        self.labels = [format_duration(length) for length in lengths]
        #: Of the events that happen now; in ns.
        self.watermark = 0
        self.states: dict[int, SymbolState] = {}
        self.outputs: dict[str, list[OutputRecord]] = {"bars": [], "late": [], "dead": []}
        self.pending_bytes = 0
        self.dead_reasons: dict[str, int] = {}

    def state(self, symbol: int) -> SymbolState:
        """The symbol's state, made at first sight."""
        state = self.states.get(symbol)
        if state is None:
            count = len(self.lengths)
            state = self.states[symbol] = SymbolState([None] * count, [0] * count)
        return state

    def dead(self, record: OutputRecord, reason: str) -> None:
        """Send a bad record to the dead-letter topic."""
        self.put("dead", record)
        self.dead_reasons[reason] = self.dead_reasons.get(reason, 0) + 1

    def late(self, record: OutputRecord) -> None:
        """Send a record beyond the correction horizon to the late topic."""
        self.put("late", record)

    def put(self, output: str, record: OutputRecord) -> None:
        """Add a record to an output."""
        self.outputs[output].append(record)
        self.pending_bytes += len(record.value or b"") + 100
