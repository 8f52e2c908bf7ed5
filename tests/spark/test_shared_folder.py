"""A machine that does not see what all must see: a named error with its name and the path, from any task."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from pyspark.sql import SparkSession

from lookalike.cli import exits
from lookalike.errors import CatalogueError, WarehouseError
from lookalike.spark import shared_folder
from lookalike.spark.shared_folder import Expected, all_machines
from lookalike.spark.tasks import collect_tasks, run_tasks
from support.drawn import ROOT

HOST = socket.gethostname()

# Where functions are given to Python workers, and where these begin.
GIVEN = re.compile(r"\.(mapInArrow|applyInArrow)\(|^ *@arrow_udf\(|\.parallelize\(")
BEGINS = re.compile(r"\bstart_task\(")

# Of these, doctor/hosts.py asks before a run, and also machines that lack this package: they cannot call it.
WITHOUT = {"cli/class_archive.py", "doctor/hosts.py", "embedding/reading.py", "spark/shared_folder.py"}


@contextmanager
def expected(spark: SparkSession, **what: object) -> Iterator[None]:
    """Have the tasks of the session look for this, without patience."""
    spark.conf.set(
        shared_folder.SETTING, json.dumps({"file": None, "content": "c", "inputs": {}, "seconds": 0, **what})
    )
    try:
        yield
    finally:
        spark.conf.unset(shared_folder.SETTING)


@pytest.mark.parametrize("content", [None, "", "another"])
@pytest.mark.parametrize("of_query", [True, False])
def test_task_on_a_machine_without_the_folder_names_both(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, of_query: bool
) -> None:
    file = tmp_path / "driver"
    if content is not None:
        file.write_text(content)

    def run() -> object:
        return run_tasks(spark, 1, lambda _: [], "a int").collect() if of_query else collect_tasks(spark, 1, str)

    with expected(spark, file=str(file)):
        with pytest.raises(typer.Exit) as ended, exits.exit_code():
            run()
        assert ended.value.exit_code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(
            f"WarehouseError: warehouse.path: {HOST} does not see {file}, which the driver has written"
        )
        file.write_text("c")
        run()


@pytest.mark.parametrize("there", ["nothing", "an empty folder"])
def test_machine_without_the_pictures_is_named(tmp_path: Path, there: str) -> None:
    root = tmp_path / "pictures"
    if there == "an empty folder":
        root.mkdir()
    problem = Expected(None, "", {"catalogue.image_root": str(root)}).problem()
    assert isinstance(problem, CatalogueError)
    assert str(problem).startswith(f"catalogue.image_root: {HOST} does not see {root}, or finds it empty")
    assert isinstance(Expected(None, "", {"warehouse.path": str(root)}).problem(), WarehouseError)
    root.mkdir(exist_ok=True)
    (root / "a.jpg").write_bytes(b"")
    assert Expected(None, "", {"catalogue.image_root": str(root)}).problem() is None


def test_one_machine_looks_for_nothing(spark: SparkSession, tmp_path: Path) -> None:
    with all_machines(spark, tmp_path, {"catalogue.path": str(tmp_path)}) as check:
        assert shared_folder.of_session(spark) is None
        check()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the session of the tests count as one of several machines."""
    monkeypatch.setattr(shared_folder, "_is_one_machine", lambda _: False)


@pytest.mark.usefixtures("cluster")
def test_every_executor_is_asked_once_and_writes_a_file(spark: SparkSession, tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.parquet"
    catalogue.write_bytes(b"")
    inputs = {"catalogue.path": str(catalogue), "catalogue.image_root": str(tmp_path / "only on others")}
    with all_machines(spark, tmp_path, inputs) as check:
        found = Expected(**json.loads(shared_folder.of_session(spark) or ""))
        assert found.inputs == {"catalogue.path": str(catalogue)}  # what the driver does not see, nobody has to
        check()
        names = {path.name for path in (tmp_path / "seen").iterdir()}
        assert {name.rpartition("-")[0] or name for name in names} == {"driver", HOST}
        check()
        assert {path.name for path in (tmp_path / "seen").iterdir()} == names
        assert collect_tasks(spark, 2, str) == ["0", "1"]
        (tmp_path / "seen/driver").unlink()
    assert collect_tasks(spark, 2, str) == ["0", "1"]  # the run is over


@pytest.mark.usefixtures("cluster")
def test_executor_that_does_not_see_the_folder_ends_the_run(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_folder, "Expected", lambda *all_: Expected(*all_, seconds=0))
    with all_machines(spark, tmp_path, {}) as check:
        (tmp_path / "seen/driver").unlink()
        with pytest.raises(WarehouseError, match=f"{HOST} does not see {tmp_path}/seen/driver, which the driver"):
            check()


@pytest.mark.usefixtures("cluster")
def test_file_of_an_executor_that_the_driver_does_not_see_ends_the_run(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = shared_folder._Answer("executor", "far", None, str(tmp_path / "far-1"))
    monkeypatch.setattr(shared_folder, "Expected", lambda *all_: Expected(*all_, seconds=0))
    monkeypatch.setattr(shared_folder._Executors, "_ask", lambda *_: [lost])
    with all_machines(spark, tmp_path, {}) as check, pytest.raises(WarehouseError) as raised:
        check()
    assert f"the driver does not see {tmp_path}/far-1, which far has written (No such file" in str(raised.value)


@pytest.mark.usefixtures("cluster")
def test_machine_that_has_come_since_is_named_in_place_of_what_it_could_not_read(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [shared_folder._Answer("first", "near", None, None)]
    far = shared_folder._Answer("second", "far", WarehouseError("far does not see x"), None)
    present = {("driver", 1), ("near", 2)}
    monkeypatch.setattr(shared_folder._Executors, "_ask", lambda *_: answers)
    monkeypatch.setattr(shared_folder._Executors, "_present", lambda _: set(present))

    def run(name: str, registers: bool, works: bool) -> None:
        """A machine registers before the first look, or after it, and takes no tasks before it."""
        (tmp_path / name).mkdir()
        present.discard(("far", 3))
        with all_machines(spark, tmp_path / name, {}) as check:
            if registers:
                present.add(("far", 3))
            check()
            if works:
                present.add(("far", 3))
                answers.append(far)
            raise LookupError

    with pytest.raises(LookupError):
        run("one", registers=False, works=False)
    with pytest.raises(WarehouseError, match="far does not see"):
        run("two", registers=False, works=True)
    answers.remove(far)
    with pytest.raises(WarehouseError, match="far does not see"):
        run("three", registers=True, works=True)
    assert shared_folder.of_session(spark) is None


def test_every_function_for_a_worker_looks_first() -> None:
    """By their number in each module; those of embedding/reading.py are in embedding/task.py."""
    library = ROOT / "lib/lookalike"
    for path in sorted(library.rglob("*.py")):
        if (name := path.relative_to(library).as_posix()) not in WITHOUT:
            text = path.read_text().splitlines()
            given, begins = (sum(bool(kind.search(line)) for line in text) for kind in (GIVEN, BEGINS))
            assert begins >= given, f"{name} gives {given} functions to workers, of which {begins} look"
