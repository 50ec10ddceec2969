"""Deterministic simulation: the real engine in a simulated world, a history from a seed.

    make simulate SEEDS=2000
    python -m tests.simulation --seed 1234 --records 17 --faults 2 --trace

What is real: `app.streaming.engine.Engine` with all that it starts (runners, checkpoints,
restores, rebalances, failures, side channel, recalls), the bars agent's stage and state. What is
simulated, so that one seed decides it: time and the order of callbacks (`loop.py`), the broker with
its transactions and its network (`world.py`), clients and RocksDB (`clients.py`), the group
(`group.py`), Faust around the engine (`worker.py`). A paused process has no callback run, a dead
one never again, so both may happen between any two steps; a request on its way still arrives.

The flow of data, in two partitions over one to three workers::

    ticks.py --> ticks --> [bars, the real stage] --> bars --> [fold, second_stage.py] --> folds
                  ^   |                                |
                  |   +-- holes: markers, aborted      +-- holes: of the engine's own transactions
                  +------ clock records of the side channel

`plan.py` draws what is to happen, `disasters.py` has it happen, `history.py` tells the whole story,
`judge.py` compares the end with `tests/oracle`, which shares no code with the engine, and computes
the second stage from the first one's expected output. `running.py` runs many, `shrink.py` looks for
the shortest history that still fails. `planted*.py` show that mistakes in the engine are found.

What must hold at the end of every history, once nothing fails any more:

1. Each source partition is owned by one worker, which has read it to its end and published all.
2. Of bars, late and dead records, and of the second stage's, what `read_committed` readers see is
   the reference's, byte for byte and in order.
3. The rows in an owner's store are those that its changelog adds up to.
4. No worker has ended by itself for another reason than faults explain (`disasters.EXPLAINED`).
5. The same plan is the same history, in another process too.
"""
