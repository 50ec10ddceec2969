"""Which partition a symbol's records go to: Kafka's default partitioner, over the symbol."""

from __future__ import annotations

from aiokafka.partitioner import murmur2


def partition_of(symbol: str, partitions: int) -> int:
    """Partition of a symbol among `partitions`, as Java's, aiokafka's and (with
    `partitioner=murmur2_random`) librdkafka's producers choose it for the key `symbol` in UTF-8.
    """
    hashed: int = murmur2(symbol.encode())
    return (hashed & 0x7FFF_FFFF) % partitions
