"""`candlewick influx` against a real InfluxDB: made once, found the second time, rights, tasks."""

from __future__ import annotations

import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from influxdb_client.rest import ApiException

from app.influx.client import InfluxError, open_client
from app.influx.setup import Done, set_up
from app.settings import Settings
from app.sinks.driver import Place
from app.sinks.influx import InfluxDriver
from tests.command import candlewick
from tests.influx.real import Account, settings_of
from tests.influx.records import MINUTE, bar, fetch, flush_all
from tests.influx_server import InfluxServer
from tests.notify.servers import closed_port

HOUR = 60 * MINUTE


def again(server: InfluxServer, operator: str, bucket: str, **influx: str) -> Done:
    """Set up what is set up; no secret may be told."""
    told: dict[str, str] = {}
    done = set_up(settings_of(server, bucket, influx=influx), operator, told.__setitem__)
    assert told == {}
    return done


def test_a_second_set_up_changes_nothing(
    shared_server: tuple[InfluxServer, str], account: Account
) -> None:
    server, operator = shared_server
    done = again(server, operator, account.bucket)
    assert done.changes == []
    assert done.found == [
        "organization candlewick",
        f"bucket {account.bucket}, kept 365d",
        f"bucket {account.bucket}_ticks, kept 90d",
        f"bucket {account.bucket}_history, kept for ever",
        f"task 'candlewick {account.bucket}: bars_1h', active",
        f"task 'candlewick {account.bucket}: quote_bars_1h', active",
        f"token 'candlewick {account.bucket}: writer', given out when it was made",
        f"token 'candlewick {account.bucket}: reader', given out when it was made",
    ]


def test_a_retention_is_lengthened_and_shortened_only_where_that_is_said(
    shared_server: tuple[InfluxServer, str], account: Account
) -> None:
    server, operator = shared_server
    name = account.bucket
    done = again(server, operator, name, tick_retention="0s", bar_retention="400d")
    assert done.changes == [
        f"bucket {name} was kept 365d, is kept 400d",
        f"bucket {name}_ticks was kept 90d, is kept for ever",
    ]
    assert again(server, operator, name, tick_retention="0s", bar_retention="400d").changes == []
    with pytest.raises(InfluxError, match=r"_ticks is kept for ever, .* --shorten"):
        again(server, operator, name, bar_retention="400d")
    settings = settings_of(server, name)
    done = set_up(settings, operator, dict[str, str]().__setitem__, shorten=True)
    assert len(done.changes) == 2


def test_renewed_tokens_take_the_place_of_the_old_ones(
    shared_server: tuple[InfluxServer, str], account: Account
) -> None:
    server, operator = shared_server
    renewed: dict[str, str] = {}
    set_up(settings_of(server, account.bucket), operator, renewed.__setitem__, renew=True)
    assert sorted(renewed) == ["reader", "writer"]
    assert set(renewed.values()).isdisjoint(account.tokens.values())
    with open_client(account.settings.influx, operator) as client:
        listed = client.authorizations_api().find_authorizations()
    valid = {each.token for each in listed}
    assert set(renewed.values()) <= valid
    assert valid.isdisjoint(account.tokens.values())


def test_a_token_that_may_not_set_up_is_told_so(
    shared_server: tuple[InfluxServer, str], account: Account
) -> None:
    server, _ = shared_server
    for operator in (account.tokens["writer"], "none"):
        with pytest.raises(InfluxError, match="refuses: HTTP 4"):
            again(server, operator, f"{account.bucket}-more")
    with pytest.raises(InfluxError, match="set up already"):
        set_up(settings_of(server, account.bucket), None, dict[str, str]().__setitem__)
    nowhere = Settings(influx={"url": f"http://127.0.0.1:{closed_port()}"})  # type: ignore[arg-type]
    with pytest.raises(InfluxError, match="does not answer"):
        set_up(nowhere, "token", dict[str, str]().__setitem__)


@asynccontextmanager
async def _writing(account: Account) -> AsyncIterator[InfluxDriver]:
    driver = InfluxDriver(account.settings)
    try:
        yield driver
    finally:
        await driver.close()


