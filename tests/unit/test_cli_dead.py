"""Dead letters in the terminal: safe to show, exact to send, clear about what is meant."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from app import exits
from app.cli import candlewick
from app.cli.common import safe_text, table_lines
from app.cli.letters import DUMP_BYTES, hex_lines, letter_json, letter_lines, list_lines
from app.contracts.forms import pack
from app.contracts.reasons import REASONS, explain
from app.dead import DeadLetter
from app.dead.letters import _Newest
from app.dead.resend import name_of, target_of
from app.feeds.partitioning import partition_of
from app.run.errors import RunError

ROOT = Path(__file__).resolve().parents[2]
VALUE = b'{"symbol":"SPY","price":1}'
LETTER = DeadLetter(
    topic="d.bars.dead",
    partition=1,
    offset=7,
    reason="malformed",
    source_topic="ticks",
    source_partition=1,
    source_offset=42,
    append_time_ms=1_381_154_400_123,
    value=VALUE,
    headers=(("reason", b"malformed"), ("topic", b"ticks"), ("partition", b"1")),
)
#: What a terminal obeys, or what turns the direction of writing.
OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@given(st.binary(max_size=200))
def test_a_terminal_obeys_nothing_of_a_value(value: bytes) -> None:
    assert OBEYED.search(safe_text(value)) is None


@given(st.text(max_size=200))
def test_text_that_can_be_printed_stays_as_it_is(text: str) -> None:
    shown = safe_text(text)
    assert OBEYED.search(shown) is None
    assert (shown == text) == text.isprintable()


def test_control_characters_come_as_their_escapes() -> None:
    assert safe_text(b"\x1b]0;title\x07 caf\xc3\xa9 \xff\n") == r"\x1b]0;title\x07 café \xff\n"
    assert safe_text("\u202eevil") == r"\u202eevil"


@given(st.binary(max_size=100))
def test_a_hex_dump_holds_every_byte(value: bytes) -> None:
    lines = hex_lines(value)
    assert bytes.fromhex("".join(line[10:59] for line in lines)) == value
    assert [int(line[:8], 16) for line in lines] == list(range(0, len(value), 16))
    assert all(OBEYED.search(line) is None for line in lines)


def test_messagepack_is_shown_as_json_and_sent_again_as_it_is() -> None:
    packed = replace(LETTER, value=pack(VALUE))
    assert packed.value is not None
    assert packed.value != VALUE
    assert list_lines([("bars", packed)])[1].endswith('{"symbol":"SPY","price":1}')
    assert packed.text == VALUE.decode()
    assert base64.b64decode(packed.to_json()["base64"]) == packed.value
    lines = letter_lines(packed)
    assert (
        f"value      {len(packed.value)} bytes of MessagePack, here as JSON and as they are"
        in lines
    )
    assert '  {"symbol":"SPY","price":1}' in lines
    assert hex_lines(packed.value) == lines[-len(hex_lines(packed.value)) :]
    assert name_of(packed.value) == "SPY"
    assert target_of(packed, packed.value, 8) == (partition_of("SPY", 8), b"SPY")
    # What begins like a map, and is none.
    broken = replace(LETTER, value=b"\x85\xa1")
    assert name_of(broken.value) is None
    assert "value      2 bytes" in letter_lines(broken)


def test_the_list_is_a_table_with_one_line_a_letter() -> None:
    evil = replace(LETTER, value=b"\x1b[2J" + b"x" * 500, source_offset=None)
    header, first, second = list_lines([("bars", LETTER), ("quotes", evil)])
    assert header.split()[:2] == ["WHEN", "(UTC)"]
    assert first.split()[:8] == [
        *("2013-10-07", "14:00:00.123", "bars", "1", "7", "malformed", "ticks", "1")
    ]
    assert first.endswith('{"symbol":"SPY","price":1}')
    assert "\x1b" not in second
    assert "ticks 1 ?" in second
    assert header.index("VALUE") == first.index('{"symbol"') == second.index(r"\x1b[2J")


def test_a_letter_is_told_in_words() -> None:
    text = "\n".join(letter_lines(LETTER))
    assert "d.bars.dead, partition 1, offset 7" in text
    assert REASONS["malformed"].means in text
    assert REASONS["malformed"].mend in text
    assert "  reason: malformed" in text
    assert f"{len(VALUE)} bytes" in text
    assert "7b 22 73 79 6d 62 6f 6c" in text


def test_a_long_value_is_cut_and_says_so() -> None:
    text = "\n".join(letter_lines(replace(LETTER, value=b"a" * (DUMP_BYTES + 1))))
    assert "--raw writes all of them" in text
    assert text.count("61 61 61 61 61 61 61 61") == 2 * DUMP_BYTES // 16
    assert "null" in "\n".join(letter_lines(replace(LETTER, value=None)))


def of_a_sink(reason: str) -> DeadLetter:
    """A letter as the sinks write it."""
    headers = (("reason", reason.encode()), ("sink", b"influx"), ("topic", b"d.bars"))
    return replace(LETTER, topic="d.sinks.dead", reason=reason, headers=headers)


def test_a_sink_s_letter_says_which_sink_and_what_writes_its_record_again() -> None:
    letter = of_a_sink("InfluxDB: unable to parse ...")
    text = "\n".join(letter_lines(letter))
    assert "reason     InfluxDB: unable to parse ...: the sink influx will never take" in text
    assert "then `candlewick sink replay influx --from TIME` writes the record again" in text
    told = letter_json("sinks", letter)
    assert (told["agent"], told["sink"]) == ("sinks", "influx")
    assert "candlewick sink replay influx" in told["mend"]
    assert "sink" not in letter_json("bars", LETTER)


def test_a_list_has_sinks_letters_among_the_others_their_words_cut() -> None:
    evil = of_a_sink("\x1b[2J" + "w" * 500)
    header, first, second = list_lines([("sinks", evil), ("bars", LETTER)])
    assert first.split()[2:7] == ["sinks", "1", "7", "influx:", "\\x1b[2J" + "w" * 45]
    assert header.index("VALUE") == first.index('{"symbol"') == second.index('{"symbol"')


def test_json_has_text_and_exact_bytes() -> None:
    value = b"\xff\x00{"
    found = letter_json("bars", replace(LETTER, value=value))
    assert found["text"] == "\ufffd\x00{"
    assert base64.b64decode(found["base64"]) == value
    assert found["append_time"] == "2013-10-07T14:00:00.123Z"
    assert found["append_time_ms"] == LETTER.append_time_ms
    assert found["headers"][0] == {
        "name": "reason",
        "text": "malformed",
        "base64": base64.b64encode(b"malformed").decode(),
    }
    nothing = replace(LETTER, value=None).to_json()
    assert (nothing["text"], nothing["base64"], nothing["bytes"]) == (None, None, None)


def test_every_reason_of_the_architecture_page_is_explained() -> None:
    page = (ROOT / "app" / "README.md").read_text(encoding="utf-8")
    text = page.partition("Reasons: ")[2].partition("judged in this order")[0]
    named = re.findall(r"`([a-z_]+)`", text)
    assert len(named) >= 12
    assert set(named) <= REASONS.keys()
    assert [reason for reason in REASONS if reason in named] == named


def test_a_reason_of_a_newer_version_is_said_to_be_unknown() -> None:
    assert "no such reason" in explain("full_moon").means


@pytest.mark.parametrize(
    ("value", "symbol"),
    [
        (VALUE, "SPY"),
        (b'{"symbol":"A B","more":[1,{}]}', "A B"),
        (b'{"type":"flush"}', None),
        (b'{"symbol":1}', None),
        (b'{"symbol":"SPY"', None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        (b"", None),
        (None, None),
    ],
)
def test_symbols_are_read_where_they_can_be(value: bytes | None, symbol: str | None) -> None:
    assert name_of(value) == symbol


def test_a_letter_goes_to_the_partition_of_its_symbol_else_to_its_own() -> None:
    assert target_of(LETTER, VALUE, 16) == (partition_of("SPY", 16), b"SPY")
    leg = b'{"type":"leg","pair":"SPY/IBM@1m","symbol":"SPY"}'
    assert target_of(LETTER, leg, 16) == (partition_of("SPY/IBM@1m", 16), b"SPY/IBM@1m")
    assert target_of(LETTER, b"{broken", 16) == (1, None)
    for unknown in (None, 16):
        with pytest.raises(RunError, match="nobody can tell where it belongs"):
            target_of(replace(LETTER, source_partition=unknown), b"{broken", 16)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 40)), max_size=60),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_the_newest_are_kept_in_any_order_within_their_bounds(
    entries: list[tuple[int, int]], limit: int, random: object
) -> None:
    letters = [
        replace(LETTER, append_time_ms=when, offset=offset, value=b"v" * size)
        for offset, (when, size) in enumerate(entries)
    ]
    shuffled = letters[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    newest = _Newest(limit, size=10_000)
    for letter in shuffled:
        newest.add(letter)
    ordered = sorted(letters, key=lambda each: (each.append_time_ms, each.offset), reverse=True)
    assert newest.letters() == ordered[:limit]
    small = _Newest(limit, size=100)
    for letter in shuffled:
        small.add(letter)
    kept = small.letters()
    assert bool(kept) == bool(letters)
    assert sum(len(each.value or b"") for each in kept) <= 100
    assert kept == sorted(kept, key=lambda each: (each.append_time_ms, each.offset), reverse=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "--reason", "bad_luck"], "'bad_luck' is not one of"),
        (["list", "--limit", "0"], "--limit"),
        (["show", "0"], "OFFSET"),
        (["show", "0", "1", "--raw", "--json"], "exclude each other"),
        (["resend"], "PARTITION OFFSET, or by --reason, or --all"),
        (["resend", "--all", "--reason", "null"], "PARTITION OFFSET, or by --reason, or --all"),
        (["resend", "0", "1", "--all"], "PARTITION OFFSET, or by --reason, or --all"),
        (["resend", "0", "1", "2"], "an OFFSET is missing behind PARTITION 2"),
        (["resend", "--all", "--edit", "-"], "exactly one letter"),
        (["resend", "0", "1", "0", "2", "--edit", "-"], "exactly one letter"),
        (["resend", "0", "1", "--edit", "-"], "--edit - needs --yes"),
        (["resend", "0", "1", "--edit", "nowhere.json"], "nowhere.json"),
        (["resend", "0", "1", "--agent", "sinks"], "candlewick sink replay NAME --from TIME"),
        (["list", "--agent", "sinks", "--reason", "null"], "--reason is of agents' letters"),
        (["list", "--agent", "quality"], "'quality' is not one of"),
    ],
)
def test_wrong_usage_is_told_before_the_broker_is_asked(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(candlewick, ["dead", *arguments])
    assert result.exit_code == exits.USAGE
    assert message in result.output


def test_tables_have_their_columns_below_each_other() -> None:
    assert table_lines([("A", "B"), ("long", "x"), ("s", "")]) == ["A     B", "long  x", "s"]
