"""Texts to small codes; the compiled table where there is one."""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)


class PureTextTable:
    """Texts to codes 0, 1, 2, ... in order of first sight: the twin of the compiled one."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def intern(self, name: str) -> int:
        """Code of a text, given at first sight."""
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self.names)
            self.names.append(name)
        return code


__all__ = ["PureTextTable", "TextTable", "compiled_parse"]

try:
    from tables._kernel import TextTable
    from tables._kernel import parse as compiled_parse
except ImportError as error:
    logger.warning(
        "the compiled trade parser is missing (%s): trades are read at a third of the speed; "
        "install a C compiler and run `make setup` again",
        error,
    )
    TextTable = PureTextTable  # type: ignore[assignment, misc]
    compiled_parse = None  # type: ignore[assignment]
