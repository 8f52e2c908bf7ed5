"""The job in processes of its own, which a test kills, starves of disk, or waits for."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from support import processes, quick_spark
from support.submit import without_time

# The job as spark-submit runs it, in a session that starts as fast as one can.
DRIVER = """
import sys
from lookalike.cli.main import job

sys.argv[0] = "embed.py"
job("run")
"""

# A part of the command line of each kind of process that a run has.
PARTS = {"driver": 'job("run")', "jvm": "SparkSubmit", "worker": "pyspark.daemon"}


class JobProcess:
    """The job in a session of its own; with `largest_file`, in bytes, it can write no larger one."""

    def __init__(self, settings: Path, largest_file: int = resource.RLIM_INFINITY) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, "--config", str(settings)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                **quick_spark.environment(settings.parent),
            },
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file)),
        )
        self.said: list[str] = []

    def until(self, step: str) -> None:
        """Wait for the line that names the step."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(without_time(line))
            if self.said[-1].lstrip().startswith(f"{step}:"):
                return
        raise AssertionError("".join(self.said))

    def kill(self) -> None:
        """All its processes at once; then wait until the last of them has closed the pipe."""
        for number in processes.numbers_of_session(self.process.pid):
            _kill(number)
        self.end()

    def kill_one(self, part: str, rng: random.Random) -> None:
        """One process of this kind, if there is any."""
        if found := processes.numbers_of_session(self.process.pid, PARTS[part]):
            _kill(rng.choice(found))

    def end(self) -> int:
        """Wait for the end of all its processes; the exit code of the driver."""
        assert self.process.stderr is not None
        if not self.process.stderr.closed:
            self.said += map(without_time, self.process.stderr.readlines())
            self.process.stderr.close()
        return self.process.wait(timeout=120)


def _kill(number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)
