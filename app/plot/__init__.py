"""One picture of a symbol: candles, VWAP, volume, RSI, anomalies and predictions.

What comes in: bars and what was computed of them, from an archive (`archived.py`) or from files
(`recorded.py`). In between: a `Chart` (`chart.py`), plain columns. What goes out: PNG or SVG, by
matplotlib (`drawing.py`, an extra).
"""
