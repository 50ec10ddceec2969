"""Start, stop and ask for the embedded Kafka of one folder.

The folder: ``data/`` (Kafka's own), ``server.properties`` and ``log4j2.properties`` (written anew
at each start from ``deploy/kafka``), ``kafka.log`` (rolled), ``kafka.out`` (what Java itself
prints), ``tmp/`` (Java's), ``broker.json`` (the running process), ``port`` (the one to keep).
"""

import fcntl
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.broker import configuration, jars, java, probe, process
from app.broker.errors import AlreadyRunningError, BrokerError, BrokerStartError, PortInUseError

SCRAM_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True)
class BrokerConfig:
    """What makes an embedded broker.

    Attributes:
        folder: Everything the broker keeps; made where absent. One broker a folder.
        port: The clients' port; 0 picks a free one at the first start and keeps it.
        heap_megabytes: Java's heap; 512 is enough for the benchmarks' load.
        partitions: Of a topic that does not tell, ``num.partitions``.
        cache_folder: Of the jars; None is the user's cache folder.
        extra: Kafka properties above those of ``deploy/kafka/server.properties``.
        listeners: More addresses, all on loopback, for clients that use TLS or SASL.
        scram_users: Password by name, for SCRAM; made when the folder is made.
    """

    folder: Path
    port: int = 0
    heap_megabytes: int = 512
    partitions: int = 4
    cache_folder: Path | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    listeners: Sequence[configuration.Listener] = ()
    scram_users: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def host(self) -> str:
        """The only address an embedded broker listens on."""
        return configuration.HOST


@dataclass(frozen=True)
class BrokerStatus:
    """What is known of a folder's broker; ``pid`` and ``url`` are None where it does not run."""

    running: bool
    pid: int | None
    url: str | None
    folder: Path


