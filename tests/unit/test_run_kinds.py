"""Kinds of data: which agent, which groups, and what a summary and a table say of quotes."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from app.cli.bars import HEADERS, table_line
from app.cli.feeds import NAMED_SKIPPED
from app.cli.reset import confirm_reset
from app.cli.run import run, summary_lines
from app.contracts.wire import QuoteBarRecord
from app.feeds.files import Skipped
from app.feeds.replayer import ReplaySummary
from app.identity import group_id
from app.run.follow import Selection, decode
from app.run.kinds import AGENT_OF, KIND_OF
from app.run.outcomes import Outcomes
from app.run.session import RunSummary
from app.settings import load_settings
from app.stages import stage_agents
from app.topics import WINDOWED

BAR = QuoteBarRecord(
    symbol="EURUSD", interval="1s", start=1_500_000_000,
    bid_open=1.1, bid_high=1.4, bid_low=1.1, bid_close=1.25,
    ask_open=1.2, ask_high=1.5, ask_low=1.2, ask_close=1.35,
    mid_open=1.15, mid_high=1.45, mid_low=1.15, mid_close=1.3,
    bid_size=5.0, ask_size=6.0, spread=0.1, quotes=7, revision=0, is_final=True, sources=(),
)  # fmt: skip


def replayed(skipped: int = 0) -> ReplaySummary:
    return ReplaySummary(
        sent=20,
        trades=10,
        corrupt=0,
        seconds=1.0,
        reading_seconds=0.1,
        skipped=tuple(Skipped(Path(f"{n}.zip"), "trades, not quotes") for n in range(skipped)),
        partitions=(20,),
        kind="quotes",
        left_out={"suspicious quotes": 2},
        raw=3,
    )


def test_every_kind_has_an_agent_of_its_own() -> None:
    assert sorted(AGENT_OF.values()) == sorted(WINDOWED)
    assert {KIND_OF[agent] for agent in WINDOWED} == set(AGENT_OF)


def test_a_group_is_told_from_those_of_other_deployments() -> None:
    settings = load_settings(deployment="d", topic_prefix="p.")
    for agents in (("bars",), ("quotes",), ("bars", "quotes")):
        stage = settings.model_copy(update={"agents": agents})
        assert stage_agents(settings, group_id(stage)) == agents
    for other in ("p.d", "d.bars", "p.d2.bars", "p.d.q.bars", "p.d.bars.x", "p.d.", "p.d.bars-x"):
        assert stage_agents(settings, other) == ()


def test_a_forming_record_is_read_by_its_agent() -> None:
    value = msgspec.json.encode([BAR])
    assert decode(value, "quotes") == [BAR]
    assert decode(msgspec.json.encode(BAR), "quotes") == [BAR]
    with pytest.raises(msgspec.ValidationError):
        decode(value, "bars")
    assert Selection(["EURUSD"], ["1s"]).holds(BAR)


def test_a_quote_bar_is_one_line_below_its_header() -> None:
    line, header = table_line(BAR), HEADERS["quotes"]
    assert line.split() == [
        "1970-01-01", "00:00:01.500", "EURUSD", "1s", "1.25000", "1.35000", "1.15000", "1.45000",
        "1.15000", "1.30000", "0.10000", "7", "final",
    ]  # fmt: skip
    assert line.index("final") == header.index("version")
    assert line.index("1.35000") + len("1.35000") == header.index("ask") + len("ask")


def test_a_summary_tells_what_was_ignored_left_out_and_skipped() -> None:
    counts = {"applied": 9, "ignored": 8, "dead": 1}
    outcomes = Outcomes(counts, {"crossed": 3, "zero": 5, "other": 0})
    summary = RunSummary("p.d.quotes", outcomes, replayed(2), None, 0, 1.0, kind="quotes")
    lines = summary_lines(summary, None)
    assert lines[1:6] == [
        "records sent   20 (0 corrupt on purpose, 3 as they are)",
        "  left out     2 suspicious quotes",
        "  skipped      0.zip: trades, not quotes",
        "  skipped      1.zip: trades, not quotes",
        "records read   18",
    ]
    place = lines.index("  ignored      8")
    assert lines[place + 1 : place + 4] == [
        "    crossed    3",
        "    zero       5",
        "  dead         1",
    ]


def test_of_very_many_skipped_files_the_first_are_named() -> None:
    summary = RunSummary("p.d.quotes", None, replayed(NAMED_SKIPPED + 3), None, 0, 1.0)
    skipped = [line for line in summary_lines(summary, None) if "skipped" in line]
    assert len(skipped) == NAMED_SKIPPED + 1
    assert skipped[-1].endswith("3 more files")


def test_a_policy_for_quotes_is_refused() -> None:
    arguments = ["--kind", "quotes", "--replay", ".", "--policy", "sip"]
    ended = CliRunner().invoke(run, arguments)
    assert ended.exit_code == 2
    assert "quotes have no sale conditions" in ended.output


def test_a_reset_names_what_both_agents_have(capsys: pytest.CaptureFixture[str]) -> None:
    settings = load_settings(deployment="d", agents=("quotes",))
    with click.Context(click.Command("reset")):
        confirm_reset(settings, yes=True)
    said = capsys.readouterr().err
    for topic in ("d.bars,", "d.bars.changelog", "d.quotes.bars", "d.quotes.changelog"):
        assert topic in said
    topics = said.splitlines()[0].removeprefix("topics: ").split(", ")
    assert not {"ticks", "quotes"} & set(topics)
    assert "groups: d.*" in said
