"""Indicators: numbers that traders read, from closed bars, one bar at a time.

What comes in: `BarRecord`s of one symbol and interval, in the order of the log. What is kept: the
last values of each window and a few sums, JSON-able, with what undoes the last bar. What goes out:
a number for each output, None in the warm-up, never NaN nor infinite.

- `base.py`: what an indicator is, and how to add one. `windows.py`, `averages.py`: its parts.
- `registry.py`: all of them by name, and `RSI(14),MACD(12,26,9)` as text.
- `sets.py`: the indicators of one symbol and interval, and what becomes of revisions.
- every other file: one indicator, or a small family.

Invariants, beside those of `tables/learning.py`: windows are computed afresh from their values in
their order, so nothing drifts and a stream gives what a batch gives, bit for bit; the outputs of an
indicator begin together, with bar number `warm_up`.
"""
