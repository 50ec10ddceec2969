"""The dashboard of the models: which versions predict, and what became of what they said."""

from __future__ import annotations

from app.observe.dashboards.engine import JOB
from app.observe.dashboards.flux import BUCKETS, MODEL, PIVOT, points, tag_values
from app.observe.dashboards.model import Dashboard, Flux, Panel, Promql, Row, Style, Variable
from app.observe.dashboards.promql import of, quantiles, rate, total

_PREDICTIONS = 'agent="predictions"'
_OUTCOMES = "prediction_outcomes"
_BY = '["alias", "version"]'
#: Of outcomes, rows of these, each alias and version in a table of its own.
_WINDOWED = (
    '  |> aggregateWindow(every: ${window}, fn: mean, column: "{column}", createEmpty: false)\n'
    '  |> keep(columns: ["_time", "alias", "version", "{column}"])'
)


def _outcomes(fields: tuple[str, ...], mapped: str, column: str) -> str:
    """Return the mean of something over windows, for each alias and version."""
    made = (
        f'{{_time: r._time, alias: r.alias, version: string(v: r.version), "{column}": {mapped}}}'
    )
    return (
        f"{points(_OUTCOMES, [*fields, 'version'], MODEL)}\n"
        f"{PIVOT}\n"
        f"  |> map(fn: (r) => ({made}))\n"
        f"  |> group(columns: {_BY})\n"
        '  |> sort(columns: ["_time"])\n' + _WINDOWED.replace("{column}", column)
    )


def _distance(field: str) -> str:
    """Return how far a prediction of `field` was off."""
    return f"if r.target > {field} then r.target - {field} else {field} - r.target"


_VERSIONS = Row(
    "Versions",
    (
        Panel(
            "Version",
            "That each alias names in the registry and that can be loaded; 0: none.",
            "none",
            (
                Promql(
                    f"max by (model, alias) ({of('candlewick_model_version', agent=False)})",
                    "{{model}} {{alias}}",
                ),
            ),
            width=8,
        ),
        Panel(
            "Faults",
            "1: what an alias names cannot be followed, the version before goes on. Refused: "
            "versions that the log names and that cannot be loaded; they predict nothing.",
            "none",
            (
                Promql(
                    f"max by (model, alias) ({of('candlewick_model_fault', agent=False)})",
                    "{{model}} {{alias}}",
                ),
                Promql(f"max({of('candlewick_models_refused', agent=False)})", "refused"),
            ),
            width=8,
        ),
        Panel(
            "Bars without a prediction",
            "A second, by reason: `warm_up`, `no_model`, `other_market`.",
            "cps",
            (
                Promql(
                    total(
                        "reason",
                        rate("candlewick_ignored_records_total", _PREDICTIONS, agent=False),
                    ),
                    "{{reason}}",
                ),
            ),
            width=8,
        ),
        Panel(
            "Predictions",
            "Committed a second, and what became of them.",
            "cps",
            (
                Promql(
                    total(
                        "output",
                        rate("candlewick_output_records_total", _PREDICTIONS, agent=False),
                    ),
                    "{{output}}",
                ),
            ),
            width=8,
        ),
        Panel(
            "Time of a batch",
            "Features, inference and intervals of a fetch of indicators.",
            "s",
            quantiles("candlewick_batch_seconds", "agent", _PREDICTIONS, agent=False),
            width=8,
        ),
        Panel(
            "From append to prediction",
            "From the append of a bar's indicators to the commit of its prediction.",
            "s",
            quantiles(
                "candlewick_end_to_end_latency_seconds",
                "agent",
                _PREDICTIONS,
                'effect="output"',
                agent=False,
            ),
            width=8,
        ),
    ),
)

_WORTH = Row(
    "What predictions were worth",
    (
        Panel(
            "Mean absolute error",
            "Of the returns that came less those predicted, over the chosen windows, by alias and "
            "version.",
            "percentunit",
            (Flux(_outcomes(("prediction", "target"), _distance("r.prediction"), "error")),),
            width=12,
        ),
        Panel(
            "The same of saying nothing",
            "What always predicting 0 would have been off. A model that is not below this is worth "
            "nothing.",
            "percentunit",
            (Flux(_outcomes(("target",), _distance("0.0"), "error")),),
            width=12,
        ),
        Panel(
            "Coverage of the intervals",
            "Which share of the returns came within. It should be what `predictions.alpha` leaves: "
            "0.9 unless told otherwise.",
            "percentunit",
            (Flux(_outcomes(("inside",), "if r.inside then 1.0 else 0.0", "coverage")),),
            width=12,
            limits=(0, 1),
        ),
        Panel(
            "Right direction",
            "Share of the predictions that had the sign of the return that came, of those where "
            "one came.",
            "percentunit",
            (
                Flux(
                    _outcomes(
                        ("prediction", "target"),
                        "if r.prediction * r.target > 0.0 then 1.0 else 0.0",
                        "right",
                    ).replace(
                        f"{PIVOT}\n",
                        f"{PIVOT}\n  |> filter(fn: (r) => r.target != 0.0)\n",
                    )
                ),
            ),
            width=12,
            limits=(0, 1),
            thresholds=((None, "red"), (0.5, "green")),
        ),
        Panel(
            "Outcomes",
            "How many there are, by symbol, alias and interval.",
            "short",
            (
                Flux(
                    points(_OUTCOMES, ["target"], MODEL)
                    + '\n  |> group(columns: ["symbol", "alias", "interval"])\n'
                    + "  |> count()\n  |> group()\n"
                    + '  |> rename(columns: {_value: "outcomes"})'
                ),
            ),
            kind="table",
            width=12,
            styles=(Style("outcomes", {"unit": "short"}),),
        ),
    ),
)

MODELS = Dashboard(
    "models",
    "Models",
    "Which versions predict, how fast, and what became of their predictions.",
    (_VERSIONS, _WORTH),
    variables=(
        JOB,
        Variable("bucket", "Bucket", Flux(BUCKETS)),
        Variable("model", "Model", Flux(tag_values("model", "predictions"))),
        Variable("window", "Window", choices=("1m", "5m", "15m", "1h", "1d")),
    ),
    span="6h",
    refresh="1m",
)
