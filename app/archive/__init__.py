"""The archive: what the topics carry, as Parquet files that anything can read.

Files in the order in which to read them:

- `layout.py`: which topics have columns of their own, and where a row's file lies;
- `columns.py`: records to Arrow tables and Parquet bytes; `compiled.py` and `_reading.pyx`: flat
  ones ten times as fast, those with a mapping of floats five times;
- `manifest.py`: which files are the archive's, and which offsets they hold;
- `writing.py`: batches of a reader that may repeat itself -> files, each row once (as a sink:
  `app/sinks/archive.py`);
- `compacting.py`: small files into large ones, retention, garbage; `upkeep.py`: the same by workers
  while they run; `inspecting.py`: figures;
- `checking.py`: whether manifests and files fit each other;
- `querying.py`: SQL over what the manifests name, by DuckDB.

Data that flows:

    RecordBatch -> buffer by (topic, partition)
        -> ARCHIVE/topic=NAME/year=/month=/day=/part-TIME-TOKEN.parquet
        -> ARCHIVE/manifests/NUMBER.json
    manifests, SQL -> views named by topic -> Arrow table

Invariants:

- A record is a row of its topic's files, on the UTC day of its event time; or, where it is not of
  the topic's contract (control records, deletions, what is malformed, topics without columns), a
  row of `raw` with its bytes, on the day of its append time. Nothing is left out.
- What no manifest names is not there. A manifest is created once, exclusively, and holds both the
  new files and how far they go in each partition: so a crash leaves neither doubles nor holes.
- Whoever commits has built on all manifests before: a second writer of the same partition loses
  with an error; compaction, retention and writers of other partitions go on beside it.
- Files that are replaced stay for readers that know no better, until `clean` takes them away.
- Times are integer nanoseconds since the epoch, UTC; the present is always a parameter.
"""
