"""The alerts of a partition: what is told, when, and that nothing else can come out."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tables.alerts import AlertBook, AlertRules, RefusedError
from tables.alerts.records import (
    RANK,
    AcknowledgeRecord,
    AlertEventRecord,
    AlertRecord,
    ClockRecord,
    NotificationRecord,
    UnsilenceRecord,
    encoder,
)
from tables.learning import StateVersionError
from tests.unit.alerts_log import (
    MINUTE,
    PAGER,
    SECOND,
    SLACK,
    START,
    clock,
    event,
    logs,
    resolved,
    rows_of,
    rules,
    run,
    silence,
    told,
)

COOL_DOWN = 5 * MINUTE
some_rules = st.sampled_from(
    [
        rules(),
        rules(max_keys=2),
        rules(group_wait=10 * SECOND),
        rules(group_wait=400 * SECOND, max_group=2),
        rules(cool_down=0),
    ]
)


def from_rows(chosen: AlertRules, rows: dict[str, Any]) -> AlertBook:
    """Build a book from rows that went through JSON."""
    return AlertBook.from_rows(chosen, 3, json.loads(json.dumps(rows)).items())


# --- properties ----------------------------------------------------------------------------


@given(some_rules, logs(), st.data())
@hypothesis_settings(max_examples=50, deadline=None)
def test_a_book_restored_at_any_points_goes_on_as_if_nothing_had_happened(
    chosen: AlertRules, log: list[AlertRecord], data: st.DataObject
) -> None:
    whole, book = AlertBook(chosen, 3), AlertBook(chosen, 3)
    rows: dict[str, Any] = {}
    for record in log:
        assert run(book, [record]) == run(whole, [record])
        if data.draw(st.booleans()):
            book = from_rows(chosen, rows_of(book, rows))
            assert rows_of(book, rows) == rows
    last = clock(10_000_000)
    assert run(book, [last]) == run(whole, [last])
    assert rows_of(book, rows) == rows_of(whole, {})
    assert set(rows) <= {"clock"}


@given(some_rules, logs())
@hypothesis_settings(max_examples=50, deadline=None)
def test_every_firing_event_is_told_or_pending_or_counted_as_left_out(
    chosen: AlertRules, log: list[AlertRecord]
) -> None:
    book, found = AlertBook(chosen, 3), list[NotificationRecord]()
    for record in log:
        found += run(book, [record])
        totals = book.totals
        pending = sum(alert.pending.count for alert in book.alerts.values())
        assert totals.fired == totals.told + totals.silenced + totals.unrouted + pending
    found += run(book, [clock(10_000_000)])
    assert book.totals.told == sum(each.count for each in found)
    assert book.totals.fired == book.totals.told + book.totals.silenced + book.totals.unrouted
    assert book.totals.notifications == len(found)
    for each in found:
        assert each.count == sum(member.count for member in each.members)


@given(some_rules, logs())
@hypothesis_settings(max_examples=50, deadline=None)
def test_no_key_hears_twice_within_the_cool_down_but_of_worse_and_of_the_end(
    chosen: AlertRules, log: list[AlertRecord]
) -> None:
    found = run(AlertBook(chosen, 3), [*log, clock(10_000_000)])
    last: dict[tuple[str, str], int] = {}
    worst: dict[tuple[str, str], int] = defaultdict(int)
    ends: dict[tuple[str, str], list[str]] = defaultdict(list)
    for each in found:
        for member in each.members:
            name = (each.alert_type, member.key)
            if each.action in ("fire", "repeat") and name in last:
                assert each.time - last[name] >= chosen.cool_down
            if each.action == "escalate":
                assert RANK[each.severity] > worst[name]
            if each.action != "resolve":
                last[name] = each.time
                worst[name] = RANK[member.severity]
            ends[name].append(each.action)
    for actions in ends.values():
        # Two ends in a row: the second one sums up what came and went within a cool-down.
        assert actions[-1] == "resolve"
        assert actions[0] != "escalate"
        assert actions[0] != "repeat" or chosen.group_wait


@given(st.sampled_from([rules(), rules(group_wait=10 * SECOND)]), logs(), st.data())
@hypothesis_settings(max_examples=60, deadline=None)
def test_more_clock_records_change_no_notification(
    chosen: AlertRules, log: list[AlertRecord], data: st.DataObject
) -> None:
    now, dense = 0, list[AlertRecord]()
    for record in log:
        if isinstance(record, AlertEventRecord | ClockRecord):
            before, now = now or record.event_time, max(now, record.event_time)
            for _ in range(data.draw(st.integers(0, 2))):
                dense.append(ClockRecord(data.draw(st.integers(before, now))))
        dense.append(record)
    end = clock(10_000_000)
    assert run(AlertBook(chosen, 3), [*dense, end]) == run(AlertBook(chosen, 3), [*log, end])


@given(some_rules, logs())
@hypothesis_settings(deadline=None)
def test_every_notification_has_an_id_of_its_own_and_bytes_that_depend_on_the_log_alone(
    chosen: AlertRules, log: list[AlertRecord]
) -> None:
    first, second = (run(AlertBook(chosen, 3), log) for _ in range(2))
    assert encoder.encode(first) == encoder.encode(second)
    other = run(AlertBook(chosen, 4), log)
    identities = [each.id for each in (*first, *other)]
    assert len(set(identities)) == len(identities)
    assert [each.sequence for each in first] == list(range(len(first)))


# --- cool-down -----------------------------------------------------------------------------


def test_the_first_event_is_told_at_once_and_the_next_ones_when_the_cool_down_is_over() -> None:
    log = [event(0), event(10, value=2.0), event(20, value=7.0), event(30), clock(299)]
    book = AlertBook(rules(), 0)
    assert told(run(book, log)) == [("fire", "SPY", 1, 0)]
    (repeat,) = run(book, [clock(300)])
    assert told([repeat]) == [("repeat", "SPY", 3, 300)]
    assert repeat.value == 7.0
    assert (repeat.first, repeat.last) == (START + 10 * SECOND, START + 30 * SECOND)


def test_a_clock_that_jumps_tells_what_was_due_at_the_time_when_it_was_due() -> None:
    found = run(AlertBook(rules(), 0), [event(0), event(10), clock(86_400)])
    assert told(found) == [
        ("fire", "SPY", 1, 0),
        ("repeat", "SPY", 1, 300),
        ("resolve", "SPY", 0, 910),
    ]
    assert found[2].text == "Nothing more was heard for 15m."


def test_something_more_severe_breaks_through_the_cool_down_once() -> None:
    log = [event(0), event(1, severity="critical"), event(2, severity="critical"), event(3)]
    found = run(AlertBook(rules(), 0), [*log, clock(301)])
    assert told(found) == [
        ("fire", "SPY", 1, 0),
        ("escalate", "SPY", 1, 1),
        ("repeat", "SPY", 2, 301),
    ]
    assert [each.channels for each in found] == [(SLACK,), (PAGER, SLACK), (PAGER, SLACK)]


def test_the_end_goes_to_all_who_were_told_and_brings_what_was_counted() -> None:
    log = [event(0, severity="critical"), event(300), event(310), resolved(320, title="Calm")]
    found = run(AlertBook(rules(), 0), log)
    assert [(each.action, each.count, each.channels) for each in found] == [
        ("fire", 1, (PAGER, SLACK)),
        ("repeat", 1, (SLACK,)),
        ("resolve", 1, (PAGER, SLACK)),
    ]
    assert (found[2].title, found[2].severity) == ("Calm", "warning")


def test_flapping_is_one_message_and_one_end_a_cool_down() -> None:
    log = [each for at in range(0, 290, 10) for each in (event(at), resolved(at + 5))]
    found = run(AlertBook(rules(), 0), [*log, clock(3_600)])
    assert told(found) == [
        ("fire", "SPY", 1, 0),
        ("resolve", "SPY", 0, 5),
        ("resolve", "SPY", 28, 300),
    ]


def test_what_fires_again_within_the_cool_down_and_lasts_is_told_when_it_is_over() -> None:
    found = run(AlertBook(rules(), 0), [event(0), resolved(5), event(10), clock(400)])
    assert told(found)[2:] == [("fire", "SPY", 1, 300)]


def test_the_end_of_what_is_not_known_to_fire_is_counted_and_not_told() -> None:
    book = AlertBook(rules(), 0)
    assert run(book, [resolved(0), event(1), resolved(2), resolved(3)])[2:] == []
    assert book.totals.stray == 2


def test_what_no_route_takes_is_counted_and_leaves_no_row() -> None:
    book = AlertBook(rules(), 0)
    assert run(book, [event(0, severity="info")]) == []
    assert (book.totals.unrouted, book.alerts) == (1, {})


def test_an_event_may_say_how_long_it_lasts_without_another_one() -> None:
    found = run(AlertBook(rules(), 0), [event(0, quiet_time=7_200 * SECOND), clock(10_000)])
    assert told(found)[1:] == [("resolve", "SPY", 0, 7_200)]


# --- silences and acknowledgements ---------------------------------------------------------


def test_a_silence_holds_back_until_it_ends_and_then_what_still_fires_is_told() -> None:
    book = AlertBook(rules(), 0)
    assert run(book, [silence(600), event(0), event(1), event(599)]) == []
    assert told(run(book, [clock(600)])) == [("fire", "SPY", 3, 600)]


def test_what_came_and_went_in_a_silence_is_counted_and_never_told() -> None:
    book = AlertBook(rules(), 0)
    assert run(book, [silence(600), event(0), resolved(10), clock(5_000)]) == []
    assert book.totals.silenced == 1


def test_the_end_of_what_was_told_before_a_silence_is_told_after_it() -> None:
    found = run(AlertBook(rules(), 0), [event(0), silence(600), resolved(10), clock(700)])
    assert told(found) == [("fire", "SPY", 1, 0), ("resolve", "SPY", 0, 600)]


def test_a_silence_that_is_ended_early_lets_go_at_once_in_order_of_the_keys() -> None:
    book = AlertBook(rules(), 0)
    assert run(book, [silence(600), event(0, "SPY"), event(1, "IBM")]) == []
    assert told(run(book, [UnsilenceRecord("s")])) == [("fire", "IBM", 1, 1), ("fire", "SPY", 1, 1)]


def test_a_silence_of_one_key_leaves_the_others_alone_and_does_not_stay_in_the_state() -> None:
    book = AlertBook(rules(), 0)
    assert told(run(book, [silence(60, "S*"), event(0, "SPY"), event(0, "IBM")])) == [
        ("fire", "IBM", 1, 0)
    ]
    run(book, [clock(60)])
    assert book.silences.by_id == {}
    assert "silence/s" not in rows_of(book, {})


def test_who_acknowledges_hears_of_worse_and_of_the_end_alone() -> None:
    log: list[AlertRecord] = [event(0), AcknowledgeRecord(by="Ann"), event(400), event(800)]
    book = AlertBook(rules(), 0)
    assert told(run(book, log)) == [("fire", "SPY", 1, 0)]
    (worse,) = run(book, [event(900, severity="critical")])
    assert (worse.action, worse.count, worse.by) == ("escalate", 3, "Ann")
    # It was acknowledged as a warning, so that is over.
    assert told(run(book, [event(1_300), resolved(1_310)])) == [
        ("repeat", "SPY", 1, 1_300),
        ("resolve", "SPY", 0, 1_310),
    ]


# --- groups --------------------------------------------------------------------------------


def test_a_storm_over_many_keys_is_one_message_where_alerts_are_grouped() -> None:
    keys = [f"K{number:02}" for number in range(30)]
    storm = [event(number / 10, key, value=float(number)) for number, key in enumerate(keys)]
    (found,) = run(AlertBook(rules(group_wait=10 * SECOND), 0), [*storm, clock(10)])
    assert (found.key, found.count, found.action, found.value) == ("*", 30, "fire", 29.0)
    assert [member.key for member in found.members] == keys
    assert found.title == "30 keys: K29 moves"


def test_a_full_group_waits_no_longer_and_something_more_severe_never_waits() -> None:
    book = AlertBook(rules(group_wait=10 * SECOND, max_group=2), 0)
    assert run(book, [event(0, "A")]) == []
    assert [each.key for each in run(book, [event(1, "B"), event(2, "C")])] == ["*"]
    found = run(book, [event(3, "C", severity="critical")])
    assert told(found) == [("fire", "C", 1, 3), ("escalate", "C", 1, 3)]


def test_messages_about_a_key_keep_their_order_although_ends_wait_in_a_group_of_their_own() -> None:
    book = AlertBook(rules(group_wait=10 * SECOND), 0)
    run(book, [event(0, "B"), clock(20), resolved(21, "B")])
    # The group of ends goes at 31, that of what fires not before 35.
    assert run(book, [event(25, "A")]) == []
    found = run(book, [resolved(26, "A"), clock(60)])
    assert told(found) == [
        ("resolve", "B", 0, 26),
        ("fire", "A", 1, 26),
        ("resolve", "A", 0, 36),
    ]


def test_a_key_that_joins_a_group_late_is_still_not_told_within_its_cool_down() -> None:
    log = [event(0, "A"), event(1, "A"), event(291, "B"), clock(330)]
    found = run(AlertBook(rules(group_wait=10 * SECOND), 0), log)
    assert told(found) == [("fire", "A", 1, 10), ("fire", "B", 1, 301), ("repeat", "A", 1, 320)]


# --- bounds and refusals -------------------------------------------------------------------


def test_keys_beyond_the_bound_count_for_all_others_and_rows_stay_bounded() -> None:
    book = AlertBook(rules(max_keys=10), 0)
    storm = [event(number / 1_000, f"K{number}") for number in range(5_000)]
    found = run(book, [*storm, clock(301)])
    assert [each.key for each in found] == [*(f"K{number}" for number in range(10)), "*", "*"]
    assert [each.count for each in found] == [1] * 11 + [4_989]
    assert book.totals.others == 4_990
    assert len(book.alerts) == 11


def test_types_beyond_the_bound_share_one_row_as_well() -> None:
    book = AlertBook(rules(max_keys=1), 0)
    found = run(book, [event(0, alert_type=f"type{number}") for number in range(1_000)])
    assert len(book.alerts) == 1 + 64 + 1
    run(book, [clock(301)])
    assert len(found) == 66
    assert book.totals.fired == book.totals.told == 1_000


def test_deadlines_that_changed_do_not_pile_up_while_the_clock_stands_still() -> None:
    book = AlertBook(rules(), 0)
    run(book, [event(1_000, "IBM")])
    for number in range(10_000):
        run(book, [event(number % 7, quiet_time=(number % 5 + 1) * MINUTE), resolved(0)])
    assert len(book._due) <= 2 * len(book.alerts) + 65


def test_what_lies_too_far_ahead_is_refused_and_changes_nothing() -> None:
    book = AlertBook(rules(), 0)
    for record in (event(11), clock(11)):
        with pytest.raises(RefusedError, match="event_time_too_late"):
            book.apply(record, START)
    assert (book.clock, book.take_rows()) == (None, [])
    book.apply(event(9), START)
    assert book.clock == START + SECOND


def test_one_silence_too_many_is_refused_and_a_known_one_may_be_replaced() -> None:
    book = AlertBook(rules(max_silences=1), 0)
    run(book, [clock(0), silence(60), silence(90)])
    with pytest.raises(RefusedError, match="too_many_silences"):
        run(book, [silence(60, name="another")])


def test_rows_of_another_version_are_refused() -> None:
    for rows in ({"clock": [0, None, [0] * 8]}, {"silence/s": ["*", "*", 1, None]}):
        with pytest.raises(StateVersionError, match="version"):
            AlertBook.from_rows(rules(), 0, rows.items())


@pytest.mark.parametrize("name", ["cool_down", "quiet_time", "max_keys", "max_group"])
def test_rules_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        rules(**{name: -1})
