"""Where a worker listens, and by which name the others call it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings, SettingsError
from app.web.bind import advertised_host, check_port, free_port, require_loopback, web_settings

ROOT = Path(__file__).resolve().parents[2]
ISOLATED = ["unshare", "--net", "--map-root-user"]


def opened(host: str = "0.0.0.0", **web: object) -> Settings:
    return Settings(web={"host": host, "open_without_authentication": True, "port": 6066, **web})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_another_host_is_refused_with_the_way_out(host: str) -> None:
    settings = Settings(web={"host": host})
    for refused in (lambda: web_settings(settings), lambda: check_port(host, 6066)):
        with pytest.raises(SettingsError) as error:
            refused()
        assert f"CANDLEWICK_WEB__HOST={host!r}: expected a loopback address" in str(error.value)
        assert "CANDLEWICK_WEB__OPEN_WITHOUT_AUTHENTICATION=true" in str(error.value)
    assert require_loopback(host, opened=True) == host


def test_an_open_worker_listens_everywhere_and_goes_by_its_machines_name() -> None:
    found = web_settings(opened())
    assert found["web_bind"] == "0.0.0.0"
    assert found["canonical_url"] == f"http://{socket.gethostname()}:6066"
    assert found["web_host"] == socket.gethostname()


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (Settings(), "127.0.0.1"),
        (opened("::"), socket.gethostname()),
        (opened("10.0.0.7"), "10.0.0.7"),
        (opened("worker-1.internal"), "worker-1.internal"),
        (opened(advertised_host="worker-1.internal"), "worker-1.internal"),
        (Settings(web={"advertised_host": "localhost"}), "localhost"),
    ],
)
def test_the_name_for_other_workers(settings: Settings, name: str) -> None:
    assert advertised_host(settings.web) == name


def test_an_address_of_version_six_is_in_brackets() -> None:
    found = web_settings(opened("::", advertised_host="fd00::7"))
    assert found["canonical_url"] == "http://[fd00::7]:6066"


def test_a_host_that_is_not_this_machine_is_told() -> None:
    with pytest.raises(SettingsError, match=r"WEB__HOST='192\.0\.2\.1': .*of this machine"):
        check_port("192.0.2.1", free_port(), opened=True)


@pytest.mark.broker
def test_open_workers_reach_each_other_by_their_advertised_names(tmp_path: Path) -> None:
    """In a network of their own, so that nothing here is open to another machine."""
    try:
        subprocess.run([*ISOLATED, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace can be made here: {error}")
    ended = subprocess.run(
        [*ISOLATED, sys.executable, "-m", "tests.web.opened", str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["listening"] == [["0.0.0.0"], ["0.0.0.0"]]
    urls = [
        f"http://127.0.0.{last}:{port}" for last, port in zip((2, 3), found["ports"], strict=True)
    ]
    assert found["reached"] == dict.fromkeys(urls, 200)
    assert sorted(
        part for url in urls for parts in found["router"][url].values() for part in parts
    ) == [0, 1]
    assert [len(lines) for lines in found["warnings"]] == [1, 1]
    assert "without authentication" in found["warnings"][0][0]
    assert found["codes"] == [0, 0]
