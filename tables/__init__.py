"""What is kept: windows, bars, trade ids and their state rows, as pure arithmetic.

Data that flows: `RecordBatch` (values and positions of a fetch) -> `Columns` (one array a field)
-> partial aggregates of (symbol, window) groups -> open bars -> closed bars, as `Output`s and
state rows. Nothing here imports Kafka or Faust, reads a clock, or awaits.

Invariants (app/README.md states the semantics, tests/oracle recomputes them):

- every decision is per record, in log order, from the log alone, so any split of the log into
  batches gives the same outputs in the same order;
- aggregates are commutative monoids with exact sums, so grouping and merging never change a bit;
- state is bounded: rows of symbols and slots are overwritten, trade ids are forgotten.
"""
