"""What an aggregate of one (symbol, window) must offer, so that windows and rows can hold it."""

from __future__ import annotations

from typing import Any, Protocol, Self, TypeVar


class Aggregate(Protocol):
    """A commutative monoid: `merge` with the neutral element `empty`.

    `revision` is -1 while nothing of the window was published.
    """

    revision: int

    @property
    def has_bar(self) -> bool:
        """Whether a bar can be published of it."""

    @classmethod
    def empty(cls) -> Self:
        """The neutral element."""

    def merge(self, other: Self) -> None:
        """Add the records of `other`."""

    def to_row(self) -> list[Any]:
        """It as plain values, for a state row."""

    @classmethod
    def from_row(cls, row: list[Any]) -> Self:
        """What `to_row` wrote."""


Held = TypeVar("Held", bound=Aggregate)
