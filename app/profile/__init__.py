"""The profile report: what recorded data are like, a page and a JSON file a symbol and day.

Data that flows: files -> `reading.records` -> the quality checks of `tables.quality`, as the agent
runs them, and beside them `collect.DayProfile` (bounded: one bucket a second) ->
`document.document` (plain values, the JSON file) -> `pages` (HTML without scripts, plots as
inline SVG of `plots`).
"""
