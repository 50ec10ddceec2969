"""Other stream processors, to be measured beside ours: the same trades to one-second bars.

Each does what its users write: reads JSON trades by symbol, keeps the open bar of each symbol in
its state store by event time, and sends a JSON object with symbol, start (ns) and `PEER_FIELDS` of
`tests/bench/expected.py` to an output topic. `python -m tests.bench.peers` installs those that do
not resolve with ours (`place.py`).
"""
