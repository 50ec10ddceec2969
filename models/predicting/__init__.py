"""Predictions of the return over the next bars: features, training, intervals, versions.

Data that flows, live and in training the same code:

    bars -> IndicatorSet (tables/indicators) -> values by name, with CLOSE among them
         -> FeatureSet (one a symbol and interval) -> a row of float32, NaN where there is nothing
         -> Predictor of a model version -> predicted return, and an interval around it

The target of a row at bar t is `close[t + horizon] / close[t] - 1`: known `horizon` bars later, so
a label lies strictly after its features. Rows of training come from the same `FeatureSet`s, fed bar
by bar, never from a column computed over all of them.

A version of a model is a folder of plain files (UBJ or JSON, never pickle) with a manifest: what it
was trained on, by which features (their hash), with which scores, and the residuals that calibrate
its intervals. Which version is the champion is said by an alias.

Invariants:

- *Point in time*: a row depends on bars up to its own (`lookahead.py` checks any feature set);
- *Deterministic*: training twice on the same rows gives the same bytes;
- *Honest*: every report has the baselines zero, last value and AR(1) beside the model's score;
- *Refused, never wrong*: a model whose bytes, features or version do not fit predicts nothing.

| file | what it knows |
|---|---|
| `dataset.py` | rows for training and what they are of |
| `featuresets.py`, `features_*.py` | declared features, the built-in set, users' sets |
| `building.py`, `lookahead.py` | rows from bars; whether a feature looks ahead |
| `splits.py`, `training.py`, `boosting.py` | walk-forward, XGBoost |
| `baselines.py`, `scoring.py`, `equity.py` | what it is compared with, what it earns |
| `planted.py` | rows and bars with a signal that was put there, and without |
| `conformal.py` | intervals: split conformal, adaptive conformal |
| `drift.py` | whether features still lie where they lay in training (PSI) |
| `monitoring.py`, `monitoring_*.py` | live errors, coverage; challenger beside champion |
| `online.py`, `online_*.py` | a version that learns from each return that comes |
| `serving.py`, `serving_*.py` | the agent's state: predictions, outcomes, swaps, by the log |
| `manifest.py`, `registry.py`, `registry_*.py` | versions, aliases, lineage |
| `predictor.py`, `cache.py` | a version at work; those that are loaded |
"""
