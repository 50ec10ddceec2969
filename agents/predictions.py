"""The predictions agent: indicators to predicted returns.

What comes in: batches of `DEPLOYMENT.indicators`, with moves of aliases among them. Where it is
kept: `models/predicting/serving.py`. What goes out: `predictions`, `predictions.outcomes`,
`predictions.monitoring`, and `predictions.dead`, with each checkpoint. Beside it: the registry is
read every few seconds, and what it says anew is appended to the partitions of the source.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from agents.derived import MAX_ENTRIES, DerivedStage, derived_configuration
from agents.indicators import requests_of
from agents.markets import market_context
from agents.registering import add_agent
from app.assembly import CandlewickApp
from app.durations import format_duration
from app.observe.masking import mask_addresses
from app.observe.model_gauges import ModelGauges
from app.settings import PREFIX, Settings, SettingsError
from models.predicting.boosting import TrainingError, import_xgboost
from models.predicting.features_plan import FeatureSetError
from models.predicting.features_registry import find_feature_set
from models.predicting.featuresets import FeatureSet
from models.predicting.registry import Registry
from models.predicting.serving import CHAMPION, CLOSE, PredictionsPartition, ServingConfiguration
from models.predicting.serving_models import Catalog, Slot, Wants

AGENT = "predictions"
_SECOND = 1_000_000_000

logger = logging.getLogger(__name__)


class PredictionsStage(DerivedStage):
    """A stage with a registry beside it."""

    def __init__(self, settings: Settings, max_entries: int = MAX_ENTRIES) -> None:
        """Check what is asked for.

        Raises:
            SettingsError: a model of bars that there are not, a feature set that there is not, or
                indicators that it lacks.
        """
        chosen = settings.predictions
        try:
            import_xgboost()
        except TrainingError as error:
            raise SettingsError(str(error)) from error
        lengths = {format_duration(length): length for length in settings.bars.intervals}
        wants = Wants(
            _intervals_of(settings, lengths),
            (CHAMPION, *chosen.challengers),
            _feature_sets(settings),
            chosen.max_horizon,
            settings.bars.fill_forward,
        )
        _check_indicators(settings, wants)
        place = settings.models.registry or settings.data_dir / "models"
        try:
            Registry.at(place)
        except (ImportError, ValueError) as error:
            shown = mask_addresses(str(place))
            raise SettingsError(
                f"{PREFIX}MODELS__REGISTRY={shown!r}: {mask_addresses(str(error))}"
            ) from error
        self.catalog = Catalog(
            lambda: Registry.at(place),
            wants,
            settings.models.max_loaded,
            settings.models.max_loaded_bytes,
        )
        self.poll = settings.models.poll / _SECOND
        #: What was logged.
        self._told: Mapping[Slot, str] = {}
        self._refused: frozenset[tuple[str, int, str]] = frozenset()
        configuration = derived_configuration(settings, AGENT, max_entries)
        serving = ServingConfiguration(
            lengths,
            chosen.alpha,
            chosen.rate,
            chosen.shares,
            chosen.experiment,
            settings.bars.max_ahead,
        )
        instruments = market_context(settings)
        super().__init__(
            settings,
            AGENT,
            lambda partition, read: PredictionsPartition(
                configuration, partition, read, serving, self.catalog, instruments
            ),
            PredictionsPartition.LOADED,
        )

    def refresh(self) -> None:
        """Read the registry once; blocks. What is wrong is logged when it begins and ends."""
        try:
            self.catalog.refresh()
        except Exception as error:  # noqa: BLE001
            # Of a client of some store that fsspec knows; the log's versions go on meanwhile.
            faults = {slot: mask_addresses(repr(error)) for slot in self.catalog.wants.slots}
        else:
            faults = {slot: mask_addresses(text) for slot, text in self.catalog.faults().items()}
        for slot, text in faults.items():
            if self._told.get(slot) != text:
                logger.error("model %s, %s: %s; what the log names goes on", *slot, text)
        for slot in self._told:
            if slot not in faults:
                logger.info("model %s, %s: can be followed again", *slot)
        refused = self.catalog.refused()
        for key, text in refused.items():
            if key not in self._refused:
                logger.error(
                    "model %s %d, which the log names, predicts nothing: %s",
                    *key[:2], mask_addresses(text),
                )  # fmt: skip
        self._told, self._refused = faults, frozenset(refused)


def _intervals_of(settings: Settings, lengths: Mapping[str, int]) -> Mapping[str, str]:
    written = settings.predictions.models
    name = f"{PREFIX}PREDICTIONS__MODELS"
    if not written:
        raise SettingsError(f"{name} is not set; expected MODEL@INTERVAL, such as returns@1m")
    found = dict(each.split("@") for each in written)
    for model, label in found.items():
        if label not in lengths:
            raise SettingsError(
                f"{name}={','.join(written)}: there are no bars of {label!r} for {model}; "
                f"expected {', '.join(lengths)} (bars.intervals)"
            )
    return found


def _feature_sets(settings: Settings) -> list[type[FeatureSet]]:
    found = []
    for written in settings.predictions.feature_sets:
        try:
            kind = find_feature_set(written)
        except FeatureSetError as error:
            raise SettingsError(
                f"{PREFIX}PREDICTIONS__FEATURE_SETS={written!r}: {error}"
            ) from error
        if kind not in found:
            found.append(kind)
    return found


def _check_indicators(settings: Settings, wants: Wants) -> None:
    """Refuse what would send every record to the dead topic."""
    requests = requests_of(settings)
    for label in sorted(set(wants.intervals.values())):
        names = [name for request in requests[label] for name in request.names]
        lacking = [CLOSE] if CLOSE not in names else []
        lacking += [
            each for kind in wants.kinds for each in kind.missing(names) if each not in lacking
        ]
        if lacking:
            text = settings.indicators.by_interval.get(label, settings.indicators.default)
            whole = ",".join([*filter(None, [text.strip()]), *_requests(lacking)])
            raise SettingsError(
                f"{PREFIX}INDICATORS__BY_INTERVAL: predictions of {label} need "
                f'{", ".join(lacking)}; expected {{"{label}":"{whole}"}}'
            )


def _requests(names: list[str]) -> list[str]:
    """Outputs as they are asked for: without the part behind the dot, each once."""
    return list(dict.fromkeys(each.rpartition(").")[0] + ")" if ")." in each else each
                              for each in names))  # fmt: skip


def make_stage(settings: Settings, max_entries: int = MAX_ENTRIES) -> PredictionsStage:
    """The predictions agent's part of a deployment.

    Raises:
        SettingsError: as `PredictionsStage`, `requests_of` and `market_context`.
    """
    return PredictionsStage(settings, max_entries)


def register(app: CandlewickApp, stage: PredictionsStage) -> None:
    """Declare the agent, and what follows the registry."""
    add_agent(app, stage)
    app.engine.metrics.read_on_loop(ModelGauges(stage.catalog))

    async def follow_registry() -> None:
        while not app.should_stop:
            await asyncio.to_thread(stage.refresh)
            await app.sleep(stage.poll)

    app.task(follow_registry)
