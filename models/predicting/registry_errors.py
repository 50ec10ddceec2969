"""What can be wrong with a version: each error names the file, what was found, what was expected.

Who predicts catches `ModelError`, says so and predicts nothing; the version before it goes on.
"""

from __future__ import annotations


class ModelError(RuntimeError):
    """A version that cannot be used.

    Attributes:
        file: path or address of what is wrong.
        found: what is there.
        expected: what should be.
    """

    def __init__(self, file: str, found: str, expected: str) -> None:
        super().__init__(f"{file}: {found}; expected {expected}")
        self.file = file
        self.found = found
        self.expected = expected

    def __reduce__(self) -> tuple[type[ModelError], tuple[str, str, str]]:
        # Errors cross processes in pools and tests; the base class would pass the message alone.
        return type(self), (self.file, self.found, self.expected)


class MissingModelError(ModelError):
    """No such name, version, alias or file."""


class CorruptModelError(ModelError):
    """The bytes are not those that were published."""


class MismatchedModelError(ModelError):
    """Whole, but of another format, for other features, or of a kind that cannot be used here."""


class MovedAliasError(ModelError):
    """Somebody else has moved the alias meanwhile; look at it and decide anew."""


class UsedModelError(ModelError):
    """A version that an alias or an ensemble names is not deleted."""
