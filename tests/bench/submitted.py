"""The job as it runs at night: `spark-submit` of a checkout, this one or an older one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contender
import pyarrow.parquet as pq

# Items of the catalogue that the model is calibrated on before anything is timed: more than the default settings draw.
COMPILED_ON = 600


@dataclass(frozen=True)
class Checkout:
    """A checkout by its folder; it runs with the packages of its own .venv, or else with those of this process."""

    folder: Path

    @property
    def bin(self) -> Path:
        """The folder of its Python and its spark-submit."""
        own = self.folder / ".venv" / "bin"
        return own if (own / "spark-submit").exists() else Path(sys.executable).parent

    def run(self, settings: Mapping[str, str], log: Path) -> dict[str, Any]:
        """Run the job; return its seconds, those of its start, and what it published; raises ContenderError."""
        command = [self.bin / "spark-submit", "jobs/embed.py", "--config", "conf/photos.yaml"]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        environment = {
            **{name: value for name, value in os.environ.items() if name != "SPARK_HOME"},
            "PYSPARK_PYTHON": str(self.bin / "python"),
            "PYTHONPATH": str(self.folder / "lib"),  # of the workers too, whatever the .venv knows
        }
        current = Path(settings["warehouse.path"], "current")
        before = current.resolve() if current.exists() else None
        start = time.monotonic()
        ready = None
        with log.open("wb", buffering=0) as kept:
            # spark-submit gives what the job writes to either on its standard output
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            assert process.stdout
            for line in process.stdout:
                # the first step's line: until then Python, the JVM and the session started
                ready = ready or (time.monotonic() - start if b" read: " in line else None)
                kept.write(line)
            ended = process.wait()
        seconds = time.monotonic() - start
        if ended or ready is None:
            raise contender.ContenderError(f"the job of {self.folder} ended with code {ended}, see {log}")
        record = json.loads((current / "release.json").read_text()) if current.resolve() != before else {}
        return {
            "seconds": round(seconds, 1),
            "start_up": round(ready, 1),
            "after_start_up": round(seconds - ready, 1),
            "embedded": record.get("pictures", {}).get("embedded", 0),
            "steps": record.get("seconds", {}),
        }

    def compile(self, settings: Mapping[str, str], warehouse: Path, log: Path) -> float:
        """Put the compiled model into a new warehouse; return the seconds of the step that made it."""
        first = warehouse.with_name(f"{warehouse.name}-first")
        first.mkdir(parents=True)
        table = pq.read_table(settings["catalogue.path"]).slice(0, COMPILED_ON)
        pq.write_table(table, first / "catalogue.parquet")
        own = {"catalogue.path": str(first / "catalogue.parquet"), "warehouse.path": str(first / "warehouse")}
        found = self.run({**settings, **own}, log)
        warehouse.mkdir()
        shutil.copytree(first / "warehouse" / "models", warehouse / "models")
        shutil.rmtree(first)
        return float(found["steps"]["model"])


def settings_for(task: contender.Task, warehouse: Path) -> dict[str, str]:
    """The defaults of the job, except these."""
    return {
        "catalogue.path": f"{task.catalogue}/catalogue.parquet",
        "catalogue.image_root": task.catalogue,
        "catalogue.keep_columns": "[]",
        "warehouse.path": str(warehouse),
        "model.weights": "bundled",
        "model.input_size": str(task.input_size),
    }
