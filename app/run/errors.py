"""Errors of a run; each message is the one line its user sees."""

from __future__ import annotations

from app.exits import RefusalError


class RunError(RuntimeError):
    """A run that cannot be finished."""


class UnknownTopicError(RunError):
    """A topic that is to be read does not exist."""


class WorkerLostError(RunError):
    """A worker that ends again and again."""


class WorkerRefusedError(RefusalError):
    """A worker that refuses to start; the message is its own line."""


class NotDrainedError(RunError):
    """The workers make no progress although there are records left."""
