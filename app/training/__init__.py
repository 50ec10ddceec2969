"""The report of a training: what a model found, beside what needs no model, after costs.

Data that flows: files of bars -> `training.train_files` -> rows (`models.predicting.building`) ->
`TrainedModel` and `Equity` -> `document.document` (plain values, the JSON file) -> `pictures` (SVG)
-> `pages` (HTML without scripts) -> `writing`. Nothing here depends on a clock: the same bars give
the same files.
"""
