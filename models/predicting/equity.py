"""What a naive strategy would have earned, after costs; never without.

At each row that is predicted to move by more than a trade costs, hold the sign of the prediction
until the target is known; while a symbol is held, its other rows are passed over. Each symbol has
the same share of the stake, which neither grows nor shrinks, so that a return counts the same early
and late. Sums, not a simulation: fills at the bar's close, any size, no slippage beyond the cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.predicting.dataset import TrainingSet

BASIS_POINT = 1e-4


@dataclass(frozen=True)
class Equity:
    """What a strategy earned.

    Attributes:
        cost_bps: of each trade, in and out together, basis points.
        time: when the trades ended, ns, ascending; shape (trades,).
        equity: after each of them, with 1 to begin with.
        trades: how many.
        net: earned in total, as a share of the stake, after costs.
        costs: paid in total, as a share of the stake.
        won: share of the trades that earned more than they cost; None without trades.
        drawdown: the deepest fall from a height before it, as a share of the stake.
    """

    cost_bps: float
    time: npt.NDArray[np.int64]
    equity: npt.NDArray[np.float64]
    trades: int
    net: float
    costs: float
    won: float | None
    drawdown: float


def naive_equity(rows: TrainingSet, prediction: npt.NDArray[np.float64], cost_bps: float) -> Equity:
    """Return what the naive strategy earned over these rows.

    Args:
        rows: with their targets.
        prediction: of each row, a return.
        cost_bps: of a trade, in and out together, in basis points; above 0.

    Raises:
        ValueError: the cost is none.
    """
    if not (np.isfinite(cost_bps) and cost_bps > 0):
        raise ValueError(f"cost is {cost_bps} basis points; expected above 0")
    cost = cost_bps * BASIS_POINT
    stakes = len(np.unique(rows.symbol)) or 1
    held_until: dict[int, int] = {}
    taken = []
    for row in np.flatnonzero(np.abs(prediction) > cost):
        symbol = int(rows.symbol[row])
        if rows.time[row] >= held_until.get(symbol, rows.time[row]):
            held_until[symbol] = int(rows.label_time[row])
            taken.append(row)
    chosen = np.array(taken, dtype=np.intp)
    chosen = chosen[np.argsort(rows.label_time[chosen], kind="stable")]
    earned = np.sign(prediction[chosen]) * rows.target[chosen] - cost
    equity = 1 + np.cumsum(earned) / stakes
    height = np.maximum.accumulate(np.concatenate([[1.0], equity]))[1:]
    return Equity(
        cost_bps,
        rows.label_time[chosen],
        equity,
        len(chosen),
        float(earned.sum()) / stakes,
        cost * len(chosen) / stakes,
        float((earned > 0).mean()) if len(chosen) else None,
        float((height - equity).max()) if len(chosen) else 0.0,
    )
