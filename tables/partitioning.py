"""Kafka's default partitioner: murmur2 of the key's bytes.

Source: org.apache.kafka.common.utils.Utils.murmur2. Computed once per interned symbol.
"""

from __future__ import annotations

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The 32-bit hash that Java's Kafka clients take, as an unsigned integer."""
    length = len(data)
    value = (_SEED ^ length) & _MASK
    full = length - length % 4
    for start in range(0, full, 4):
        k = int.from_bytes(data[start : start + 4], "little")
        k = (k * _M) & _MASK
        k ^= k >> 24
        k = (k * _M) & _MASK
        value = ((value * _M) & _MASK) ^ k
    rest = data[full:]
    if rest:
        value ^= int.from_bytes(rest, "little")
        value = (value * _M) & _MASK
    value ^= value >> 13
    value = (value * _M) & _MASK
    return value ^ (value >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that a murmur2 producer sends `key` to."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
