"""What is on the broker of each topic that should be: there or not, as it must be, how much.

Nothing is made or changed here; `app/admin.py` does that. aiokafka 0.14 has no DescribeLogDirs
request (Kafka protocol, key 35), which tells sizes; it is declared here in aiokafka's own terms,
to delete once `AIOKafkaAdminClient.describe_log_dirs` exists.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Int64, Schema, String

from app.admin import configurations, describe, differences
from app.connection import CONNECT_SECONDS, connect
from app.run.reader import bounds
from app.settings import Settings
from app.topics import TopicSpec, topic_table

DESCRIBE_LOG_DIRS = 35
NO_ERROR = 0
#: Seconds for the configuration of topics that are known to exist.
CONFIGURATION_SECONDS = 5.0


class DescribeLogDirsResponse(Response):  # type: ignore[misc]
    """Version 1: of each folder of a broker its topics, their partitions and sizes in bytes."""

    API_KEY = DESCRIBE_LOG_DIRS
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            Array(
                ("error_code", Int16),
                ("log_dir", String("utf-8")),
                (
                    "topics",
                    Array(
                        ("topic", String("utf-8")),
                        (
                            "partitions",
                            Array(
                                ("partition", Int32),
                                ("size", Int64),
                                ("offset_lag", Int64),
                                ("is_future", Boolean),
                            ),
                        ),
                    ),
                ),
            ),
        ),
    )


class DescribeLogDirsStruct(RequestStruct):  # type: ignore[misc]
    """Version 1: partitions of topics."""

    API_KEY = DESCRIBE_LOG_DIRS
    API_VERSION = 1
    RESPONSE_TYPE: ClassVar[type[Response]] = DescribeLogDirsResponse
    SCHEMA = Schema(
        ("topics", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))),
    )


class DescribeLogDirsRequest(Request[DescribeLogDirsStruct]):  # type: ignore[misc]
    """Ask a broker for the sizes of the partitions it has."""

    API_KEY = DESCRIBE_LOG_DIRS

    def __init__(self, topics: list[tuple[str, list[int]]]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[DescribeLogDirsStruct]) -> DescribeLogDirsStruct:
        return request_struct_class(self._topics)


@dataclass(frozen=True)
class TopicState:
    """One topic as it must be, and as it is.

    Attributes:
        spec: as it must be.
        partitions: how many it has; None where it does not exist.
        differences: a text for each way in which it is not as it must be.
        records: end less first offset of all partitions: markers of transactions count, too.
        bytes: on the disks of all brokers, all copies; None where the broker does not tell.
    """

    spec: TopicSpec
    partitions: int | None
    differences: tuple[str, ...] = ()
    records: int | None = None
    bytes: int | None = None

    @property
    def exists(self) -> bool:
        """Whether the broker has a topic of this name."""
        return self.partitions is not None

    @property
    def state(self) -> str:
        """`ok`, `missing` or `differs`."""
        if not self.exists:
            return "missing"
        return "differs" if self.differences else "ok"

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON: the table's entries, and behind them what there is."""
        found = {"state": self.state, "differences": list(self.differences)}
        return asdict(self.spec) | found | {"records": self.records, "bytes": self.bytes}


async def topic_states(settings: Settings, seconds: float = CONNECT_SECONDS) -> list[TopicState]:
    """Return the state of each topic of the table, in its order; `seconds` to reach the broker.

    Raises:
        BrokerUnreachableError: no broker answers.
        TopicUnavailableError: the broker does not tell a topic's configuration.
    """
    specs = topic_table(settings)
    async with connect(settings, seconds) as client:
        described = await describe(client)
        there = tuple(spec for spec in specs if spec.name in described)
        configured = await configurations(client, there, CONFIGURATION_SECONDS) if there else {}
        partitions = {
            spec.name: [entry["partition"] for entry in described[spec.name]["partitions"]]
            for spec in there
        }
        sizes = await _sizes(client, partitions) if there else None
    places = [TopicPartition(name, each) for name, found in partitions.items() for each in found]
    records: Counter[str] = Counter()
    for place, (first, end) in (await bounds(settings, places) if places else {}).items():
        records[place.topic] += end - first
    return [
        TopicState(spec, None)
        if spec.name not in partitions
        else TopicState(
            spec,
            len(partitions[spec.name]),
            tuple(differences(spec, described[spec.name], configured[spec.name])),
            records[spec.name],
            None if sizes is None else sizes[spec.name],
        )
        for spec in specs
    ]


async def _sizes(
    client: AIOKafkaAdminClient, partitions: dict[str, list[int]]
) -> Counter[str] | None:
    """Return bytes by topic, or None where a broker is too old or does not let this client ask."""
    request = DescribeLogDirsRequest(list(partitions.items()))
    found: Counter[str] = Counter()
    cluster = await client.describe_cluster()
    for broker in cluster["brokers"]:
        try:
            response: Any = await client._send_request_to_node(broker["node_id"], request)
        except KafkaError:  # a broker too old for it is one, too
            return None
        for code, _, topics in response.results:
            if code != NO_ERROR:
                return None
            for topic, entries in topics:
                found[topic] += sum(size for _, size, *_ in entries)
    return found
