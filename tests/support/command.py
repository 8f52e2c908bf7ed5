"""The command in this process, over the session that the tests share: for what is not about the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from lookalike import config
from lookalike.cli import session
from lookalike.cli.main import app
from support.submit import Run


def command(spark: SparkSession, words: str, file: Path, *more: str) -> Run:
    """What `lookalike WORDS --config FILE` says, and its exit code; what it does not turn into one is raised."""

    @contextmanager
    def shared(_command: str, _settings: config.Settings) -> Iterator[SparkSession]:
        yield spark

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "session", shared)
        done = CliRunner().invoke(app, [*words.split(), "--config", str(file), *more])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Run(done.exit_code, done.output)


def override(*settings: str) -> list[str]:
    """As options, one `--set` each."""
    return [word for setting in settings for word in ("--set", setting)]
