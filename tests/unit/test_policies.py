"""Policies as tables: every condition's row, and what combinations come to."""

import pytest

from app.contracts.conditions import BIT, CONDITIONS, mask_of
from tables.policies import (
    CLOSING,
    EXTREMES,
    LAST,
    POLICIES,
    SIP_MATRIX,
    VOLUME,
    policy_of,
)

SECOND, MINUTE = 0, 1
NONE = 0
PRICE = EXTREMES | LAST
EVERYTHING = EXTREMES | LAST | VOLUME
HIGH_LOW = EXTREMES | VOLUME


def flags(policy: str, *names: str, interval_class: int = SECOND) -> int:
    return policy_of(policy).flags(mask_of(names), interval_class)


@pytest.mark.parametrize("name", CONDITIONS)
def test_all_takes_every_condition(name: str) -> None:
    assert flags("all", name) == EVERYTHING


def test_a_trade_without_conditions_counts_for_everything() -> None:
    for policy in POLICIES.values():
        for interval_class in range(policy.classes):
            assert policy.flags(0, interval_class) == EVERYTHING


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("acquisition", EVERYTHING),
        ("average_price", VOLUME),
        ("bunched", EVERYTHING),
        ("bunched_sold", HIGH_LOW),
        ("cash_sale", VOLUME),
        ("closing_print", EVERYTHING),
        ("contingent", VOLUME),
        ("corrected_close", PRICE),
        ("cross", EVERYTHING),
        ("derivatively_priced", HIGH_LOW),
        ("distribution", EVERYTHING),
        ("extended_hours", VOLUME),
        ("extended_hours_out_of_sequence", VOLUME),
        ("iso", EVERYTHING),
        ("market_center_official_close", NONE),
        ("market_center_official_open", NONE),
        ("next_day", VOLUME),
        ("odd_lot", VOLUME),
        ("opening_print", EVERYTHING),
        ("placeholder", VOLUME),
        ("price_variation", VOLUME),
        ("prior_reference_price", HIGH_LOW),
        ("qualified_contingent", VOLUME),
        ("regular", EVERYTHING),
        ("reopening_print", EVERYTHING),
        ("rule_127_155", EVERYTHING),
        ("seller", VOLUME),
        ("sold_last", EVERYTHING),
        ("sold_out_of_sequence", HIGH_LOW),
        ("split_trade", EVERYTHING),
        ("stock_option", VOLUME),
        ("stopped_stock", EVERYTHING),
        ("suspicious", EVERYTHING),
        ("trade_through_exempt", EVERYTHING),
        ("yellow_flag", EVERYTHING),
    ],
)
def test_sip_has_the_tapes_row_for(name: str, expected: int) -> None:
    assert flags("sip", name) == expected


def test_the_tapes_matrix_has_a_row_for_every_condition() -> None:
    assert set(SIP_MATRIX) == set(CONDITIONS)


def test_of_several_conditions_a_no_wins_flag_by_flag() -> None:
    for one in CONDITIONS:
        for other in CONDITIONS:
            assert flags("sip", one, other) == SIP_MATRIX[one] & SIP_MATRIX[other]
    assert flags("sip", "iso", "odd_lot") == VOLUME
    assert flags("sip", "sold_out_of_sequence", "corrected_close") == EXTREMES


@pytest.mark.parametrize(
    ("names", "second", "minute"),
    [
        (("regular",), EVERYTHING, EVERYTHING),
        (("odd_lot",), EVERYTHING, EVERYTHING),
        (("trade_through_exempt",), EVERYTHING, EVERYTHING),
        (("sold_last", "sold_out_of_sequence"), EVERYTHING, EVERYTHING),
        (("suspicious",), NONE, NONE),
        (("suspicious", "extended_hours"), NONE, NONE),
        (("suspicious", "closing_print"), NONE, NONE),
        (("iso",), VOLUME, VOLUME),
        (("derivatively_priced",), VOLUME, VOLUME),
        (("stock_option",), VOLUME, VOLUME),
        (("average_price",), VOLUME, VOLUME),
        (("reopening_print",), VOLUME, VOLUME),
        (("iso", "extended_hours"), EVERYTHING, EVERYTHING),
        (("average_price", "extended_hours"), EVERYTHING, EVERYTHING),
        (("extended_hours",), EVERYTHING, EVERYTHING),
        (("opening_print",), NONE, EVERYTHING),
        (("closing_print",), NONE, EVERYTHING | CLOSING),
        (("opening_print", "extended_hours"), PRICE, EVERYTHING),
        (("closing_print", "extended_hours"), PRICE, EVERYTHING | CLOSING),
        (("closing_print", "iso"), NONE, EVERYTHING | CLOSING),
        (("market_center_official_open",), NONE, NONE),
        (("market_center_official_close",), NONE, NONE),
        (("market_center_official_close", "regular"), NONE, NONE),
        (("market_center_official_open", "extended_hours"), PRICE, PRICE),
    ],
)
def test_algoseek_follows_the_rule_of_the_recorded_bars(
    names: tuple[str, ...], second: int, minute: int
) -> None:
    assert flags("algoseek", *names, interval_class=SECOND) == second
    assert flags("algoseek", *names, interval_class=MINUTE) == minute


def test_only_algoseek_amends_and_has_two_classes() -> None:
    assert {name: (policy.amends, policy.classes) for name, policy in POLICIES.items()} == {
        "all": (False, 1),
        "sip": (False, 1),
        "algoseek": (True, 2),
    }


@pytest.mark.parametrize(
    ("length", "expected"),
    [(100_000_000, 0), (59_000_000_000, 0), (60_000_000_000, 1), (3_600_000_000_000, 1)],
)
def test_algoseeks_minute_class_begins_at_one_minute(length: int, expected: int) -> None:
    assert policy_of("algoseek").interval_class(length) == expected
    assert policy_of("all").interval_class(length) == 0
    assert policy_of("sip").interval_class(length) == 0


def test_an_unknown_policy_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="unknown policy 'tape'; expected one of all, sip"):
        policy_of("tape")


def test_flags_are_a_function_of_the_mask_alone() -> None:
    unknown = 1 << len(BIT)
    assert policy_of("all").flags(unknown, 0) == EVERYTHING
