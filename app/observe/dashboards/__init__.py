"""Grafana's dashboards from code; `python -m app.observe.dashboards --write` makes the files.

Read `model.py` (what a panel is), `flux.py` (queries of InfluxDB), then the dashboards `market.py`,
`engine.py`, `sinks.py`, `models.py`. `building.py` makes Grafana's JSON of them with its Foundation
SDK, `provisioning.py` the data sources. No worker imports it.
"""
