"""What Grafana reads at its start: where the data is, and where the dashboards are.

No file holds an address or a secret: Grafana fills in variables of its environment.
"""

from __future__ import annotations

from typing import Any, Final

PROMETHEUS: Final = {"type": "prometheus", "uid": "candlewick-prometheus"}
INFLUXDB: Final = {"type": "influxdb", "uid": "candlewick-influxdb"}
#: Variables of Grafana's environment.
VARIABLES: Final = (
    "PROMETHEUS_URL",
    "INFLUX_URL",
    "INFLUX_ORGANIZATION",
    "INFLUX_BUCKET",
    "INFLUX_TOKEN",
)
#: Where the dashboards are mounted.
FOLDER: Final = "/etc/grafana/candlewick"


def datasources() -> dict[str, Any]:
    """Return Grafana's file of data sources.

    `timeInterval` is how often Prometheus scrapes, as `deploy/prometheus/prometheus.yml` has it.
    """
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "Candlewick Prometheus",
                **PROMETHEUS,
                "access": "proxy",
                "url": "${PROMETHEUS_URL}",
                "isDefault": True,
                "editable": False,
                "jsonData": {"httpMethod": "POST", "timeInterval": "15s"},
            },
            {
                "name": "Candlewick InfluxDB",
                **INFLUXDB,
                "access": "proxy",
                "url": "${INFLUX_URL}",
                "editable": False,
                "jsonData": {
                    "version": "Flux",
                    "organization": "${INFLUX_ORGANIZATION}",
                    "defaultBucket": "${INFLUX_BUCKET}",
                },
                "secureJsonData": {"token": "${INFLUX_TOKEN}"},
            },
        ],
    }


def providers() -> dict[str, Any]:
    """Return Grafana's file that says where dashboards are; what is edited there is not kept."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "candlewick",
                "folder": "Candlewick",
                "folderUid": "candlewick",
                "type": "file",
                "disableDeletion": True,
                "allowUiUpdates": False,
                "options": {"path": FOLDER},
            }
        ],
    }
