"""Exit codes of the command and of the worker, and the error that means "do not try again"."""

from __future__ import annotations

OK = 0
#: Something failed while running; starting again may help.
FAILURE = 1
#: A wrong option, argument or setting.
USAGE = 2
#: A worker refuses to start: settings hash, topic id, port in use. Starting again cannot help.
REFUSED = 3


class OperatorError(RuntimeError):
    """Something outside is not as it must be; the message is the operator's one line."""


class RefusalError(OperatorError):
    """A worker cannot go on with what it met; the message is the operator's one line."""


def operator_error_in(error: BaseException | None) -> OperatorError | None:
    """Return the operator's error that an error is, or was caused by."""
    seen = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OperatorError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def refusal_in(error: BaseException | None) -> RefusalError | None:
    """Return the refusal that an error is, or was caused by."""
    found = operator_error_in(error)
    return found if isinstance(found, RefusalError) else None
