"""The embedded Kafka against its promises: loopback, data kept, nothing left, clear refusals."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.broker import (
    AlreadyRunningError,
    BrokerConfig,
    BrokerError,
    BrokerStartError,
    EmbeddedBroker,
    PortInUseError,
    configuration,
    probe,
    process,
)

pytestmark = pytest.mark.broker


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker that the test starts and stops as it likes."""
    broker = EmbeddedBroker(BrokerConfig(tmp_path / "own", heap_megabytes=256))
    yield broker
    broker.stop()


def address(broker: EmbeddedBroker) -> str:
    return broker.url.removeprefix("kafka://")


def process_of(broker: EmbeddedBroker) -> psutil.Process:
    pid = broker.status().pid
    assert pid is not None
    return psutil.Process(pid)


async def write(broker: EmbeddedBroker, topic: str, values: list[bytes]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address(broker))
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=address(broker), enable_idempotence=True)
    await producer.start()
    for value in values:
        await producer.send_and_wait(topic, value)
    await producer.stop()


async def read(broker: EmbeddedBroker, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=address(broker), auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.start()
    try:
        return [(await asyncio.wait_for(consumer.getone(), 20)).value for _ in range(count)]
    finally:
        await consumer.stop()


class TestARunningBroker:
    def test_says_where_it_is(self, kafka: EmbeddedBroker) -> None:
        status = kafka.status()
        assert status.running
        assert status.url == kafka.url
        assert kafka.url.startswith("kafka://127.0.0.1:")
        assert status.folder == kafka.config.folder

    def test_listens_on_loopback_only_and_on_two_ports(self, kafka: EmbeddedBroker) -> None:
        listening = [
            connection.laddr
            for connection in process_of(kafka).net_connections(kind="all")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert {place.ip for place in listening} == {"127.0.0.1"}
        assert len(listening) == 2

    async def test_is_ready_for_a_group_and_a_transaction_at_once(
        self, kafka: EmbeddedBroker, unique: str
    ) -> None:
        await write(kafka, unique, [b"first"])
        producer = AIOKafkaProducer(bootstrap_servers=address(kafka), transactional_id=unique)
        await producer.start()
        async with producer.transaction():
            await producer.send_and_wait(unique, b"second")
            await producer.send_offsets_to_transaction({TopicPartition(unique, 0): 1}, unique)
        await producer.stop()
        consumer = AIOKafkaConsumer(
            unique,
            bootstrap_servers=address(kafka),
            group_id=unique,
            isolation_level="read_committed",
        )
        await consumer.start()
        try:
            record = await asyncio.wait_for(consumer.getone(), 20)
        finally:
            await consumer.stop()
        assert record.value == b"second"

    def test_refuses_a_second_start_on_its_folder(self, kafka: EmbeddedBroker) -> None:
        with pytest.raises(AlreadyRunningError, match=rf"process {kafka.status().pid} at kafka://"):
            EmbeddedBroker(BrokerConfig(kafka.config.folder)).start()

    def test_writes_a_log(self, kafka: EmbeddedBroker) -> None:
        text = (kafka.config.folder / "kafka.log").read_text()
        assert "Kafka Server started" in text

    def test_makes_no_topic_by_accident(self, kafka: EmbeddedBroker) -> None:
        properties = (kafka.config.folder / "server.properties").read_text().splitlines()
        assert "auto.create.topics.enable=false" in properties


async def test_data_and_address_survive_a_restart(own: EmbeddedBroker) -> None:
    own.start()
    own.wait_ready()
    url = own.url
    await write(own, "kept", [b"one", b"two"])
    own.stop()
    own.start()
    own.wait_ready()
    assert own.url == url
    assert await read(own, "kept", 2) == [b"one", b"two"]


async def test_acknowledged_data_survive_a_kill(own: EmbeddedBroker) -> None:
    own.start()
    own.wait_ready()
    await write(own, "kept", [b"one"])
    process_of(own).kill()
    psutil.wait_procs([process_of(own)] if own.status().running else [], timeout=10)
    own.stop()
    own.start()
    own.wait_ready()
    assert await read(own, "kept", 1) == [b"one"]


def test_stop_leaves_no_process_and_no_port(own: EmbeddedBroker) -> None:
    own.start()
    own.wait_ready()
    running = process_of(own)
    port = int(own.url.rpartition(":")[2])
    # Another object, as another process would have it, stops the same broker.
    EmbeddedBroker(own.config).stop()
    assert not running.is_running()
    assert configuration.port_is_free(port)
    assert not own.status().running
    assert not (own.config.folder / "broker.json").exists()
    own.stop()  # once more: nothing happens


def test_a_recycled_process_id_is_not_taken_for_the_broker(tmp_path: Path) -> None:
    # The record names this very test process: were it trusted, the test would end itself here.
    record = process.RunningRecord(psutil.Process().pid, "0" * 32, 20_000, 20_001)
    process.write_record(tmp_path, record)
    broker = EmbeddedBroker(BrokerConfig(tmp_path))
    assert not broker.status().running
    broker.stop()
    assert not (tmp_path / "broker.json").exists()


def test_a_broken_record_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "broker.json").write_text("{}")
    with pytest.raises(BrokerError, match=r"broker\.json is not the record of a broker"):
        EmbeddedBroker(BrokerConfig(tmp_path)).status()


def test_status_of_a_folder_without_broker(tmp_path: Path) -> None:
    broker = EmbeddedBroker(BrokerConfig(tmp_path / "nothing"))
    assert not broker.status().running
    assert broker.status().url is None
    with pytest.raises(BrokerError, match="no broker was started"):
        _ = broker.url
    broker.stop()


def test_a_port_in_use_is_one_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"port {port} .* is in use by another process"):
            EmbeddedBroker(BrokerConfig(tmp_path, port=port)).start()


def test_a_remembered_port_in_use_is_one_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (tmp_path / "port").write_text(f"{taken.getsockname()[1]}\n")
        with pytest.raises(PortInUseError, match="the one this folder used before"):
            EmbeddedBroker(BrokerConfig(tmp_path)).start()


def test_a_broker_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    broker = EmbeddedBroker(BrokerConfig(tmp_path, extra={"num.io.threads": "none"}))
    with pytest.raises(BrokerStartError, match=r"num\.io\.threads"):
        broker.start()


def test_a_broker_that_ends_early_is_reported_at_once(own: EmbeddedBroker) -> None:
    own.start()
    process_of(own).kill()
    with pytest.raises(BrokerStartError, match="has ended before it was ready"):
        own.wait_ready()


def test_addresses_are_not_to_be_overridden(tmp_path: Path) -> None:
    broker = EmbeddedBroker(BrokerConfig(tmp_path, extra={"listeners": "PLAINTEXT://:9092"}))
    with pytest.raises(BrokerError, match="contain listeners, which the embedded broker sets"):
        broker.start()


class TestReadiness:
    def test_is_not_an_open_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
            port = server.getsockname()[1]
            asked = pool.submit(probe.check_ready, "127.0.0.1", port, 8)
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                # A metadata answer without a broker in it.
                connection.sendall(struct.pack(">iiii", 12, 0, 0, 0))
                with pytest.raises(probe.NotReadyError, match="names no broker"):
                    asked.result(timeout=10)

    def test_waits_out_its_time_and_says_what_was_missing(
        self, kafka: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(*_: object) -> None:
            raise probe.NotReadyError("no group coordinator yet (error 15)")

        monkeypatch.setattr(probe, "check_ready", never)
        with pytest.raises(BrokerStartError, match=r"not ready after 0\.2 s: no group coord"):
            kafka.wait_ready(timeout=0.2)
