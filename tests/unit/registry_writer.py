"""A process that writes to a registry: `python -m tests.unit.registry_writer FOLDER VERB ...`.

`kill` dies by SIGKILL around the n-th call of a function of the operating system: what is on the
disk then is what a crash at this place leaves.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.predicting.registry import Registry
from models.predicting.registry_errors import MovedAliasError
from tests.unit.model_records import described


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _deadly(call: Callable[..., Any], number: int, before: bool) -> Callable[..., Any]:
    """Return a function that dies before or after its n-th call."""
    calls = 0

    def instead(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and before:
            _die()
        result = call(*arguments, **named)
        if calls == number:
            _die()
        return result

    return instead


def _publish(registry: Registry, writer: str) -> None:
    registry.publish(described(commit=writer), {"model.ubj": writer.encode() * 1_000})


def main() -> None:
    """Do what the arguments say, and print what came of it."""
    folder, verb, *rest = sys.argv[1:]
    registry = Registry.at(Path(folder))
    if verb == "publish":
        writer, count = rest
        for _ in range(int(count)):
            _publish(registry, writer)
    elif verb == "promote":
        # Each success moves the alias from the generation seen; a failure is another's success.
        won = 0
        while won < int(rest[0]):
            seen = registry.aliases("returns").get("champion")
            generation = 0 if seen is None else seen.generation
            try:
                registry.promote(
                    "returns", "champion", 1, reason="race", time=1, expected=generation
                )
                won += 1
            except MovedAliasError:
                pass
    elif verb == "kill":
        action, function, number, moment = rest
        setattr(os, function, _deadly(getattr(os, function), int(number), moment == "before"))
        if action == "publish":
            _publish(registry, "killed")
        elif action == "promote":
            registry.promote("returns", "champion", 2, reason="killed", time=2)
        else:
            registry.delete("returns", 2, reason="killed", time=2)
    print("done")


if __name__ == "__main__":
    main()
