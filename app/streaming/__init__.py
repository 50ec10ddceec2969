"""The Faust extension: whole fetches as events, one transaction a checkpoint, own restore.

Data that flows, for each partition of a stage's source topic:

    fetch --> slim.py (values of a record batch) --> feeding.py (from thread to event loop)
      --> merging.py, transport.py (one `RecordBatch` an event)
      --> engine.py (applies it if it follows) --> state (pure, `tables`)
      --> runner.py (when a checkpoint is due, freezes outputs, rows, marker)
      --> transaction.py (one Kafka transaction) --> store.py (one RocksDB write batch)

and back, on assignment: runner.py (fences the previous owner), restore.py (changelog to the last
stable offset, store), restored_state.py (state, and where it reads on).

Invariants:

- a batch is applied if and only if its first position is the state's next position;
- nothing is awaited between that check, the application and the enqueueing of its outputs;
- outputs, rows, marker and source offset are in one transaction; RocksDB follows the commit;
- one checkpoint at a time for a partition; any failure drops its state and restores it;
- the transactional id is of (deployment, agent, partition): who restores has fenced before.

Each file that works around a fault of a dependency names the fault, the test that shows it is
needed, and what would let us delete it.
"""
