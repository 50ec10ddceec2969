"""Any split of the log, any checkpoint and any crash: the same outputs, byte for byte."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.activity import parse_kinds
from tables.policies import policy_of
from tests.unit.bars_log import START, Run, batch, configuration, random_log, run_whole

#: 2013-10-07 15:59:30 in New York: logs from here cross the session end.
BEFORE_SESSION_END = 1_381_175_970_000_000_000

POLICIES = ("all", "sip", "algoseek")


@settings(max_examples=250, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    policy=st.sampled_from(POLICIES),
    fill=st.booleans(),
    session=st.booleans(),
    activity=st.booleans(),
)
def test_any_split_checkpoint_and_crash_publishes_the_same_bytes(
    seed: int, policy: str, fill: bool, session: bool, activity: bool
) -> None:
    rng = random.Random(seed)
    config = configuration(
        policy=policy_of(policy),
        fill_forward=fill,
        fill_forward_limit=rng.choice((2, 50)),
        activity=parse_kinds(("tick:3", "dollar:500", "volume_imbalance:15") if activity else ()),
        activity_carry=rng.random() < 0.5,
    )
    start = BEFORE_SESSION_END if session else START
    log = random_log(seed, rng.randrange(1, 250), start, historical=session)
    expected = run_whole(config, log)
    run = Run(config)
    while (run.state.next or 0) < len(log):
        begin = run.state.next or 0
        stop = min(len(log), begin + rng.choice((1, 2, 5, 20, 100)))
        run.feed(log[:stop], [])
        if rng.random() < 0.5:
            run.checkpoint()
        elif rng.random() < 0.3:
            run.crash()
    run.checkpoint()
    assert run.published == expected.published
    assert run.state.counts == expected.state.counts
    assert sum(run.state.counts.values()) == len(log)
    assert activity or not run.published["activity"]


def test_a_batch_that_does_not_follow_is_refused() -> None:
    run = Run(configuration())
    log = random_log(1, 10)
    run.feed(log, [])
    again = batch(log, 0, 5)
    with pytest.raises(ValueError, match="batch begins at 0, the state at 10"):
        run.state.apply(again)
