"""Exit codes of the command and of the worker, and the error that means "do not try again"."""

from __future__ import annotations

OK = 0
#: Something failed while running; starting again may help.
FAILURE = 1
#: A wrong option, argument or setting.
USAGE = 2
#: A worker refuses to start: settings hash, topic id, port in use. Starting again cannot help.
REFUSED = 3


class RefusalError(RuntimeError):
    """A worker cannot go on with what it met; the message is the operator's one line."""


def refusal_in(error: BaseException | None) -> RefusalError | None:
    """Return the refusal that an error is, or was caused by."""
    seen = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, RefusalError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
