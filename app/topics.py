"""All topics, in one table: name, what it carries, and how it must be made.

Names carry the cluster's prefix; all but the inputs also the deployment. Every topic has the same
number of partitions and LogAppendTime; `app/admin.py` creates what is missing and checks what is
there. What an agent reads and writes is in `AGENT_TOPICS`; one agent may read what another writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from app.durations import NANOSECONDS
from app.notify.settings import RaisingAgent
from app.settings import Settings
from app.sinks.settings import chosen_sinks

#: Agents whose outputs are bars of windows.
WINDOWED = ("bars", "quotes")
#: Input topics, which all deployments of a prefix share, and what they carry.
INPUTS = {
    "ticks": "trades and control records",
    "quotes": "quotes and control records",
    "transactions": "transactions, portfolio updates and control records",
}
#: Room for the headers of a dead record above its source's limit, in bytes.
DEAD_HEADROOM = 64 * 1024
TEN_MINUTES_MS = 10 * 60 * 1000
#: Output of the agents whose findings become alert events; of these only where it is asked for.
ALERTS, RAISING = "alerts", get_args(RaisingAgent)
ALERT_EVENTS = ("alerts.events", "what agents have seen, and control records of alerts")
#: What the sinks of a deployment never take; there where there are sinks. As letters they are of
#: `ALL_SINKS`, where else the name of an agent is.
ALL_SINKS = "sinks"
SINKS_DEAD = f"{ALL_SINKS}.dead"


@dataclass(frozen=True)
class AgentTopics:
    """What an agent reads and writes, without prefix and deployment.

    Attributes:
        source: an input, or a topic of the deployment.
        outputs: by the name that the agent gives them: topic, and what it carries.
        forming: what it publishes beside its checkpoints, if anything.
    """

    source: str
    outputs: Mapping[str, tuple[str, str]]
    forming: str | None = None


def _windowed(
    agent: str, source: str, bars: str, records: str, kind: str, **more: tuple[str, str]
) -> AgentTopics:
    return AgentTopics(
        source,
        {
            "bars": (bars, f"closed {kind} and their revisions"),
            "late": (f"{agent}.late", f"{records} beyond the correction horizon"),
            "dead": _dead(agent),
            **more,
        },
        forming=f"forming {kind}",
    )


def _features(agent: str, source: str) -> AgentTopics:
    return AgentTopics(
        source,
        {
            "features": ("features", "sliding and session features of trades and quotes"),
            "late": (f"{agent}.late", f"{source} that came after the grace"),
            "dead": _dead(agent),
        },
    )


def _anomalies(agent: str, source: str) -> AgentTopics:
    return AgentTopics(
        source,
        {
            "anomalies": ("anomalies", "scores of closed bars and quote bars that are odd"),
            ALERTS: ALERT_EVENTS,
            "dead": _dead(agent),
        },
    )


def _quality(agent: str, source: str) -> AgentTopics:
    return AgentTopics(
        source,
        {
            "quality": ("quality", "gaps, outliers and other events, and summaries a session"),
            "clean": (f"{source}.clean", f"{source} without what was flagged"),
            ALERTS: ALERT_EVENTS,
        },
    )


def _dead(agent: str) -> tuple[str, str]:
    return f"{agent}.dead", "bad records: raw bytes, reason and position in headers"


PORTFOLIO_INPUT = ("portfolio.input", "transactions, updates, prices and marks, by account")
AGENT_TOPICS: Mapping[str, AgentTopics] = {
    "bars": _windowed(
        "bars", "ticks", "bars", "trades", "bars", activity=("activity", "bars by activity")
    ),
    "quotes": _windowed("quotes", "quotes", "quotes.bars", "quotes", "quote bars"),
    "indicators": AgentTopics(
        "bars",
        {
            "indicators": ("indicators", "indicators of each closed bar, and moves of aliases"),
            "dead": _dead("indicators"),
        },
    ),
    "features": _features("features", "ticks"),
    "quote_features": _features("quote_features", "quotes"),
    "quality": _quality("quality", "ticks"),
    "quote_quality": _quality("quote_quality", "quotes"),
    "routing": AgentTopics(
        "bars",
        {
            "legs": ("pairs.input", "bars of pairs, by pair"),
            "portfolio": PORTFOLIO_INPUT,
            "dead": _dead("routing"),
        },
    ),
    "pairs": AgentTopics(
        "pairs.input",
        {"pairs": ("pairs", "correlation and spread of pairs"), "dead": _dead("pairs")},
    ),
    "transactions": AgentTopics(
        "transactions", {"portfolio": PORTFOLIO_INPUT, "dead": _dead("transactions")}
    ),
    "portfolio": AgentTopics(
        "portfolio.input",
        {
            "positions": ("portfolio.positions", "positions as they change, and priced"),
            "values": ("portfolio.values", "totals of accounts: cash, equity, profit and loss"),
            "limits": ("portfolio.limits", "limits that accounts begin and cease to break"),
            ALERTS: ALERT_EVENTS,
            "late": ("portfolio.late", "records beyond the late horizon"),
            "dead": _dead("portfolio"),
        },
    ),
    "anomalies": _anomalies("anomalies", "bars"),
    "quote_anomalies": _anomalies("quote_anomalies", "quotes.bars"),
    "price_alerts": AgentTopics("bars", {ALERTS: ALERT_EVENTS, "dead": _dead("price_alerts")}),
    "alerts": AgentTopics(
        "alerts.events",
        {
            "notifications": ("notifications", "messages for people, by channel"),
            "undelivered": ("notifications.dead", "those that a channel never takes"),
            "dead": _dead("alerts"),
        },
    ),
    "predictions": AgentTopics(
        "indicators",
        {
            "predictions": ("predictions", "predicted returns of each closed bar, with intervals"),
            "outcomes": ("predictions.outcomes", "what became of each prediction"),
            "monitoring": ("predictions.monitoring", "hourly: errors, coverage, drift of versions"),
            "dead": _dead("predictions"),
        },
    ),
}
#: Outputs that there are only where they are asked for.
ACTIVITY = "activity"

#: Every agent there is.
AGENTS = tuple(AGENT_TOPICS)
#: Those that have dead letters; the quality agents leave them to the bars and quotes agents.
BURYING = tuple(agent for agent, each in AGENT_TOPICS.items() if "dead" in each.outputs)


@dataclass(frozen=True)
class TopicSpec:
    """One topic as it must be on the broker. `retention_ms` and sizes as Kafka names them."""

    name: str
    carries: str
    partitions: int
    replication: int
    cleanup: Literal["delete", "compact"]
    retention_ms: int | None
    max_message_bytes: int
    min_insync_replicas: int

    @property
    def configuration(self) -> dict[str, str]:
        """The broker's configuration entries that are set at creation and checked at start."""
        entries = {
            "cleanup.policy": self.cleanup,
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(self.max_message_bytes),
            "min.insync.replicas": str(self.min_insync_replicas),
        }
        if self.retention_ms is not None:
            entries["retention.ms"] = str(self.retention_ms)
        return entries


