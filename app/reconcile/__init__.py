"""Reconciliation: bars recomputed in batch from the log, compared with those that were published.

```
changelog --> markers --> up to where the deployment has applied its log
source    --> tables/intake --> judging.py --> windows.py, batch.py --> recomputed bars
                                    '--> corrections.py --'  (read again, where there are any)
bars      --> highest revisions ---------------------------> compare.py --> drift by field
```

- `judging.py` decides which records count (lateness, duplicates, ignored ones); `batch.py` turns a
  chunk of them into exact sums a window; `windows.py` adds those up and knows which windows are
  closed; `corrections.py` finds the trades that were cancelled or corrected; `compare.py` compares.
- `reading.py` does it all in turn. What it reads: `logs.py` (Kafka), `archived_log.py` (the
  archive's ticks, and Kafka's behind them); `topic.py` (the bars' topic), or one of `stores.py`:
  `archived.py` (the archive), `influx.py` and `flux.py` (InfluxDB).
- Independent of the state machine: of `tables` only decoding and the judgement of single records
  (`intake`, `quote_intake`, the policy's flags in `symbols.Conditions`) and the grid of exact
  sums (`sums`) are used. Windows, order, duplicates and closing are code of its own.

Invariants:

- A bar is the sum of all records of its window that count, whether they came before it was closed
  or as revisions, so no log is replayed event by event, and the chunks do not matter.
- A window is closed if its end is at or before the last watermark, or if a flush comes after its
  first record in the log. Others are left out and counted.
- Sums cannot be unmade (a high has no second), so a log with corrections is summed again, with each
  trade as it stands at the log's end. A window of which no price is left, but which had a bar, has
  the close that was published last, and no trades: the price of the trade cancelled last.
- Workers may go on meanwhile. Markers are read before and after the bars; a window that has
  changed between the two is left out and counted.
- So may sinks. A store's position in the bars' topic is known before the store is read; a bar of
  which the topic has a record behind that, up to its end afterwards, is left out and counted where
  it differs: the store need not have it, or has a newer one.
- Where the log no longer begins at offset 0, windows that may hold a record that is gone are left
  out and counted: those that do not start after the first append time + `max_ahead`, which no
  earlier record can have passed.
- Memory is bounded by the windows of the range, the trade ids of the horizon, one fetch and the
  trades that a correction may name; the topic's bars are in it as well, of a store's one part of
  some 20,000 bars and what differs.
"""
