"""Views: the newest closed bars of each symbol and interval, read back from the output topics.

What comes in: `DEPLOYMENT.bars` and `DEPLOYMENT.quotes.bars`, committed records, without a group.
Where it is kept: a RocksDB folder for each view and owned partition, bounded, with the offset that
it includes. What goes out: rows for the JSON API (`app/web`). Nothing is written twice, and nothing
here changes a result: a view that is lost is read again from its topic.

Read the files in this order: `rows` (keys and what is read of a bar), `store` (one partition on
disk), `partition` (highest revision, bounds), `pace` (when to let the engine go first), `follower`
(the loop of a worker).
"""
