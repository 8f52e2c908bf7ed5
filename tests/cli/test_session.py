"""What the command tells Spark's scripts before they start a JVM."""

from __future__ import annotations

import errno
import io
import logging
import os
import pickle
import sys
from pathlib import Path

import pyspark
import pytest
from pyspark.core import broadcast
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.cli import session
from lookalike.errors import SessionError

SETTINGS = config.Settings(catalogue=config.CatalogueSettings(path="c"), warehouse=config.WarehouseSettings(path="w"))
NAMES = ("SPARK_HOME", "SPARK_CONF_DIR", "PYSPARK_PYTHON")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No variable of Spark's is set; what the test sets goes again."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def environment() -> dict[str, str | None]:
    session.set_environment()
    return {name: os.environ.get(name) for name in NAMES}


def test_spark_is_that_of_this_python_with_the_projects_settings(bare: pytest.MonkeyPatch) -> None:
    assert environment() == {
        "SPARK_HOME": pyspark.__path__[0],
        "SPARK_CONF_DIR": str(session.SPARK_CONF),
        "PYSPARK_PYTHON": sys.executable,
    }
    assert (session.SPARK_CONF / "spark-defaults.conf").is_file()


def test_what_the_user_has_set_stays(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("SPARK_CONF_DIR", "/etc/spark")
    bare.setenv("PYSPARK_PYTHON", "/usr/bin/python3")
    assert environment() == {
        "SPARK_HOME": pyspark.__path__[0],
        "SPARK_CONF_DIR": "/etc/spark",
        "PYSPARK_PYTHON": "/usr/bin/python3",
    }


def test_spark_of_the_users_own_keeps_its_own_settings(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("SPARK_HOME", "/opt/spark")
    assert environment() == {"SPARK_HOME": "/opt/spark", "SPARK_CONF_DIR": None, "PYSPARK_PYTHON": sys.executable}


def test_spark_connect_is_refused_in_one_line(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("SPARK_REMOTE", "sc://spark.example")
    with pytest.raises(SessionError, match="Spark Connect cannot run this job, which uses RDDs; unset SPARK_REMOTE"):
        session.session("run", SETTINGS).__enter__()


def test_blank_in_the_path_is_hidden_behind_a_link(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Spark's load-spark-env.sh does not quote it."""
    conf = tmp_path / "my folder" / "conf"
    conf.mkdir(parents=True)
    bare.setattr(session, "SPARK_CONF", conf)
    found = environment()["SPARK_CONF_DIR"]
    assert found is not None
    assert " " not in found
    assert Path(found).resolve() == conf


def test_signal_while_spark_starts_shows_no_stack_of_the_call_that_it_cut(
    bare: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted(*_: object) -> None:
        cut = {"module": "java_gateway", "levelno": logging.ERROR, "msg": "KeyboardInterrupt while sending command."}
        logging.getLogger().handle(logging.makeLogRecord(cut))
        raise KeyboardInterrupt

    bare.setattr(session, "_start", interrupted)
    bare.setattr(logging.getLogger(), "filters", [])
    with pytest.raises(KeyboardInterrupt), session.session("run", SETTINGS):
        pass
    assert caplog.records == []


@pytest.mark.parametrize("wrong", ["select nope", "select 1 / (id - id) from range(1)"])
def test_wrong_sql_logs_no_stack(spark: SparkSession, wrong: str, caplog: pytest.LogCaptureFixture) -> None:
    session.silence_stacks()
    for name in [one for one in logging.root.manager.loggerDict if one.endswith("QueryContextLogger")]:
        logging.getLogger(name).addHandler(caplog.handler)
    with pytest.raises(PySparkException):
        spark.sql(wrong).collect()
    assert not caplog.records


class FullDisk(io.RawIOBase):
    """A file on it."""

    def writable(self) -> bool:
        return True

    def write(self, _bytes: object) -> int:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


def test_disk_that_refuses_a_broadcast_shows_no_stack(
    bare: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bare.setattr(broadcast, "print_exec", vars(broadcast)["print_exec"])  # for it to be as it was after the test
    session.silence_stacks()
    with pytest.raises(pickle.PicklingError, match="File too large"):
        broadcast.Broadcast.dump(object.__new__(broadcast.Broadcast), [1], FullDisk())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("encoding", "folder"), [("ANSI_X3.4-1968", "Möbel"), ("ISO-8859-1", "日本")])
def test_warehouse_that_java_cannot_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, spark: SparkSession, encoding: str, folder: str
) -> None:
    def check(path: str) -> None:
        warehouse = config.WarehouseSettings(path=path)
        session._check_names(spark, config.Settings(catalogue=config.CatalogueSettings(path="c"), warehouse=warehouse))

    check(folder)
    monkeypatch.setattr(session.names, "java_encoding", lambda _: encoding)
    check("ascii")
    with pytest.raises(SessionError, match=f"as {encoding}.*{folder}; start the job with LC_ALL=C.UTF-8"):
        check(folder)
