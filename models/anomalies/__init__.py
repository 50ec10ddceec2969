"""Anomalies: how odd is this, by what came before it; learned as it goes, never by labels.

What comes in: bars of a symbol (`market.MarketScorer`), or the values of any series
(`series.SeriesScorer`), in order. What is kept: a bounded, versioned state of plain values, one a
symbol and interval. What goes out: a score from 0 to 1, the threshold that a target of false alarms
a day asks for, whether it is an anomaly, and by which rule.

- Each item is judged by what was learned before it, and learned after.
- The score of an item depends on the items before it and on itself; chance is seeded.
- Nothing is dropped: an anomaly is a mark, and is learned too, as one item of many.
- While a scorer is not warm its value is None.

| file | what it knows |
|---|---|
| `robust.py` | median and MAD: the robust z |
| `seasons.py` | what is normal at this time of the day or week |
| `control.py` | small shifts that last: EWMA chart, Page-Hinkley test |
| `trees.py` | half-space trees: several features together |
| `tails.py` | how rare a magnitude is, and which are alarms |
| `rules.py` | fixed rules |
| `series.py`, `market.py` | the scorers made of them |
"""
