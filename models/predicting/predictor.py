"""A version at work: rows of features to predicted returns, with intervals around them.

A row's prediction has the same bits alone and in any batch: trees are added in their order for each
row by itself. One thread, since a second one costs more to wake than it saves. Refused, never
wrong: what is loaded is asked first whether it is for these features.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.predicting.boosting import TrainingError, load_booster
from models.predicting.manifest import Manifest
from models.predicting.online_version import OnlineVersion
from models.predicting.registry_contents import LoadedVersion
from models.predicting.registry_errors import CorruptModelError, MismatchedModelError

Rows = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

#: The file of an XGBoost version: UBJ, or JSON.
MODEL_FILES = ("model.ubj", "model.json")
_SHARE_BITS = 64


class Predictor(Protocol):
    """What predicts, of any kind."""

    @property
    def manifest(self) -> Manifest:
        """Of the version."""

    @property
    def size(self) -> int:
        """Bytes of its files. XGBoost holds 0.7 times as much in memory."""

    def predict(self, rows: Rows) -> Floats:
        """Return the predicted return of each row.

        Args:
            rows: shape (rows, features), NaN where there is nothing.

        Returns:
            shape (rows,); NaN, which is no prediction, for a row with an infinity: none was
            trained on.

        Raises:
            ValueError: another type or number of columns.
        """


#: Rows from which on a second thread pays (tests/bench/inference.py). No row's prediction depends
#: on the others, so their number changes no bit.
SHARED_ROWS = 256
THREADS = min(2, os.cpu_count() or 1)


class BoosterPredictor:
    """Trees of XGBoost.

    Raises:
        CorruptModelError: XGBoost cannot read it.
        MismatchedModelError: no file of a model, or one for other features than the manifest says.
        TrainingError: XGBoost is not installed; how to is said.
    """

    def __init__(self, version: LoadedVersion) -> None:
        self._version = version
        self._columns = len(version.manifest.feature_names)
        file = _model_file(version)
        where = version.where(file)
        try:
            self._booster = load_booster(version.files[file])
        except TrainingError:
            raise
        except ValueError as error:
            # Of XGBoost. Worse bytes end the process; hashes and `registry_trial.py` keep them off.
            fault = str(error).splitlines()[0]
            raise CorruptModelError(where, fault, "a model of XGBoost") from error
        self._threads = 1
        self._check(where)
        # Predictions are of all trees, unless training has stopped early and not cut the rest.
        best = self._booster.attr("best_iteration")
        self._range = (0, 0) if best is None else (0, int(best) + 1)

    def _check(self, where: str) -> None:
        found = self._booster.num_features()
        if found != self._columns:
            raise MismatchedModelError(where, f"{found} features", f"{self._columns} features")
        names = self._booster.feature_names
        expected = self._version.manifest.feature_names
        if names is not None and tuple(names) != expected:
            raise MismatchedModelError(where, f"features {', '.join(names)}", ", ".join(expected))
        shape = self._booster.inplace_predict(np.full((1, self._columns), np.nan, np.float32)).shape
        if shape != (1,):
            raise MismatchedModelError(where, f"predictions of shape {shape}", "one a row")

    @property
    def manifest(self) -> Manifest:
        return self._version.manifest

    @property
    def size(self) -> int:
        return self._version.size

    def predict(self, rows: Rows) -> Floats:
        _check_rows(rows, self._columns)
        if not len(rows):
            return np.empty(0)
        threads = THREADS if len(rows) >= SHARED_ROWS else 1
        if threads != self._threads:
            self._booster.set_param({"nthread": threads})
            self._threads = threads
        # The rows are checked above, `validate_features` would compare names of a data frame.
        found = self._booster.inplace_predict(
            rows, iteration_range=self._range, missing=np.nan, validate_features=False
        )
        return _without_infinities(rows, np.asarray(found, dtype=np.float64))


class EnsemblePredictor:
    """The weighted mean of versions, added in the order of the manifest.

    Raises:
        ModelError: a member that learns from what comes, or as the member's class says.
    """

    def __init__(self, version: LoadedVersion) -> None:
        self._version = version
        for each in version.members:
            if each.manifest.kind == "river":
                # Its predictions are those of who serves it, and in here it would not learn.
                where, found = version.where("manifest.json"), f"member {each.manifest.version}"
                raise MismatchedModelError(where, f"{found} of kind river", "kind xgboost")
        self.members = tuple(make_predictor(each) for each in version.members)
        self._weights = tuple(each.weight for each in version.manifest.members)

    @property
    def manifest(self) -> Manifest:
        return self._version.manifest

    @property
    def size(self) -> int:
        return self._version.size

    def predict(self, rows: Rows) -> Floats:
        total = np.zeros(len(rows))
        for weight, member in zip(self._weights, self.members, strict=True):
            total += weight * member.predict(rows)
        return total / sum(self._weights)


def make_predictor(version: LoadedVersion) -> Predictor:
    """Return what predicts by a version.

    One that learns from what comes, an `OnlineVersion`, predicts here as it did when it was
    published; who serves it lets it learn.

    Raises:
        ModelError: its kind is not known here, or as the kind's class says.
        TrainingError: as `BoosterPredictor`.
    """
    kind = version.manifest.kind
    if kind == "xgboost":
        return BoosterPredictor(version)
    if kind == "ensemble":
        return EnsemblePredictor(version)
    # Of the kinds that a manifest can name, `river` is left.
    return OnlineVersion(version)


def _model_file(version: LoadedVersion) -> str:
    found = [each for each in MODEL_FILES if each in version.files]
    if len(found) != 1:
        names = ", ".join(version.files) or "no file"
        raise MismatchedModelError(version.place, names, f"one of {' and '.join(MODEL_FILES)}")
    return found[0]


def _check_rows(rows: Rows, columns: int) -> None:
    if rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != columns:
        raise ValueError(
            f"rows of {rows.dtype}, shape {rows.shape}: expected float32, (rows, {columns})"
        )


def _without_infinities(rows: Rows, found: Floats) -> Floats:
    infinite = np.isinf(rows)
    if infinite.any():
        found[infinite.any(axis=1)] = np.nan
    return found


def predict_interval(
    predictor: Predictor, rows: Rows, alpha: float, scale: float | Floats | None = None
) -> tuple[Floats, Floats, Floats]:
    """Return predictions with the lower and upper bounds of their intervals.

    Args:
        rows: as `Predictor.predict` takes them.
        alpha: share of targets that may lie outside, 0 to 1.
        scale: mean absolute residual of each row's symbol, in returns, where it is known; else
            that of the calibration.

    Returns:
        three of shape (rows,): prediction, prediction minus and plus quantile times scale.

    Raises:
        MismatchedModelError: the version has no calibration, or one on too few rows for this alpha.
    """
    calibration = predictor.manifest.calibration
    quantile = None if calibration is None else calibration.quantile(alpha)
    if calibration is None or quantile is None:
        found = "no calibration" if calibration is None else f"{len(calibration.scores)} residuals"
        name = f"{predictor.manifest.name} {predictor.manifest.version}"
        raise MismatchedModelError(name, found, f"enough for intervals that miss {alpha:.3%}")
    predictions = predictor.predict(rows)
    half_width = quantile * (calibration.scale if scale is None else scale)
    return predictions, predictions - half_width, predictions + half_width


def assign(symbol: str, experiment: str, shares: Mapping[str, int]) -> str:
    """Return which of some models serves a symbol: always the same one, in every process.

    The place of a symbol is a SHA-256 of experiment and symbol. When shares change and their sum
    stays, only as many symbols move as must, if the order stays too. Another experiment deals anew.

    Args:
        shares: whole numbers of any sum: `{"champion": 90, "challenger": 10}`.

    Raises:
        ValueError: a share below 0, or all 0.
    """
    total = sum(shares.values())
    if total < 1 or min(shares.values()) < 0:
        raise ValueError(f"shares {dict(shares)}: expected none below 0, and one above")
    # The length keeps experiment `a`, symbol `b:c` apart from experiment `a:b`, symbol `c`.
    text = f"{len(experiment)}:{experiment}:{symbol}".encode()
    place = int.from_bytes(hashlib.sha256(text).digest()[: _SHARE_BITS // 8], "big")
    # In whole numbers: 0 to total - 1, each equally often.
    point = place * total >> _SHARE_BITS
    for name, share in shares.items():
        if point < share:
            return name
        point -= share
    raise AssertionError("a point beyond the sum of the shares")


def predict_assigned(
    predictors: Mapping[str, Predictor], assigned: Sequence[str], rows: Rows
) -> Floats:
    """Predict each row by the model it is assigned to: one call a model.

    Args:
        assigned: for each row, a name in `predictors`.
        rows: shape (rows, features).

    Returns:
        shape (rows,), in the rows' order.
    """
    found = np.empty(len(rows))
    for name in dict.fromkeys(assigned):
        chosen = np.array([each == name for each in assigned])
        found[chosen] = predictors[name].predict(rows[chosen])
    return found
