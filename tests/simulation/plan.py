"""What is drawn of a history before it begins, and what a shrunk one leaves out.

Every draw is from a stream of its own, named by the seed and by what it is for: a fault or a weight
that is left out changes no other draw. (The interleaving does change, as time goes another way.)
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields, replace

#: What may happen to workers, their disks and the group; drawn one by one.
KINDS = (
    "crash", "crash at a step", "crash at a step", "pause", "pause", "pause at a step", "leave",
    "join", "rebalance", "lost disk", "stale disk", "damaged disk", "full disk", "broker away",
    "clock jump", "group offset lost", "group offset moved",
)  # fmt: skip


@dataclass(slots=True)
class Weights:
    """How likely each fault of a request is; some show only beside frequent others.

    Attributes:
        lose_request: it does not arrive.
        lose_answer: what was asked for has happened, and the client does not know.
        slow: it takes up to 100 times as long.
        late_marker: a transaction's end reaches a partition, or the group, late.
        fail_side: forming bars and clock records.
        stray: a fetch that was under way before a seek, or one that is dropped.
        fail_write: of RocksDB.
        delay: mean seconds of a request's way.
    """

    lose_request: float = 0.0
    lose_answer: float = 0.0
    slow: float = 0.0
    late_marker: float = 0.0
    fail_side: float = 0.0
    stray: float = 0.0
    fail_write: float = 0.0
    delay: float = 0.002


#: The weights that can be set to zero by name.
QUIETABLE = tuple(each.name for each in fields(Weights) if each.name != "delay")


@dataclass(frozen=True, slots=True)
class Plan:
    """One history.

    Attributes:
        seed: of all draws.
        records: at most so many of a partition's records.
        faults: at most so many faults of workers, the first ones.
        noise: another number is another interleaving of the same.
        skip_records: records (numbers in a partition's log) that are left out.
        skip_faults: faults (numbers) that are left out.
        quiet: weights that are zero.
    """

    seed: int
    records: int = 60
    faults: int = 8
    noise: int = 0
    skip_records: frozenset[int] = field(default_factory=frozenset)
    skip_faults: frozenset[int] = field(default_factory=frozenset)
    quiet: frozenset[str] = field(default_factory=frozenset)

    def dice(self, purpose: str) -> random.Random:
        """The draws for a purpose."""
        return random.Random(f"{self.seed} {purpose}")

    def noisy_dice(self) -> random.Random:
        """The draws of the interleaving, delays and lost requests."""
        return random.Random(f"{self.seed} noise {self.noise}")

    def weights(self) -> Weights:
        """Zero, rare or frequent, each by itself; a third of histories has few kinds at all."""
        few = self.dice("few").random() < 1 / 3
        drawn = Weights(delay=self.dice("delay").choice((0.0005, 0.003, 0.01, 0.05)))
        for name in QUIETABLE:
            dice = self.dice(name)
            weight = dice.choice((0.0, 0.0, 0.0, 0.05) if few else (0.0, 0.005, 0.02, 0.1))
            if name == "fail_write":
                weight /= 2
            setattr(drawn, name, 0.0 if name in self.quiet else weight)
        return drawn

    def fault_numbers(self) -> list[int]:
        """The faults that are to happen."""
        drawn = self.dice("faults").randint(2, 8)
        return [each for each in range(min(drawn, self.faults)) if each not in self.skip_faults]

    def without(self, **changes: object) -> Plan:
        """The plan with something changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def command(self) -> str:
        """What replays it."""
        words = [f"python -m tests.simulation --seed {self.seed} --records {self.records}"]
        words.append(f"--faults {self.faults}")
        if self.noise:
            words.append(f"--noise {self.noise}")
        for name in ("skip_records", "skip_faults", "quiet"):
            values = getattr(self, name)
            if values:
                words.append(f"--{name.replace('_', '-')} {','.join(map(str, sorted(values)))}")
        return " ".join([*words, "--trace"])
