"""One contender is one script in one fresh process: what goes in, what comes out, and its Spark session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / "build" / "bench"


@dataclass(frozen=True)
class Task:
    """What a contender is told. `work` is a folder for its output, `catalogue` holds its pictures."""

    catalogue: str
    pictures: int
    input_size: int
    cores: int
    work: str
    precision: str = "int8"
    engine: str = "litert"
    nights: int = 1  # on which 1 % of the pictures change, of nights.py
    beside: str = ""  # another checkout, whose nights are run too
    started: float = 0.0  # time.time() when the process was asked for

    @property
    def artefact(self) -> Path:
        """The compiled model, written by prepare.py."""
        return Path(self.work) / f"{self.precision}-{self.engine}-{self.input_size}.tflite"


class Told(Protocol):
    """What `start` needs of a task, which is any dataclass with these."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def work(self) -> str:
        """Folder for its output."""

    @property
    def cores(self) -> int:
        """How many it may use."""


AnyTask = TypeVar("AnyTask", bound=Told)


class ContenderError(RuntimeError):
    """A contender that did not end well; the text names its log."""


def start(script: str, task: Told, log: Path | None, **variables: str) -> dict[str, Any]:
    """Run tests/bench/<script>.py on `task` in a process of its own; raises ContenderError.

    `variables` are added to its environment. Without a `log` it writes where this process does.
    """
    answer = Path(task.work) / "answer.json"
    answer.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "SPARK_HOME"} | {
        "PYSPARK_PYTHON": sys.executable,
        # Of Spark's workers too; the code is this checkout's, whichever the .venv knows.
        "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent, ROOT / "lib"))),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        **variables,
    }
    told = {**asdict(task), "started": time.time()}
    with log.open("wb") if log else nullcontext() as output:
        ended = subprocess.run(
            [sys.executable, str(HERE / f"{script}.py"), json.dumps(told), str(answer)],
            cwd=task.work,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode or not answer.exists():
        raise ContenderError(f"ended with code {ended.returncode}, see {log or 'above'}")
    return json.loads(answer.read_text())


def main(measure: Callable[[AnyTask], dict[str, Any]], kind: type[AnyTask] = Task) -> None:
    """The other side of `start`."""
    task = kind(**json.loads(sys.argv[1]))
    Path(sys.argv[2]).write_text(json.dumps(measure(task)))


@contextmanager
def spark_session(task: Told) -> Iterator[Any]:
    """The jobs' session on all cores, the same for every contender."""
    from pyspark.sql import SparkSession

    from lookalike.cli.session import SESSION

    spark = (
        SparkSession.builder.appName("bench")
        .master(f"local[{task.cores}]")
        .config(map=SESSION)
        .config("spark.driver.memory", "2g")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.warehouse.dir", f"{task.work}/spark-warehouse")
        .getOrCreate()
    )
    try:
        yield spark
    finally:
        spark.stop()


def speeds(task: Task, end_to_end: float, steady: float) -> dict[str, float]:
    """Seconds as pictures a second: from the start of the process, and of a second pass with everything warm."""
    return {
        "end_to_end_seconds": round(end_to_end, 2),
        "end_to_end": round(task.pictures / end_to_end, 2),
        "steady_seconds": round(steady, 2),
        "steady": round(task.pictures / steady, 2),
    }
