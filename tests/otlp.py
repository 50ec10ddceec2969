"""A collector of traces on this machine: OTLP over HTTP, as the protocol's own messages say it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

#: As in the protocol's `Status`.
ERROR = 2
WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class Received:
    """A span as it came over the wire; ids in hexadecimal digits, times in ns."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    links: tuple[str, ...]
    attributes: Mapping[str, Any]
    status: int
    start: int
    end: int

    @property
    def stretch(self) -> tuple[str, str, int, int]:
        """Topic, partition, first and following offset."""
        said = self.attributes
        return (
            said["messaging.destination.name"],
            said["messaging.destination.partition.id"],
            said["messaging.kafka.offset"],
            said["candlewick.offset.next"],
        )


@dataclass
class Collector:
    """Takes spans; a test says which status it answers."""

    status: int = 200
    port: int = 0
    requests: list[Mapping[str, str]] = field(default_factory=list)
    spans: list[Received] = field(default_factory=list)
    resources: list[Mapping[str, Any]] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        """Its address, as the setting wants it."""
        return f"http://127.0.0.1:{self.port}"

    def named(self, name: str) -> list[Received]:
        """The spans of a name."""
        return [each for each in self.spans if each.name == name]

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until what has arrived is enough."""
        async with asyncio.timeout(WAIT_SECONDS), self.arrived:
            await self.arrived.wait_for(met)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with self.arrived:
            said = request.headers.items()
            self.requests.append({name.lower(): value for name, value in said})
            if self.status == 200:
                self._add(ExportTraceServiceRequest.FromString(body))
            self.arrived.notify_all()
        answer = ExportTraceServiceResponse().SerializeToString()
        kind = "application/x-protobuf"
        return web.Response(status=self.status, body=answer, content_type=kind)

    def _add(self, message: ExportTraceServiceRequest) -> None:
        for resource in message.resource_spans:
            said = _plain(resource.resource.attributes)
            self.resources.append(said)
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Received(
                            service=said["service.name"],
                            name=span.name,
                            trace=span.trace_id.hex(),
                            span=span.span_id.hex(),
                            parent=span.parent_span_id.hex(),
                            links=tuple(link.span_id.hex() for link in span.links),
                            attributes=_plain(span.attributes),
                            status=span.status.code,
                            start=span.start_time_unix_nano,
                            end=span.end_time_unix_nano,
                        )
                    )


@asynccontextmanager
async def collecting(port: int = 0) -> AsyncIterator[Collector]:
    """A collector that listens; on a port of one's own choice where it is to come back."""
    collector = Collector()
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/v1/traces", collector._take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        collector.port = runner.addresses[0][1]
        yield collector
    finally:
        await runner.cleanup()


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each) for each in attributes}


def _value(pair: KeyValue) -> Any:
    kind = pair.value.WhichOneof("value")
    return None if kind is None else getattr(pair.value, kind)
