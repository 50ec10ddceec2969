"""How faults are planted in the engine: a function replaced, or a copy of it with one line changed.

Each fault is a context manager that patches the engine's own code and counts how often it acted: a
fault that was never reached proves nothing. A changed line that is not there any more is an error,
so the faults follow the code that they are about.
"""

from __future__ import annotations
import __future__

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any
from unittest.mock import patch


class PlantingError(AssertionError):
    """The code that a fault changes is not there (any more)."""


class Deed:
    """How often a fault has acted."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, acts: object = True) -> bool:
        """Count it if it acts; whether it does."""
        self.count += bool(acts)
        return bool(acts)


@dataclass(frozen=True, slots=True)
class Fault:
    """A planted fault.

    Attributes:
        name: for tests and the table.
        mistake: which real-world mistake it is, in one line.
        plant: makes the context in which the engine has it.
        stops: workers that end by themselves, or do not come to an end, are its consequence. Of
            other faults they prove nothing: it might as well be a slip of the fault's own code.
    """

    name: str
    mistake: str
    plant: Callable[[Deed], AbstractContextManager[None]]
    stops: bool = False


#: All faults, by name, in the order of their files.
FAULTS: dict[str, Fault] = {}
Plant = Callable[[Deed], Iterator[None]]


def fault(*, stops: bool = False) -> Callable[[Plant], Plant]:
    """Register a generator function as a fault; its name and docstring are the fault's."""

    def register(plant: Plant) -> Plant:
        name = plant.__name__.replace("_", " ")
        text = " ".join((plant.__doc__ or "").split())
        FAULTS[name] = Fault(name, text, contextmanager(plant), stops)
        return plant

    return register


def edited(function: FunctionType, *changes: tuple[str, str]) -> Any:
    """A copy of a function with pieces of its text replaced.

    Args:
        changes: a text of the function, and what stands there instead; further lines of that
            are indented as the line is that the text begins in.

    Raises:
        PlantingError: a text does not occur exactly once, or the file is not what was imported.
    """
    source = textwrap.dedent(inspect.getsource(function))
    try:
        read = _compiled(function, source).__code__
    except (SyntaxError, KeyError) as error:
        raise PlantingError(f"{function.__qualname__} cannot be read: {error!r}") from error
    there = function.__code__
    # (Not their instructions: a compiler that does not see the imports makes others of one text.)
    if (there.co_names, there.co_varnames) != (read.co_names, read.co_varnames):
        # Lines have moved: the text would be another function's, or half of one.
        raise PlantingError(f"{function.__qualname__}: its file has changed since it was imported")
    for old, new in changes:
        if source.count(old) != 1:
            times = source.count(old)
            raise PlantingError(f"{function.__qualname__} has {times} times, not once: {old!r}")
        line = source[: source.index(old)].rpartition("\n")[2]
        indent = " " * (len(line) - len(line.lstrip()))
        source = source.replace(old, re.sub(r"\n(?=.)", f"\n{indent}", new))
    return _compiled(function, source)


def _compiled(function: FunctionType, source: str) -> Any:
    """The function that a text defines, beside the one that is there."""
    made: dict[str, Any] = {}
    code = compile(
        source,
        f"<planted in {function.__qualname__}>",
        "exec",
        flags=__future__.annotations.compiler_flag,
        dont_inherit=True,
    )
    # Its globals are the module's own, where the simulation puts its parts.
    exec(code, function.__globals__, made)
    return made[function.__name__]


@contextmanager
def changed(
    owner: Any, name: str, deed: Deed, *changes: tuple[str, str], **helpers: Any
) -> Iterator[None]:
    """Let `owner.name` be a copy of itself with changes, for which see `edited`.

    Args:
        owner: a class, or the module in which the function is looked up.
        helpers: names that the new text uses, besides `deed`.
    """
    original = inspect.getattr_static(owner, name)
    function: Any = original.fget if isinstance(original, property) else original
    function = inspect.unwrap(function)
    names: Mapping[str, Any] = {"deed": deed, **helpers}
    with ExitStack() as stack:
        for helper, value in names.items():
            module = sys.modules[function.__module__]
            stack.enter_context(patch.object(module, helper, value, create=True))
        stack.enter_context(patch.object(owner, name, edited(function, *changes)))
        yield
