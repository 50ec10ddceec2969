"""Errors of the embedded broker; each message tells what was met, what was expected, what to do."""


class BrokerError(RuntimeError):
    """Any failure of the embedded broker; catch this one to catch them all."""


class MissingRuntimeError(BrokerError):
    """There is no Java runtime, or no package to fetch the jars with."""


class JarDownloadError(BrokerError):
    """A jar could not be fetched."""


class JarMismatchError(BrokerError):
    """A jar is not the one whose hash is in the committed table."""


class PortInUseError(BrokerError):
    """The port that was asked for, or that the folder remembers, belongs to another process."""


class AlreadyRunningError(BrokerError):
    """A broker is already running on this folder."""


class BrokerStartError(BrokerError):
    """The broker ended, or did not become ready, before it could be used."""
