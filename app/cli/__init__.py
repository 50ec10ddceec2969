"""The `candlewick` command: one file a family of commands.

Each command reads the settings, overlays its options, calls one function of the engine and prints.
What may go wrong in the ordinary course of things is one line on standard error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import click

from app import __version__
from app.cli.alerts import alerts
from app.cli.anomalies import anomalies
from app.cli.archive import archive
from app.cli.backup import backup, restore
from app.cli.bars import bars
from app.cli.broker import broker
from app.cli.common import CandlewickGroup
from app.cli.completion import completion
from app.cli.dead import dead
from app.cli.doctor import doctor
from app.cli.features import features
from app.cli.feeds import replay
from app.cli.indicators import indicators
from app.cli.influx import influx
from app.cli.models import models
from app.cli.plot import plot
from app.cli.postgres import postgres
from app.cli.predict import predict
from app.cli.profile import profile
from app.cli.query import query
from app.cli.reconcile import reconcile
from app.cli.reset import reset
from app.cli.retrain import retrain
from app.cli.run import run
from app.cli.settings import settings
from app.cli.simulate import simulate
from app.cli.sink import sink
from app.cli.topics import topics
from app.cli.train import train
from app.cli.up import up
from app.cli.worker import worker


class Commands(CandlewickGroup):
    """All commands, by what they are for."""

    sections: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Start": ("up", "run", "doctor"),
        "Send": ("replay", "simulate"),
        "Look": (
            "bars",
            "indicators",
            "anomalies",
            "query",
            "plot",
            "reconcile",
            "profile",
            "dead",
            "topics",
            "settings",
        ),
        "Predict": ("train", "retrain", "predict", "models", "features"),
        "Operate": (
            "worker",
            "broker",
            "alerts",
            "sink",
            "influx",
            "postgres",
            "archive",
            "backup",
            "restore",
            "reset",
            "completion",
        ),
    }


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="candlewick")
def candlewick() -> None:
    """Market data, tick by tick, to exact bars: on Kafka, with Faust.

    New here: `candlewick up` starts everything and shows bars. Every setting has a name
    CANDLEWICK_...; `candlewick settings` prints them with their values. Options of a command win
    over the environment, the environment over the file that CANDLEWICK_CONFIG names (or
    candlewick.toml), the file over the defaults.

    \b
    Exit codes:
      0  done
      1  failed while running, or stopped before it had finished
      2  a wrong option, argument or setting
      3  a worker refuses to start: other settings than its state, a port in use
    """


for command in (
    alerts,
    anomalies,
    archive,
    backup,
    bars,
    broker,
    completion,
    dead,
    doctor,
    features,
    indicators,
    influx,
    models,
    plot,
    postgres,
    predict,
    profile,
    query,
    reconcile,
    replay,
    reset,
    restore,
    retrain,
    run,
    settings,
    simulate,
    sink,
    topics,
    train,
    up,
    worker,
):
    candlewick.add_command(command)


def main() -> None:
    """Entry point of the `candlewick` command."""
    candlewick(prog_name="candlewick")
