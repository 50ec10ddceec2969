"""From the topics' records to the stores where people look: the parts that know no network.

What comes in: a `RecordBatch` of one partition. What goes out: lines of InfluxDB's line protocol,
each with the offset of the record it came from, in batches that say up to where they cover the log.

Read the files in this order: `measurements` (what becomes of each topic: name, tags, time, fields),
`points` (records to points: what is skipped, ordinals, revisions), `lines` (columns to text),
`line_batches` (5,000 lines at a time, and the culprits of a rejected batch).

Invariants:

- The points are a pure function of the log: no clock, no state. Reading a part of it again gives
  the same points, so that writing them again changes nothing.
- Tags and time of a point are the identity of what it says, and nothing else; whatever a revision
  may change is a field. So a revision overwrites. That the highest is written last is the driver's
  to keep: one batch of a partition at a time, in log order.
- A field has one type for ever. A value that is null, NaN or infinite is left out; what is null in
  a revision is named in its field `nulls`, as InfluxDB keeps the older version's value.
- `next` of a batch lies behind every record whose lines are in it or before it, and behind no other
  that has lines.
"""
