"""How good the scorers are: on labelled series of others, and on real ticks with seeded faults."""
