"""One suite for everything that learns from a stream: it runs over each implementation there is.

A class takes part by being a concrete `Learner` in one of `PACKAGES`. It says which parameters to
try (`examples`), makes items of ordinary times (`sample`), and, unless it takes bars, items of all
extraordinary ones (`hostile`).
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tables.indicators.base import Indicator
from tables.learning import Learner, Revertible, State, StateVersionError, discover
from tests.checks.hostile_bars import SERIES

PACKAGES = ("tables.indicators", "tables.crossing", "models")
KINDS = [kind for path in PACKAGES for kind in discover(importlib.import_module(path))]
#: Items of a short test, and of those of the size of the state.
SHORT, LONG = 400, 10_000

Made = tuple[type[Learner[Any, Any]], dict[str, Any]]


def cases(*, of: type[Any] = Learner) -> list[Any]:
    """Each implementation with each of its examples."""
    return [
        pytest.param(
            (kind, example),
            id=f"{kind.__name__}-{'-'.join(f'{n}={v}' for n, v in example.items()) or 'default'}",
        )
        for kind in KINDS
        if issubclass(kind, of)
        for example in kind.examples()
    ]


every = pytest.mark.parametrize("made", cases())
every_revertible = pytest.mark.parametrize("made", cases(of=Revertible))
every_indicator = pytest.mark.parametrize("made", cases(of=Indicator))


def fresh(made: Made) -> Learner[Any, Any]:
    kind, example = made
    return kind(**example)


def through_json(made: Made, state: State) -> Learner[Any, Any]:
    kind, example = made
    return kind.from_state(json.loads(json.dumps(state, allow_nan=False)), **example)


def values_of(learner: Learner[Any, Any], items: Sequence[Any]) -> Iterator[Any]:
    for item in items:
        learner.update(item)
        yield learner.value


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from numbers_in(each)
    elif isinstance(value, dict):
        yield from numbers_in(list(value.values()))
    elif isinstance(value, float):
        yield value


def test_there_is_something_to_check() -> None:
    assert len(KINDS) > 50


@every
def test_a_replay_of_any_prefix_gives_the_same_bits(made: Made) -> None:
    items = made[0].sample(1, SHORT)
    streamed = list(values_of(fresh(made), items))
    for length in (1, 2, SHORT // 3, SHORT - 1):
        prefix = made[0].sample(1, length)
        assert list(prefix) == list(items[:length])
        assert repr(list(values_of(fresh(made), prefix))) == repr(streamed[:length])


@every
def test_a_value_once_given_never_changes(made: Made) -> None:
    items = made[0].sample(2, SHORT)
    learner, given, texts = fresh(made), [], []
    for value in values_of(learner, items):
        given.append(value)
        texts.append(repr(value))
    assert [repr(value) for value in given] == texts


@every
def test_a_snapshot_at_any_point_goes_on_bit_for_bit(made: Made) -> None:
    items = made[0].sample(3, SHORT)
    straight, restored = fresh(made), fresh(made)
    for number, item in enumerate(items):
        if number < 80 or number % 37 == 0:
            restored = through_json(made, restored.state())
        straight.update(item)
        restored.update(item)
        assert repr(restored.value) == repr(straight.value)
        assert restored.ready == straight.ready
    assert restored.state() == straight.state()


@every_revertible
def test_a_revised_last_item_is_as_if_it_had_come_first(made: Made) -> None:
    items, others = made[0].sample(4, SHORT), made[0].sample(5, SHORT)
    straight, revised = fresh(made), fresh(made)
    assert isinstance(revised, Revertible)
    for item, other in zip(items, others, strict=True):
        before = repr(revised.value)
        revised.update(other)
        revised.revert()
        assert repr(revised.value) == before
        revised.update(item)
        straight.update(item)
        assert repr(revised.value) == repr(straight.value)
    assert revised.state() == straight.state()


@every_revertible
def test_a_last_item_can_be_undone_after_a_restart(made: Made) -> None:
    items, others = made[0].sample(6, SHORT), made[0].sample(7, SHORT)
    straight, revised = fresh(made), fresh(made)
    for number, (item, other) in enumerate(zip(items, others, strict=True)):
        if number % 7 == 0 or number < 40:
            revised.update(other)
            revised = through_json(made, revised.state())
            assert isinstance(revised, Revertible)
            revised.revert()
        revised.update(item)
        straight.update(item)
    assert repr(revised.value) == repr(straight.value)
    assert revised.state() == straight.state()


@every_revertible
def test_one_update_is_undone_and_not_two(made: Made) -> None:
    learner = fresh(made)
    assert isinstance(learner, Revertible)
    with pytest.raises(RuntimeError, match="no update to revert"):
        learner.revert()
    for item in made[0].sample(8, 5):
        learner.update(item)
    learner.revert()
    with pytest.raises(RuntimeError, match="no update to revert"):
        learner.revert()


@every
def test_the_state_stays_of_one_size_and_is_plain(made: Made) -> None:
    items = made[0].sample(9, LONG)
    learner, sizes = fresh(made), []
    for number, item in enumerate(items, 1):
        learner.update(item)
        if number in (1_000, LONG):
            sizes.append(len(json.dumps(learner.state(), allow_nan=False)))
    # Numbers have more or fewer digits; there are no more of them.
    assert sizes[1] <= 1.1 * sizes[0] + 200


@every
def test_a_state_of_another_version_or_shape_is_refused(made: Made) -> None:
    kind, example = made
    learner = fresh(made)
    for item in kind.sample(10, 50):
        learner.update(item)
    version, *content = learner.state()
    for wrong in ([version + 1, *content], [], [version], [version, *content, [[]]]):
        with pytest.raises(StateVersionError, match=kind.__name__):
            kind.from_state(wrong, **example)


def hostile_series(kind: type[Learner[Any, Any]]) -> dict[str, Callable[[], Sequence[Any]]]:
    if issubclass(kind, Indicator):
        return dict(SERIES)
    items = getattr(kind, "hostile", None)
    assert items is not None, f"{kind.__name__} takes no bars: it needs `hostile`, items to fear"
    return {"its own": lambda: items(11, SHORT)}


@every
def test_neither_nan_nor_infinity_ever_comes_out(made: Made) -> None:
    for name, series in hostile_series(made[0]).items():
        learner = fresh(made)
        for number, value in enumerate(values_of(learner, series())):
            assert all(map(math.isfinite, numbers_in(value))), (name, number, value)
            # After the worst of it, too, what goes into a checkpoint is JSON.
            if number % 50 == 0:
                json.dumps(learner.state(), allow_nan=False)
        json.dumps(learner.state(), allow_nan=False)


@every_indicator
def test_the_first_value_comes_with_the_bar_that_the_warm_up_names(made: Made) -> None:
    learner = fresh(made)
    assert isinstance(learner, Indicator)
    items = learner.sample(12, learner.warm_up + 5)
    for number, value in enumerate(values_of(learner, items), 1):
        assert (value is not None) == learner.ready == (number >= learner.warm_up), number


@every_indicator
def test_another_bar_is_forgotten_after_as_many_bars_as_it_says(made: Made) -> None:
    first, second = fresh(made), fresh(made)
    assert isinstance(first, Indicator)
    if first.memory is None:
        pytest.skip("remembers all")
    before = 2 * first.warm_up
    items = first.sample(13, before + 1 + first.memory)
    other = first.sample(14, before + 1)[before]
    for number, item in enumerate(items):
        first.update(item)
        second.update(other if number == before else item)
    if first.memory == first.warm_up:
        assert repr(first.value) == repr(second.value)
    for one, two in zip(numbers_in(first.value), numbers_in(second.value), strict=True):
        assert one == pytest.approx(two, rel=1e-6, abs=1e-6)


@every_indicator
def test_two_hundred_thousand_bars_leave_no_trace_in_what_forgets(made: Made) -> None:
    learner, short = fresh(made), fresh(made)
    assert isinstance(learner, Indicator)
    if made[1]:
        pytest.skip("the defaults stand for all")
    if learner.memory is None:
        pytest.skip("remembers all; its sums are checked in test_indicators_parts.py")
    items = bars_of_years()
    for item in items:
        learner.update(item)
    for item in items[-(learner.memory + learner.warm_up + 1) :]:
        short.update(item)
    for one, two in zip(numbers_in(learner.value), numbers_in(short.value), strict=True):
        assert one == pytest.approx(two, rel=1e-7, abs=1e-7)


_years: list[Any] = []


def bars_of_years() -> list[Any]:
    if not _years:
        _years.extend(Indicator.sample(15, 200_000))
    return _years
