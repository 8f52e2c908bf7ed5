"""A real spark-submit, as a user types it in a shell in which nothing is set up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from support import quick_spark
from support.drawn import ROOT

SPARK_SUBMIT = Path(sys.executable).parent / "spark-submit"


@dataclass(frozen=True)
class Run:
    """One spark-submit: its exit code and what it printed."""

    code: int
    output: str

    def one_line(self) -> str:
        """The error, after the lines that name the steps."""
        assert "Traceback" not in self.output, self.output
        assert "\tat " not in self.output, self.output
        return without_time(self.output.strip().splitlines()[-1])


def without_time(line: str) -> str:
    """A line of a log as a terminal shows it."""
    return re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", "", line)


def submit(job: str, config: Path, *overrides: str, words: Sequence[str] = (), quick: bool = True) -> Run:
    """Run a job as a user does from a shell in which nothing is set up; `quick` is with the settings of the tests."""
    settings = quick_spark.options(config.parent) if quick else []
    command: Sequence[str] = [str(SPARK_SUBMIT), "--master", "local[2]", *settings, str(ROOT / "jobs" / job)]
    options = [word for override in overrides for word in ("--set", override)]
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK", "JAVA"))}
    done = subprocess.run(
        [*command, "--config", str(config), *options, *words],
        env=bare,
        cwd=config.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    return Run(done.returncode, done.stdout)
