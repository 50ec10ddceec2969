"""The planted signal has the share that was asked for; without it the stream is what it was."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from app.cli import candlewick
from app.feeds.columns import TradeColumns, Vocabulary, concatenate
from app.feeds.encode import TickEncoder
from app.feeds.market import BLOCK, SECOND, Market, MarketOptions
from app.feeds.signal import DEVIATION, FARTHEST, HEAVY, Signal, SignalPath

START = 1_700_000_000 * SECOND
#: A block of the paths here; the horizon has ten.
STEP = SECOND // 2
HORIZON = 5 * SECOND
Moves = npt.NDArray[np.float64]


def digest(options: MarketOptions) -> tuple[int, str]:
    """How many records 20 seconds have, and the SHA-256 of their values."""
    vocabulary = Vocabulary()
    market, encoder = Market(options, START, vocabulary), TickEncoder(vocabulary, 4)
    whole, count = hashlib.sha256(), 0
    for _ in range(20 * SECOND // BLOCK):
        for part in market.block():
            for value in encoder.encode(part) if len(part) else ():
                whole.update(value)
                count += 1
    return count, whole.hexdigest()


def spans(share: float, count: int, symbols: int = 50, seed: int = 1) -> tuple[Moves, Moves]:
    """Returns of each span and symbol, and whether it was heavy (1) or not (0)."""
    path = SignalPath(Signal(share, HORIZON), np.full(symbols, 5.0), STEP, seed)
    moves, heavy = [], []
    for span in range(count):
        before = path.log
        for step in range(HORIZON // STEP):
            path.advance(START + span * HORIZON + step * STEP)
        moves.append(path.log - before)
        heavy.append(path.heavy.astype(np.float64))
    return np.array(moves), np.array(heavy)


def correlation(one: Moves, other: Moves) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.parametrize(
    ("options", "count", "sha256"),
    [
        (
            MarketOptions(),
            4_027,
            "857e93342ec823313ab4554166a834f3d6e89e002027dc31675c0d5e249397a1",
        ),
        (
            MarketOptions(symbols=30, rate=2_000.0, quotes_per_trade=2.0, burst_factor=5.0, seed=7),
            40_037,
            "3737519c4f3d669facd093d37b6f61099a2606612411b3a633a8830c0d80a5fc",
        ),
    ],
    ids=["defaults", "quotes and bursts"],
)
def test_without_a_signal_the_stream_is_what_it_was_before_there_was_one(
    options: MarketOptions, count: int, sha256: str
) -> None:
    # Of the numpy in the lock; another one may draw other numbers.
    assert digest(options) == (count, sha256)


def test_the_same_seed_gives_the_same_stream_and_another_one_another() -> None:
    def of(seed: int, share: float = 0.2) -> tuple[int, str]:
        return digest(MarketOptions(quotes_per_trade=1.0, seed=seed, signal=Signal(share, SECOND)))

    assert of(1) == of(1)
    assert len({of(1), of(2), of(1, 0.1), of(1, 0.0)}) == 4


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_the_signal_explains_its_share_of_the_variance(share: float) -> None:
    moves, heavy = spans(share, 400)
    assert moves.std() == pytest.approx(DEVIATION, rel=0.03)
    foretold = moves * (1 - 2 * heavy)
    # 19,950 pairs: five standard errors are 0.035.
    assert correlation(foretold[:-1], moves[1:]) == pytest.approx(math.sqrt(share), abs=0.035)
    assert 0.48 < heavy.mean() < 0.52


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_no_line_through_the_last_returns_sees_it(share: float) -> None:
    moves, heavy = spans(share, 400)
    # Five standard errors: at a share of a half they are sqrt(2) times those of independent moves.
    for lag in (1, 2, 3):
        assert abs(correlation(moves[:-lag], moves[lag:])) < 0.05
    assert abs(correlation(heavy[:-1], moves[1:])) < 0.05


def test_each_symbol_goes_its_own_way() -> None:
    moves, heavy = spans(0.5, 400, symbols=2)
    assert abs(correlation(moves[:, 0], moves[:, 1])) < 0.25
    assert abs(correlation(heavy[:, 0], heavy[:, 1])) < 0.25


def test_time_that_is_left_out_foretells_nothing() -> None:
    path = SignalPath(Signal(1.0, HORIZON), np.full(2_000, 5.0), STEP, 3)

    def moves(span: int) -> Moves:
        before = path.log
        path.advance(START + span * HORIZON)
        return path.log - before

    first, heavy = moves(0), path.heavy
    foretold = np.sign(first) * (1 - 2 * heavy)
    assert (np.sign(moves(1)) == foretold).all()
    last = np.sign(first) * foretold * (1 - 2 * path.heavy)
    assert abs(correlation(np.sign(moves(3)), last)) < 0.12


def test_prices_stay_in_bounds() -> None:
    path = SignalPath(Signal(0.0, SECOND), np.zeros(3), 100_000 * SECOND, 3)
    for step in range(2_000):
        path.advance(START + step * SECOND)
    assert np.abs(path.log).max() == FARTHEST


def test_heavy_spans_show_in_the_volume_and_the_mid_in_the_prices() -> None:
    market = Market(
        MarketOptions(symbols=1, rate=40.0, seed=5, signal=Signal(0.2, SECOND)),
        START,
        Vocabulary(),
    )
    blocks: list[TradeColumns] = []
    lows, highs = [], []
    for _ in range(200 * SECOND // BLOCK):
        trades, _ = market.block()
        assert market._path is not None
        mid = math.exp(market._path.log[0])
        if len(trades):
            blocks.append(trades)
            lows.append(trades.price.min() - mid)
            highs.append(trades.price.max() - mid)
    # Half a spread of a tick, and half a tick of rounding.
    assert min(lows) >= -0.0151
    assert max(highs) <= 0.0151
    whole = concatenate(blocks)
    volume = np.bincount((whole.event_time - START) // SECOND, whole.size)
    ordered = np.sort(volume)
    light, heavy = ordered[: len(ordered) // 3].mean(), ordered[-len(ordered) // 3 :].mean()
    assert 0.7 * HEAVY < heavy / light < 2 * HEAVY


@pytest.mark.parametrize(
    ("share", "horizon"), [(-0.1, SECOND), (1.1, SECOND), (0.1, 0), (0.1, SECOND // 2)]
)
def test_what_cannot_be_planted_is_refused(share: float, horizon: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        Signal(share, horizon)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--signal", "120%"), "not a share"), (("--signal", "1", "--signal-horizon", "1500ms"), "")],
)
def test_the_command_refuses_it_too(
    arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANDLEWICK_BROKER__URL", "kafka://127.0.0.1:1")
    result = CliRunner().invoke(candlewick, ["simulate", *arguments])
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