def input_topic(settings: Settings, name: str) -> str:
    """Name of an input topic; all deployments of a prefix share it."""
    return f"{settings.topic_prefix}{name}"


def ticks_topic(settings: Settings) -> str:
    """Name of the trades' input topic."""
    return input_topic(settings, "ticks")


def quotes_topic(settings: Settings) -> str:
    """Name of the quotes' input topic."""
    return input_topic(settings, "quotes")


def output_topic(settings: Settings, output: str) -> str:
    """Name of a topic of the deployment: `bars`, `quotes.bars`, `AGENT.late`, `.changelog` ..."""
    return f"{settings.topic_prefix}{settings.deployment}.{output}"


def source_topic(settings: Settings, agent: str) -> str:
    """Name of the topic that an agent reads."""
    source = AGENT_TOPICS[agent].source
    return input_topic(settings, source) if source in INPUTS else output_topic(settings, source)


def output_topics(settings: Settings, agent: str) -> dict[str, str]:
    """Names of the topics that an agent writes, by the name that it gives them."""
    return {
        output: output_topic(settings, name)
        for output, (name, _) in _outputs(settings, agent).items()
    }


def _outputs(settings: Settings, agent: str) -> dict[str, tuple[str, str]]:
    """Those outputs of an agent that there are."""
    outputs = dict(AGENT_TOPICS[agent].outputs)
    if not settings.bars.activity:
        outputs.pop(ACTIVITY, None)
    if agent == "routing":
        # Each stage behind it is asked for by its own settings.
        if not settings.pairs.pairs:
            del outputs["legs"]
        if not settings.portfolio.enabled:
            del outputs["portfolio"]
    if agent in RAISING and agent not in settings.raising.agents:
        del outputs[ALERTS]
    return outputs


