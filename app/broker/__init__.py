"""The embedded broker: a real Apache Kafka 4.1.0 (KRaft, one node) out of Python packages alone.

What comes in: a :class:`BrokerConfig` (a folder, optionally a port). What is kept: the folder, with
the data, the log and the record of the running process. What goes out: a ``kafka://`` address.

Invariants:

- Only 127.0.0.1 is listened on, and only on two ports: the clients' and the controller's. A test
  may add listeners with TLS or SASL.
- A jar that differs from the committed table ``kafka-4.1.0.sha256`` never runs.
- A process is only ever signalled after its command line has shown the token of this folder's
  last start, so a recycled process id is never killed.
- "Ready" means that metadata, group and transaction requests are answered, not that a port is open.
- Data survive a restart, and a restart uses the same address.

Read the files in this order: ``server`` (start, stop, status), ``process`` (the record of the
running one), ``configuration`` (the files of the folder), ``probe`` (readiness), ``jars`` and
``java`` (what runs), ``errors``.
"""

from app.broker.configuration import Listener
from app.broker.errors import (
    AlreadyRunningError,
    BrokerError,
    BrokerStartError,
    JarDownloadError,
    JarMismatchError,
    MissingRuntimeError,
    PortInUseError,
)
from app.broker.jars import KAFKA_VERSION, default_cache_folder, ensure_jars
from app.broker.java import find_java
from app.broker.server import BrokerConfig, BrokerStatus, EmbeddedBroker

__all__ = [
    "KAFKA_VERSION",
    "AlreadyRunningError",
    "BrokerConfig",
    "BrokerError",
    "BrokerStartError",
    "BrokerStatus",
    "EmbeddedBroker",
    "JarDownloadError",
    "JarMismatchError",
    "Listener",
    "MissingRuntimeError",
    "PortInUseError",
    "default_cache_folder",
    "ensure_jars",
    "find_java",
]
