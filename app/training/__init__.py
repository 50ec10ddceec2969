"""The report of a training: what a model found, beside what needs no model, after costs.

Data that flows: `sources` (files of bars) -> `training.train_bars` -> rows
(`models.predicting.building`) -> `TrainedModel` and `Equity` -> `document.document` (plain values,
the JSON file) -> `pictures` (SVG) -> `pages` (HTML without scripts) -> `writing`. None of this
depends on a clock: the same bars give the same files.

And on to the registry: `publishing` makes a version of a model; `retraining` trains one, sets it
beside the champion (`comparing`), publishes it, and promotes it if it is better; `timing` says when
that is due, by a clock that is given.
"""
