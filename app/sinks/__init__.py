"""From the topics' records to the stores where people look: archive, InfluxDB, PostgreSQL, Redis.

What comes in: committed records of output topics, and of the inputs if `sinks.ticks`, read by a
consumer group of each sink, `DEPLOYMENT.sink.NAME`. What is kept: the group's offsets alone (some
stores keep positions with their rows; those hold first). What goes out: rows, points or keys; what
a store will never take goes to `DEPLOYMENT.sinks.dead` before its offset is let go.

Read the files in this order: `settings`, `driver` (what a sink is: the contract), `consumer` (the
loop of one sink), with `ledger` (what may be let go), `patience` (when to try again), `calls` (of a
driver), `reading` (Kafka), `lag` and `letters` (dead ones); `service` (all sinks of a process),
`gauges`, `progress` (how far they are, told from outside), `replaying`. The drivers are in
`archive`, `influx`, `postgres`, `redis`; `drivers` makes them by name.

Line protocol, which knows no network: `measurements` (what becomes of each topic: name, tags, time,
fields), `points` (records to points: what is skipped, ordinals, revisions), `lines` (columns to
text), `line_bodies` (lines as bytes), `line_batches` (5,000 lines at a time, and the culprits of a
rejected batch); `compiled`, with `plans` and `_lines.pyx`: flat records straight to lines.

Invariants of the loop:

- No offset is let go before all records below it are durable outside, or in the dead-letter topic.
  A kill at any moment repeats writes, and a repeated write changes nothing.
- A partition has one writer at a time: it goes only after a flush under way has ended.
- A sink that is down holds back nothing but itself: it stays in its group, reads nothing more and
  holds `sinks.max_held_bytes` and a fetch, at most.

Invariants of the points:

- They are a pure function of the log: no clock, no state. Reading a part of it again gives the same
  points, so that writing them again changes nothing.
- Tags and time of a point are the identity of what it says, and nothing else; whatever a revision
  may change is a field. So a revision overwrites. That the highest is written last is the driver's
  to keep: one batch of a partition at a time, in log order.
- A field has one type for ever. A value that is null, NaN or infinite is left out; what is null in
  a revision is named in its field `nulls`, as InfluxDB keeps the older version's value.
- `next` of a batch lies behind every record whose lines are in it or before it, and behind no other
  that has lines.
"""