def bars_topic(settings: Settings, agent: str) -> str:
    """Name of the topic of an agent's closed bars: `DEPLOYMENT.bars`, `DEPLOYMENT.quotes.bars`."""
    return output_topics(settings, agent)["bars"]


def own_topics(settings: Settings) -> list[str]:
    """Names of the topics that are the deployment's own: all but the inputs."""
    shared = {input_topic(settings, name) for name in INPUTS}
    return [spec.name for spec in topic_table(settings) if spec.name not in shared]


def removable_topics(settings: Settings) -> list[str]:
    """Names of the deployment's own topics, and of those that its settings have switched off since.

    Those are outputs of the agents that there are only where they are asked for, and what sinks
    never take.
    """
    outputs = [
        output_topic(settings, name)
        for agent in settings.agents
        for name, _ in AGENT_TOPICS[agent].outputs.values()
    ]
    dead = output_topic(settings, SINKS_DEAD)
    return list(dict.fromkeys([*own_topics(settings), *outputs, dead]))


def topic_table(settings: Settings) -> tuple[TopicSpec, ...]:
    """Every topic of this deployment's agents, inputs first."""
    chosen = settings.topics
    retention = chosen.retention // NANOSECONDS["ms"]
    found: dict[str, TopicSpec] = {}

    def add(
        name: str,
        carries: str,
        *,
        cleanup: Literal["delete", "compact"] = "delete",
        retention_ms: int | None = retention,
        headroom: int = 0,
    ) -> None:
        found.setdefault(
            name,
            TopicSpec(
                name=name,
                carries=carries,
                partitions=chosen.partitions,
                replication=chosen.replication,
                cleanup=cleanup,
                retention_ms=None if cleanup == "compact" else retention_ms,
                max_message_bytes=chosen.max_message_bytes + headroom,
                min_insync_replicas=chosen.min_insync_replicas,
            ),
        )

    carried = dict([ALERT_EVENTS])
    carried |= {
        name: text for each in AGENT_TOPICS.values() for name, text in each.outputs.values()
    }
    for agent in settings.agents:
        source = AGENT_TOPICS[agent].source
        add(source_topic(settings, agent), INPUTS.get(source) or carried[source])
    for agent in settings.agents:
        topics = AGENT_TOPICS[agent]
        for output, (name, text) in _outputs(settings, agent).items():
            headroom = DEAD_HEADROOM if output == "dead" else 0
            add(output_topic(settings, name), text, headroom=headroom)
        if topics.forming is not None:
            forming = output_topic(settings, f"{agent}.forming")
            add(forming, topics.forming, retention_ms=TEN_MINUTES_MS)
        changelog = output_topic(settings, f"{agent}.changelog")
        add(changelog, "state rows and markers", cleanup="compact")
    if chosen_sinks(settings.sinks, settings.influx, settings.postgres, settings.redis):
        text = "records that a sink never takes: raw bytes, reason and position in headers"
        add(output_topic(settings, SINKS_DEAD), text, headroom=DEAD_HEADROOM)
    return tuple(found.values())
