"""What fills the topic `ticks`: replay of recorded data, and a small simulator.

Read in this order: `columns` (trades as arrays), the readers `lean` and `tabular`, `source` (any
PATH), `merge` (one stream in event-time order), `mangle` and `corrupt` (faults on purpose, by a
seed), `encode` (JSON values), `producer` (batches to Kafka), `replayer` and `simulator`.
"""
