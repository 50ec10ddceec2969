"""Each mistake planted in the engine is shown by one of the first histories."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.simulation.planted import FAULTS, LIMIT, is_right, search
from tests.simulation.planted_tools import Deed, PlantingError, edited


@pytest.mark.parametrize("name", FAULTS)
def test_the_simulation_finds(name: str) -> None:
    caught = search(FAULTS[name])
    assert caught is not None, f"{LIMIT} histories do not show: {FAULTS[name].mistake}"
    assert caught.acted > 0, "what was found is not this fault's"
    assert is_right(caught.seed), "the history is wrong without the fault"


def test_every_fault_says_which_mistake_it_is() -> None:
    assert len(FAULTS) >= 14
    assert all(fault.mistake for fault in FAULTS.values())


def test_a_fault_is_there_and_then_is_not() -> None:
    before = dict(_names())
    for fault in FAULTS.values():
        with fault.plant(Deed()):
            assert dict(_names()) != before, fault.name
        assert dict(_names()) == before, fault.name


def _names() -> Iterator[tuple[tuple[str, ...], int]]:
    """What the names of the engine's and the simulation's modules and classes stand for."""
    for module_name in sorted(sys.modules):
        if module_name.startswith(("app.streaming.", "tables.", "agents.", "tests.simulation.")):
            for name, value in vars(sys.modules[module_name]).items():
                yield (module_name, name), id(value)
                if isinstance(value, type):
                    for part, inner in vars(value).items():
                        yield (module_name, name, part), id(inner)


def test_a_line_that_is_gone_is_an_error() -> None:
    with pytest.raises(PlantingError):
        edited(_names, ("no such line", "pass"))
