"""A learner made of learners: its parts go on from their states."""

from __future__ import annotations

from typing import Any, TypeVar

from tables.learning import Learner, State, StateVersionError

Part = TypeVar("Part", bound=Learner[Any, Any])


def resumed(part: Part, state: State) -> Part:
    """Return a part that was made with its parameters, after it has taken in a state.

    Raises:
        StateVersionError: the state is of another version.
        ValueError, TypeError, IndexError: it does not fit the parameters.
    """
    if not state or state[0] != part.VERSION:
        raise StateVersionError(f"{type(part).__name__}: the state is not version {part.VERSION}")
    part._resume(state[1:])
    return part