class EmbeddedBroker:
    """The Kafka of one folder, whoever started it: any process may ask for it or stop it.

    Works: one node for development, tests and benchmarks. Does not: replication, other machines;
    give ``CANDLEWICK_BROKER__URL`` for those.
    """

    def __init__(self, config: BrokerConfig) -> None:
        self.config = config
        self._folder = config.folder.resolve()

    @property
    def url(self) -> str:
        """The clients' address, ``kafka://127.0.0.1:PORT``.

        Raises:
            BrokerError: When the folder's broker was never started and no port is configured.
        """
        port = self.config.port or self._remembered_port()
        if port is None:
            raise BrokerError(f"no broker was started in {self._folder} yet; start it first")
        return f"kafka://{configuration.HOST}:{port}"

    def status(self) -> BrokerStatus:
        """Return whether the folder's broker runs, and where."""
        record = process.read_record(self._folder)
        found = process.find_process(record) if record is not None else None
        if record is None or found is None:
            return BrokerStatus(running=False, pid=None, url=None, folder=self._folder)
        url = f"kafka://{configuration.HOST}:{record.port}"
        return BrokerStatus(running=True, pid=record.pid, url=url, folder=self._folder)

    def start(self) -> None:
        """Start the broker and return at once; :meth:`wait_ready` follows.

        Raises:
            AlreadyRunningError: The folder's broker runs already.
            PortInUseError: The configured or the remembered port is taken.
            BrokerError: The runtime or a jar is missing or wrong, or formatting failed.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            status = self.status()
            if status.running:
                raise AlreadyRunningError(
                    f"a broker already runs in {self._folder}: process {status.pid} at "
                    f"{status.url}. Use it, stop it, or give another folder"
                )
            executable = java.find_java()
            class_path = os.pathsep.join(map(str, jars.ensure_jars(self.config.cache_folder)))
            port = self._choose_port()
            controller_port = configuration.free_port(frozenset({port}))
            self._write_files(port, controller_port)
            options = configuration.java_options(self.config.heap_megabytes, self._folder)
            base = [str(executable), *options]
            if not (self._folder / "data" / "meta.properties").exists():
                self._format([*base, "-cp", class_path])
            token = secrets.token_hex(16)
            command = [*base, f"-D{process.TOKEN_PROPERTY}={token}", "-cp", class_path]
            command += ["kafka.Kafka", str(self._folder / "server.properties")]
            pid = process.spawn(
                command, self._folder, self._folder / "kafka.out", _clean_environment()
            )
            process.write_record(
                self._folder, process.RunningRecord(pid, token, port, controller_port)
            )

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Return when metadata, group and transaction requests are answered.

        Raises:
            PortInUseError: The broker ended because another process took its port.
            BrokerStartError: It ended otherwise, or ``timeout`` seconds were not enough.
        """
        record = process.read_record(self._folder)
        if record is None:
            raise BrokerStartError(f"no broker was started in {self._folder}; start it first")
        deadline = time.monotonic() + timeout
        while True:
            try:
                probe.check_ready(
                    configuration.HOST, record.port, configuration.COORDINATOR_PARTITIONS
                )
                ready: str | None = None
            except probe.NotReadyError as error:
                ready = str(error)
            # Asked after the probe: an answer on the port counts only if ours is alive to give it.
            if process.find_process(record) is None:
                raise self._ended(record)
            if ready is None:
                return
            if time.monotonic() > deadline:
                raise BrokerStartError(
                    f"the broker in {self._folder} is not ready after {timeout:g} s: {ready}. "
                    f"See {self._folder / 'kafka.log'}; it still runs, stop it or wait longer"
                )
            time.sleep(0.05)

    def stop(self, timeout: float = 30.0) -> None:
        """Stop the broker, killing it when it has not ended by itself after ``timeout`` seconds.

        Nothing happens when none runs. Acknowledged data are safe either way.
        """
        if not self._folder.is_dir():
            return
        with self._locked():
            record = process.read_record(self._folder)
            if record is None:
                return
            found = process.find_process(record)
            if found is not None:
                process.end_process(found, timeout)
            process.delete_record(self._folder)

    def _choose_port(self) -> int:
        remembered = self._remembered_port()
        port = self.config.port or remembered
        if port is None:
            port = configuration.free_port()
        elif not configuration.port_is_free(port):
            source = "the configured one" if self.config.port else "the one this folder used before"
            raise PortInUseError(
                f"port {port} on {configuration.HOST}, {source}, is in use by another process. "
                f"End that process, give another port, or delete {self._folder / 'port'} "
                f"to have a free one picked"
            )
        (self._folder / "port").write_text(f"{port}\n", encoding="utf-8")
        return port

    def _remembered_port(self) -> int | None:
        path = self._folder / "port"
        try:
            return int(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise BrokerError(f"{path} holds no port number ({error}); delete it") from error

    def _write_files(self, port: int, controller_port: int) -> None:
        extra = {"num.partitions": str(self.config.partitions), **self.config.extra}
        rendered = configuration.render_properties(
            configuration.read_template("server.properties"),
            port=port,
            controller_port=controller_port,
            folder=self._folder / "data",
            extra=extra,
            listeners=self.config.listeners,
        )
        _write_private(self._folder / "server.properties", rendered)
        logging_text = configuration.read_template("log4j2.properties")
        (self._folder / "log4j2.properties").write_text(logging_text, encoding="utf-8")
        (self._folder / "tmp").mkdir(exist_ok=True)

    def _format(self, base: list[str]) -> None:
        command = [*base, "kafka.tools.StorageTool", "format", "--ignore-formatted"]
        command += ["--cluster-id", configuration.new_cluster_id()]
        command += ["--config", str(self._folder / "server.properties")]
        users = self._folder / "scram-users"
        if self.config.scram_users:
            # One argument a line, read by Kafka: passwords stay out of the list of processes.
            _write_private(users, "\n".join(_scram_arguments(self.config.scram_users)))
            command.append(f"@{users}")
        try:
            completed = subprocess.run(
                command,
                cwd=self._folder,
                env=_clean_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            users.unlink(missing_ok=True)
        if completed.returncode != 0:
            printed = (completed.stdout + completed.stderr).strip()
            raise BrokerStartError(
                f"Kafka could not format {self._folder / 'data'} (exit code "
                f"{completed.returncode}): {printed[-2000:]}"
            )

    def _ended(self, record: process.RunningRecord) -> BrokerError:
        """Return the error for a broker that is gone, from the last it wrote."""
        text = "".join(self._tail(name) for name in ("kafka.log", "kafka.out"))
        if "BindException" in text or "Address already in use" in text:
            return PortInUseError(
                f"the broker in {self._folder} ended because port {record.port} or "
                f"{record.controller_port} on {configuration.HOST} was taken by another process "
                f"meanwhile; end it and start again, or give another port"
            )
        return BrokerStartError(
            f"the broker in {self._folder} has ended before it was ready "
            f"(exit code {process.exit_codes.get(record.pid, 'unknown')}). Last lines of "
            f"{self._folder / 'kafka.log'}:\n{text[-2000:].strip() or '(empty)'}"
        )

    def _tail(self, name: str) -> str:
        try:
            return (self._folder / name).read_bytes()[-4000:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder for one start or stop; the broker itself does not inherit the lock."""
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads: it may hold passwords."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _scram_arguments(users: Mapping[str, str]) -> Iterator[str]:
    for name, password in users.items():
        for mechanism in SCRAM_MECHANISMS:
            yield "--add-scram"
            yield f"{mechanism}=[name={name},password={password}]"


def _clean_environment() -> dict[str, str]:
    """Return this process's environment without what would change the Java runtime's options."""
    dropped = {"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH"}
    return {name: value for name, value in os.environ.items() if name not in dropped}
