"""The predictions of one partition: what is published, when it swaps, how it restarts."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from models.predicting.manifest import Description, TrainedMarket
from models.predicting.monitoring_pairs import HOUR
from models.predicting.predictor import assign, make_predictor
from tables.markets import AlwaysOpen, Instrument, Instruments
from tests.unit.serving_feeding import (
    MINUTE,
    Served,
    Small,
    alias,
    bars,
    indicators_of,
    learning_log,
    promote,
    publish,
    publish_online,
    revised,
    trees,
)


def decoded(values: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(each) for each in values]


def champion(served: Served, seed: int = 1) -> bytes:
    """Publish a version, and the record that makes it the champion."""
    manifest = publish(served.registry, seed)
    promote(served.registry, manifest.version)
    served.catalog.refresh()
    (found,) = served.state.announcements()
    return found


def log(served: Served, count: int = 60) -> list[bytes]:
    """Bars of two symbols with revisions and an emptied bar, and two moves of aliases."""
    made = bars(count)
    made.insert(40, revised(made[39], made[39].close * 1.001))
    made.insert(42, revised(made[41], None))
    made.insert(43, revised(made[42], made[40].close))
    values: list[bytes] = indicators_of(made)
    first = champion(served)
    second = publish(served.registry, 2)
    promote(served.registry, second.version, "challenger")
    served.catalog.refresh()
    third = next(each for each in served.state.announcements() if b"challenger" in each)
    promote(served.registry, second.version)
    served.catalog.refresh()
    swap = next(each for each in served.state.announcements() if b'"champion"' in each)
    return [*values[:5], first, *values[5:50], third, *values[50:80], swap, *values[80:]]


def run(
    folder: Path,
    splits: list[int],
    restarts: bool = False,
    make: Callable[[Served], list[bytes]] = log,
) -> dict[str, list[Any]]:
    served = Served(folder)
    values = make(served)
    done = 0
    for end in [*splits, len(values)]:
        served.feed(values[done:end])
        done = end
        served.checkpoint()
        if restarts:
            served.restart()
    return served.published


def test_nothing_is_predicted_before_an_alias_names_a_version(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.feed(indicators_of(bars(20)))
    served.checkpoint()
    assert served.values() == []
    assert served.state.details["no_model"] == 40
    assert served.state.announcements() == []


def test_every_bar_past_the_warm_up_has_one_prediction(tmp_path: Path) -> None:
    served = Served(tmp_path)
    values = indicators_of(bars(30))
    served.feed([champion(served), *values])
    served.checkpoint()
    found = decoded(served.values())
    warm = Small.plan().warm_up
    assert len(found) == 60 - 2 * (warm - 1)
    assert served.state.details == {"warm_up": 2 * (warm - 1)}
    assert {each["version"] for each in found} == {1}
    assert all(each["low"] < each["prediction"] < each["high"] for each in found)
    assert served.state.announcements() == []


def test_predictions_are_those_of_the_model_on_the_features_of_the_bar(tmp_path: Path) -> None:
    served = Served(tmp_path)
    made = bars(30, ("AAA",))
    values = indicators_of(made)
    served.feed([champion(served), *values])
    served.checkpoint()
    features = Small()
    predictor = make_predictor(served.registry.load("returns", 1))
    wanted = []
    for value in values:
        record = json.loads(value)
        features.update((record["start"], record["values"]))
        if features.value is not None:
            row = np.array([features.value], dtype=np.float32)
            wanted.append((record["start"], float(predictor.predict(row)[0])))
    found = decoded(served.values())
    assert [(each["start"], each["prediction"]) for each in found] == wanted


def test_outcomes_are_the_returns_that_came(tmp_path: Path) -> None:
    served = Served(tmp_path)
    made = bars(30, ("AAA",))
    served.feed([champion(served), *indicators_of(made)])
    served.checkpoint()
    close = {bar.start: bar.close for bar in made}
    given = {each["start"]: each for each in decoded(served.values())}
    found = decoded(served.values("outcomes"))
    # The last two labels are open, and the bar behind the last but two has not come.
    assert [each["start"] for each in found] == sorted(given)[:-3]
    for each in found:
        start = each["start"]
        assert each["target"] == close[start + 2 * MINUTE] / close[start] - 1
        assert each["prediction"] == given[start]["prediction"]
        assert (each["low"], each["high"]) == (given[start]["low"], given[start]["high"])
        assert each["served"]
        if each["previous"] is not None:
            assert each["previous"] == close[start] / close[start - 2 * MINUTE] - 1
    assert sum(each["previous"] is None for each in found) <= 2


def test_neither_splits_nor_restarts_change_a_byte(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", [])
    assert len(whole["predictions"]) > 100
    assert len(whole["outcomes"]) > 100
    count = 126
    chance = random.Random(5)
    assert run(tmp_path / "each", list(range(1, count)), restarts=True) == whole
    for number in range(6):
        splits = sorted(chance.sample(range(1, count), chance.randint(1, 20)))
        folder = tmp_path / str(number)
        assert run(folder, splits, restarts=number % 2 == 0) == whole, splits


def test_what_learns_and_what_watches_depend_on_the_log_alone(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", [], make=learning_log)
    found = [json.loads(each.value) for each in whole["monitoring"]]
    # Two hours are over in 200 minutes, and the third is by its last bars.
    assert [
        (each["alias"], each["until"] // HOUR - found[0]["until"] // HOUR) for each in found
    ] == [(alias, hour) for hour in range(3) for alias in ("champion", "challenger")]
    assert all(sum(each["drift"]["rsi"]) == each["figures"]["rows"] > 0 for each in found[::2])
    assert found[-1]["paired"]["champion"] == 1
    assert found[-1]["figures"]["outcomes"] > 100
    outcomes = [json.loads(each.value) for each in whole["outcomes"]]
    assert {each["alias"] for each in outcomes} == {"champion", "challenger"}
    for number in range(1, 4):
        splits = sorted(random.Random(number).sample(range(1, 402), 10 * number))
        folder = tmp_path / str(number)
        assert run(folder, splits, restarts=True, make=learning_log) == whole, splits


def test_monitors_know_what_the_outcomes_say(tmp_path: Path) -> None:
    published = run(tmp_path, [], make=learning_log)
    outcomes = [json.loads(each.value) for each in published["outcomes"]]
    for record in [json.loads(each.value) for each in published["monitoring"]][-2:]:
        own = [
            each
            for each in outcomes
            if each["alias"] == record["alias"] and each["realised"] + MINUTE < record["until"]
        ]
        figures = record["figures"]
        # A label is judged when the bar behind it has come.
        assert figures["outcomes"] == len(own)
        assert figures["mse"] == pytest.approx(np.mean([each["error"] ** 2 for each in own]))
        assert figures["mse_zero"] == pytest.approx(np.mean([each["target"] ** 2 for each in own]))
        assert figures["coverage"] == np.mean([each["inside"] for each in own])


def test_a_monitor_ends_when_its_version_has_nothing_open(tmp_path: Path) -> None:
    served = Served(tmp_path)
    values = learning_log(served)
    other = publish(served.registry, 2)
    promote(served.registry, other.version)
    served.feed(values[:150])
    served.catalog.refresh()
    (swap,) = served.state.announcements()
    served.feed([swap, *values[150:]])
    served.checkpoint()
    found = [json.loads(each) for each in served.values("monitoring")]
    versions = [each["version"] for each in found if each["alias"] == "champion"]
    assert versions == [1, 1, 3, 1, 3]
    keys = [key for key in served.rows if key[:1] == b"s"]
    assert len(keys) == 2
    assert not any(b"\0champion\x001\0" in key for key in keys)


def test_a_swap_takes_place_at_its_record(tmp_path: Path) -> None:
    served = Served(tmp_path)
    values = log(served)
    served.feed(values)
    served.checkpoint()
    position = {}
    for offset, value in enumerate(values):
        record = json.loads(value)
        if "type" not in record:
            position[record["symbol"], record["start"], record["revision"]] = offset
    swap = max(offset for offset, value in enumerate(values) if b'"alias"' in value)
    beside = next(offset for offset, value in enumerate(values) if b"challenger" in value)
    for each in decoded(served.values()):
        offset = position[each["symbol"], each["start"], each["revision"]]
        assert each["version"] == (2 if offset > swap else 1)
        if each["prediction"] is not None:
            assert list(each["others"]) == (["challenger"] if offset > beside else [])


def test_a_revised_bar_is_predicted_anew_and_an_emptied_one_not(tmp_path: Path) -> None:
    served = Served(tmp_path)
    made = bars(12, ("AAA",))
    again = revised(made[-1], made[-1].close * 1.01)
    served.feed([champion(served), *indicators_of([*made, again, revised(again, None)])])
    served.checkpoint()
    *_, first, second, third = decoded(served.values())
    assert [each["revision"] for each in (first, second, third)] == [0, 1, 2]
    assert first["prediction"] != second["prediction"]
    assert third["prediction"] is third["low"] is third["high"] is None
    # As if the revised bar had come so from the beginning.
    other = Served(tmp_path / "other")
    other.feed([champion(other), *indicators_of([*made[:-1], again])])
    other.checkpoint()
    assert decoded(other.values())[-1]["prediction"] == second["prediction"]


def test_shares_deal_symbols_and_an_alias_that_names_nothing_serves_nobody(tmp_path: Path) -> None:
    shares = {"champion": 1, "challenger": 1}
    served = Served(tmp_path, shares=shares)
    symbols = tuple(f"S{number}" for number in range(12))
    values = indicators_of(bars(12, symbols))
    first = champion(served)
    other = publish(served.registry, 2)
    promote(served.registry, other.version, "challenger")
    served.catalog.refresh()
    (second,) = [each for each in served.state.announcements() if b"challenger" in each]
    half = len(values) // 2
    served.feed([first, *values[:half], second, *values[half:]])
    served.checkpoint()
    found = decoded(served.values())
    starts = sorted({each["start"] for each in found})
    for each in found:
        dealt = assign(each["symbol"], "test", shares)
        expected = dealt if each["start"] == starts[-1] else "champion"
        if each["start"] in (starts[0], starts[-1]):
            assert each["alias"] == expected
    assert {each["alias"] for each in found} == {"champion", "challenger"}


def test_a_learner_that_does_not_dare_yet_leaves_its_symbols_to_the_champion(
    tmp_path: Path,
) -> None:
    served = Served(tmp_path, shares={"challenger": 1})
    promote(served.registry, publish(served.registry, 1).version)
    promote(served.registry, publish_online(served.registry).version, "challenger")
    served.catalog.refresh()
    values = indicators_of(bars(20, ("AAA",)))
    served.feed([*served.state.announcements(), *values])
    served.checkpoint()
    found = decoded(served.values())
    assert len(found) == 20 - (Small.plan().warm_up - 1)
    assert all(each["prediction"] is not None for each in found)
    aliases = [each["alias"] for each in found]
    # It dares after five returns.
    begin = aliases.index("challenger")
    assert 5 <= begin < len(aliases)
    assert aliases == ["champion"] * begin + ["challenger"] * (len(aliases) - begin)


def test_a_version_that_is_gone_predicts_nothing_until_it_is_back(tmp_path: Path) -> None:
    served = Served(tmp_path)
    first = champion(served)
    file = next(tmp_path.glob("**/model.ubj"))
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    # Another worker, which has loaded nothing.
    other = Served(tmp_path)
    values = indicators_of(bars(20, ("AAA",)))
    other.feed([first, *values[:10]])
    other.checkpoint()
    assert other.values() == []
    ((_, fault),) = other.catalog.refused().items()
    assert "model.ubj" in fault
    assert f"{len(content) - 1:,} bytes" in fault
    file.write_bytes(content)
    other.catalog.refresh()
    other.feed(values[10:])
    other.checkpoint()
    assert len(other.values()) == 10


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"feature_set": "small@2:0123456789abcdef"}, "feature set small@2:0123456789abcdef"),
        ({"interval": "5m"}, "bars of 5m"),
        ({"horizon": 11}, "a horizon of 11 bars"),
        ({"parameters": {"fill_forward": True}}, "trained with bars.fill_forward on"),
        ({"feature_names": ("rsi", "return_1")}, "feature 1 is 'rsi'"),
    ],
)
def test_a_version_for_something_else_never_gets_into_the_log(
    tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    served = Served(tmp_path)
    served.feed([champion(served)])
    wrong = publish(served.registry, 2, **changes)
    promote(served.registry, wrong.version)
    served.catalog.refresh()
    assert served.state.announcements() == []
    assert fault in served.catalog.faults()["returns", "champion"]
    served.feed(indicators_of(bars(10, ("AAA",))))
    served.checkpoint()
    assert {each["version"] for each in decoded(served.values())} == {1}
    right = publish(served.registry, 3)
    promote(served.registry, right.version)
    served.catalog.refresh()
    assert served.catalog.faults() == {}
    assert len(served.state.announcements()) == 1


def test_other_bytes_than_the_log_names_predict_nothing(tmp_path: Path) -> None:
    served = Served(tmp_path)
    champion(served)
    manifest = served.registry.manifest("returns", 1)
    served.feed([alias(manifest, 1, "0" * 64), *indicators_of(bars(10, ("AAA",)))])
    served.checkpoint()
    assert served.values() == []
    assert "by the log" in "".join(served.catalog.refused().values())


def test_an_older_move_says_nothing_new(tmp_path: Path) -> None:
    served = Served(tmp_path)
    first = champion(served)
    second = publish(served.registry, 2)
    promote(served.registry, second.version)
    served.catalog.refresh()
    (move,) = served.state.announcements()
    served.feed([move, first, *indicators_of(bars(10, ("AAA",)))])
    served.checkpoint()
    assert {each["version"] for each in decoded(served.values())} == {2}
    assert served.state.counts["control"] == 2


def test_a_rollback_to_nothing_ends_the_predictions(tmp_path: Path) -> None:
    served = Served(tmp_path)
    values = indicators_of(bars(20, ("AAA",)))
    served.feed([champion(served), *values[:10]])
    ended = b'{"type":"alias","model":"returns","alias":"champion","generation":2,"version":null,'
    served.feed([ended + b'"sha256":null}', *values[10:]])
    served.checkpoint()
    assert len(served.values()) == 10 - (Small.plan().warm_up - 1)
    assert served.state.details["no_model"] == 10


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{}", "malformed"),
        (b'{"type":"alias","model":"returns"}', "malformed"),
        (
            b'{"type":"alias","model":"returns","alias":"champion","generation":1,"version":1,'
            b'"sha256":null}',
            "malformed",
        ),
        (b'{"symbol":"A","interval":"1m","start":0,"revision":0,"exact":true,"values":{}}',
         "missing_indicators"),
        (b'{"symbol":"A","interval":"7m","start":0,"revision":0,"exact":true,"values":{}}',
         "unknown_interval"),
        (b'{"symbol":"A","interval":"1m","start":1,"revision":0,"exact":true,"values":{}}',
         "malformed"),
    ],
)  # fmt: skip
def test_bad_records_are_dead_and_the_rest_goes_on(
    tmp_path: Path, value: bytes, reason: str
) -> None:
    served = Served(tmp_path)
    values = indicators_of(bars(10, ("AAA",)))
    served.feed([champion(served), *values[:5], value, *values[5:]])
    served.checkpoint()
    assert served.state.dead_reasons == {reason: 1}
    assert len(served.values()) == 10 - (Small.plan().warm_up - 1)


def test_labels_do_not_lie_across_sessions(tmp_path: Path) -> None:
    pytest.importorskip("exchange_calendars", reason="pip install 'candlewick[markets]'")
    instruments = Instruments(default=Instrument(symbol="*", calendar="XNYS"))
    served = Served(tmp_path, instruments=instruments)
    # 2026-01-05 is a Monday; bars of the whole day.
    made = bars(1_440, ("AAA",))
    served.feed([champion(served), *indicators_of(made)])
    served.checkpoint()
    open_, close = made[0].start + 870 * MINUTE, made[0].start + 1_260 * MINUTE
    for each in decoded(served.values("outcomes")):
        begins, ends = each["start"], each["start"] + 3 * MINUTE
        assert not begins < open_ < ends
        assert not begins < close < ends
    # Three are open, two each lie across the local midnight, the open and the close.
    assert len(served.values("outcomes")) == len(served.values()) - 3 - 6


def test_an_ensemble_predicts_the_weighted_mean_of_its_members(tmp_path: Path) -> None:
    served = Served(tmp_path)
    one, other = (publish(served.registry, seed) for seed in (1, 2))
    members = (
        served.registry.member("returns", one.version, 3.0),
        served.registry.member("returns", other.version, 1.0),
    )
    told = msgspec.structs.asdict(one)
    fields = {name: told[name] for name in Description.__struct_fields__}
    whole = Description(**{**fields, "kind": "ensemble", "members": members})
    ensemble = served.registry.publish(whole, {})
    promote(served.registry, ensemble.version)
    promote(served.registry, one.version, "challenger")
    served.catalog.refresh()
    served.feed([*served.state.announcements(), *indicators_of(bars(20, ("AAA",)))])
    served.checkpoint()
    second = Served(tmp_path)
    promote(second.registry, other.version)
    second.catalog.refresh()
    moves = [each for each in second.state.announcements() if b'"champion"' in each]
    second.feed([*moves, *indicators_of(bars(20, ("AAA",)))])
    second.checkpoint()
    found = decoded(served.values())
    assert len(found) > 10
    for each, alone in zip(found, decoded(second.values()), strict=True):
        own = each["others"]["challenger"]["prediction"]
        assert each["prediction"] == pytest.approx((3 * own + alone["prediction"]) / 4, rel=1e-12)


def test_a_version_of_another_calendar_predicts_nothing_for_the_symbol(tmp_path: Path) -> None:
    served = Served(tmp_path)
    market = (
        TrainedMarket("24/7", AlwaysOpen().fingerprint, ("AAA",)),
        TrainedMarket("XNYS", "f" * 16, ("BBB",)),
    )
    manifest = publish(served.registry, 1, market=market)
    promote(served.registry, manifest.version)
    served.catalog.refresh()
    served.feed([*served.state.announcements(), *indicators_of(bars(20))])
    served.checkpoint()
    assert {each["symbol"] for each in decoded(served.values())} == {"AAA"}
    assert served.state.details["other_market"] > 10


def test_the_trees_of_the_tests_differ() -> None:
    assert trees(1) != trees(2)