def _state(api: Any, task: str, run: str) -> str:
    """How far a run is; between its end and the record of that, InfluxDB knows no such run."""
    try:
        return str(api.get_run(task, run).status)
    except ApiException as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return "nowhere"


async def test_a_task_keeps_hours_of_bars_and_takes_in_what_came_late(
    shared_server: tuple[InfluxServer, str], account: Account
) -> None:
    _, operator = shared_server
    hour = time.time_ns() // HOUR * HOUR - 3 * HOUR
    prices = [(10.0, 12.0, 9.0, 11.0), (11.0, 15.0, 11.0, 14.0), (14.0, 14.0, 8.0, 9.0)]
    values = [
        bar(
            number + 1, hour + number * 15 * MINUTE, interval="15m",
            open=p[0], high=p[1], low=p[2], close=p[3], volume=100.0,
        )
        for number, p in enumerate(prices)
    ]  # fmt: skip
    # Of another interval: not counted twice.
    values.append(bar(9, hour, high=99.0, volume=1.0))
    name = f"candlewick {account.bucket}: bars_1h"

    def run() -> list[dict[str, str]]:
        with open_client(account.settings.influx, operator) as client:
            api = client.tasks_api()
            (task,) = api.find_tasks(name=name)
            started = api.run_manually(task.id)
            deadline = time.monotonic() + 30
            while (state := _state(api, task.id, started.id)) != "success":
                assert state in ("scheduled", "started", "nowhere")
                assert time.monotonic() < deadline, state
                time.sleep(0.1)
        return account.rows("bars_1h", "_history")

    async with _writing(account) as driver:
        driver.add("bars", fetch(values))
        await flush_all(driver, {Place("bars", 0): 4}, hour)
        (row,) = run()
        assert {key: float(row[key]) for key in ("open", "high", "low", "close")} == {
            "open": 10.0, "high": 15.0, "low": 8.0, "close": 9.0,
        }  # fmt: skip
        assert (float(row["volume"]), int(row["trades"]), row["symbol"]) == (300.0, 6, "SPY")
        begin = datetime.fromtimestamp(hour / 1e9, UTC)
        assert row["_time"] == begin.strftime("%Y-%m-%dT%H:%M:%SZ")
        late = bar(4, hour + 45 * MINUTE, interval="15m", close=20.0, high=21.0, volume=50.0)
        driver.add("bars", fetch([late], base=4))
        await flush_all(driver, {Place("bars", 0): 5}, hour)
    (row,) = run()
    assert (float(row["close"]), float(row["high"]), float(row["volume"])) == (20.0, 21.0, 350.0)


def test_the_command_sets_a_new_influxdb_up_and_writes_tokens_that_only_we_read(
    program: Path, tmp_path: Path
) -> None:
    with InfluxServer(program, tmp_path / "server") as server:
        environment = {"CANDLEWICK_INFLUX__URL": server.url}
        arguments = ("influx", "setup", "--write-tokens", "secrets")
        first = candlewick(tmp_path, *arguments, settings=environment)
        assert first.code == 0, first.errors
        folder = tmp_path / "secrets"
        files = sorted(folder.iterdir())
        assert [each.name for each in files] == [
            "operator.token", "password.token", "reader.token", "writer.token",
        ]  # fmt: skip
        assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        contents = {each.name: each.read_bytes() for each in files}
        for content in contents.values():
            assert content.decode().strip() not in first.output + first.errors
        second = candlewick(tmp_path, *arguments, settings=environment)
        assert second.code == 0, second.errors
        assert "nothing to change" in second.errors
        assert {each.name: each.read_bytes() for each in files} == contents

        token = {"CANDLEWICK_INFLUX__TOKEN_FILE": str(folder / "writer.token")}
        checked = candlewick(tmp_path, "influx", "check", settings=environment | token)
        assert checked.code == 0, checked.errors
        assert len(checked.output.splitlines()) == 4
        unset = candlewick(tmp_path, "influx", "check", settings=environment)
        assert (unset.code, unset.output) == (1, "")
        assert "TOKEN_FILE is not set" in unset.errors
