"""Whether all machines of a cluster see the same files: the folder of the warehouse, the catalogue, the pictures.

A machine without the warehouse's folder would write to a disk of its own, and one without the pictures would call all
of them missing. So the driver writes a file of random content, and every task of ours looks for it before it works. At
the start of each step, executors that came since the last one also write a file, for which the driver looks.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from py4j.protocol import Py4JError
from pyspark import TaskContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from lookalike.errors import CatalogueError, LookalikeError, WarehouseError

# Spark gives the settings of a session that begin with `spark.` to the tasks of its queries.
SETTING = "spark.lookalike.sharedFolder"

# Seconds between two looks for a file of another machine, which a file server may show a little later.
_PAUSE = 0.25

# Spark spreads tasks evenly over executors that are free: the first round has reached all of them in every try.
_ROUNDS = 3


@dataclass(frozen=True)
class Expected:
    """What every machine must see: within some seconds a file with this content, and inputs by their setting's name."""

    file: str | None
    content: str
    inputs: Mapping[str, str]
    seconds: float = 5.0

    def problem(self) -> LookalikeError | None:
        """Return the error that names what this machine does not see; None when it sees all."""
        host = socket.gethostname()
        if self.file is not None and (reason := self.unseen(self.file)):
            return WarehouseError(_line(f"{host} does not see {self.file}, which the driver has written", reason, host))
        for setting, path in self.inputs.items():
            if not has_content(path):
                error = WarehouseError if setting.startswith("warehouse.") else CatalogueError
                return error(
                    f"{setting}: {host} does not see {path}, or finds it empty, and the driver sees it; give all "
                    f"machines of the cluster the same files under this path, or leave {host} out of it"
                )
        return None

    def unseen(self, file: str) -> str | None:
        """Return why a file with the content is not seen; None when it is."""
        deadline = time.monotonic() + self.seconds
        while reason := _difference(file, self.content):
            if time.monotonic() > deadline:
                return reason
            time.sleep(_PAUSE)
        return None


@dataclass(frozen=True)
class _Answer:
    """What a task found: its executor and host, the error, if any, and the file that it has written."""

    executor: str
    host: str
    problem: LookalikeError | None
    file: str | None


def need_seen(expected: str | None = None) -> None:
    """Raise WarehouseError or CatalogueError in a task on a machine that lacks what all must see.

    `expected` is for tasks of no query, to which Spark does not give it; see `of_session`.
    """
    context = TaskContext.get()
    text = expected or (context and context.getLocalProperty(SETTING))
    if text and (problem := Expected(**json.loads(text)).problem()):
        raise problem


def of_session(spark: SparkSession) -> str | None:
    """Return what the tasks of this session must see; None outside of `all_machines`, and on a single machine."""
    return spark.conf.get(SETTING, None)


@contextmanager
def all_machines(spark: SparkSession, work: Path | None, inputs: Mapping[str, str]) -> Iterator[Callable[[], None]]:
    """Have every task in the context look for a file in `work`, and for the `inputs` that the driver sees.

    Give a function that asks all executors that it has not asked yet; it raises WarehouseError or CatalogueError.
    """
    if _is_one_machine(spark):
        yield lambda: None
        return
    file = None if work is None else work / "seen" / "driver"
    seen = {setting: path for setting, path in inputs.items() if has_content(path)}
    expected = Expected(None if file is None else str(file), secrets.token_hex(16), seen)
    if file is not None:
        file.parent.mkdir()
        file.write_text(expected.content)
    spark.conf.set(SETTING, json.dumps(asdict(expected)))
    executors = _Executors(spark, expected)
    try:
        yield executors.check
    except Exception:
        # Spark's own reader, on a machine that came since, may be the cause: it names the file, and no machine.
        with suppress(Py4JError, PySparkException, ConnectionError):
            executors.check()
        raise
    finally:
        spark.conf.unset(SETTING)


class _Executors:
    """The executors of a run, of which each is asked once."""

    def __init__(self, spark: SparkSession, expected: Expected) -> None:
        self._context, self._expected = spark.sparkContext, expected
        self._asked: set[tuple[str, int]] = set()
        self._refused = False

    def check(self) -> None:
        """Ask the executors that came since the last call; raises WarehouseError or CatalogueError, once."""
        present = self._present()
        if self._refused or present <= self._asked:
            return
        executors = set[str]()
        for _ in range(_ROUNDS):
            for answer in self._ask(2 * len(present)):
                self._check(answer)
                executors.add(answer.executor)
            if len(executors) >= len(present) - 1:  # the driver is one of them
                # Else one has registered and takes no tasks yet: it is asked the next time.
                self._asked = present
                break

    def _present(self) -> set[tuple[str, int]]:
        return {(one.host, one.port) for one in self._context.statusTracker().getExecutorInfos()}

    def _ask(self, tasks: int) -> list[_Answer]:
        expected = self._expected
        return self._context.parallelize(range(tasks), tasks).map(lambda _: _answer(expected)).collect()

    def _check(self, answer: _Answer) -> None:
        problem = answer.problem
        if answer.file and (reason := self._expected.unseen(answer.file)):
            what = f"the driver does not see {answer.file}, which {answer.host} has written"
            problem = WarehouseError(_line(what, reason, answer.host))
        if problem is not None:
            self._refused = True
            raise problem


def _answer(expected: Expected) -> _Answer:
    """Look for what must be seen and write a file next to the driver's, in a task."""
    host = socket.gethostname()
    executor = os.environ.get("SPARK_LOCAL_DIRS", host)  # Spark makes a folder for each executor
    problem, file = expected.problem(), None
    if problem is None and expected.file is not None:
        file = os.path.join(os.path.dirname(expected.file), f"{host}-{secrets.token_hex(8)}")
        try:
            Path(file).write_text(expected.content)
        except OSError as error:
            problem = WarehouseError(_line(f"{host} cannot write {file}", str(error.strerror), host))
    return _Answer(executor, host, problem, file)


def _line(what: str, reason: str, host: str) -> str:
    return (
        f"warehouse.path: {what} ({reason}); mount the warehouse's folder on all machines under the same path, leave "
        f"{host} out of the cluster, or give a warehouse in an object store"
    )


def _difference(path: str, content: str) -> str | None:
    try:
        return None if Path(path).read_bytes() == content.encode() else "it has another content"
    except OSError as error:
        return str(error.strerror)


def has_content(path: str) -> bool:
    """Return whether a path is a file, or a folder with anything in it: where nothing is mounted, it is often empty."""
    with suppress(OSError):
        return os.path.isfile(path) or next(os.scandir(path), None) is not None
    return False


def _is_one_machine(spark: SparkSession) -> bool:
    return re.match(r"local(\[|$)", str(spark.sparkContext.master)) is not None
