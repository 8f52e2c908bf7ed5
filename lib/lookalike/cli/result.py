"""The file of `lookalike run --result`: how the run ended, for those who do not get its exit code.

It is written twice: at the start, without an exit code, so that nobody takes the file of the night before for this
run's; and at the end, whatever the end is. A run that is killed leaves the first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from lookalike import config, config_file
from lookalike.catalogue.files import local_path
from lookalike.cli.exits import End
from lookalike.errors import ConfigError, LookalikeError, OutputError
from lookalike.progress import say
from lookalike.redaction import has_secret
from lookalike.safe_text import json_text
from lookalike.storage import disk
from lookalike.storage.files import write_atomic
from lookalike.storage.prefix import Prefix, in_store


class Result:
    """The result of one run, at a local path or in a store; without a place, nothing is written."""

    def __init__(self, place: str | None, config_path: Path, overrides: Sequence[str]) -> None:
        self._place = place
        self._config_path, self._overrides = config_path, overrides
        self._release_id: str | None = None
        self._started, self._clock = _now(), time.monotonic()

    def write_start(self) -> None:
        """Write that the run has started; raises ConfigError where nothing can be written."""
        if problem := self._write(None):
            raise ConfigError(problem)

    def write_success(self, outcome: str, release_id: str) -> None:
        """Write that the run published a release, or had nothing to do; raises OutputError."""
        self._release_id = release_id
        if problem := self._write(End(message=outcome)):
            raise OutputError(f"{problem}; the work of the run is done")

    def write_failure(self, end: End) -> None:
        """Write how the run failed, or say that this failed too: the run ends with its own exit code."""
        if problem := self._write(end):
            say(problem)

    def _write(self, end: End | None) -> str | None:
        """Write the file; return why it cannot be written, after which nothing more is tried."""
        if self._place is None:
            return None
        try:
            self._put(self._place, f"{json_text(self._content(end))}\n".encode())
        except LookalikeError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{error.strerror or error}; {disk.advice(error)}"
        else:
            return None
        place, self._place = self._place, None
        return f"--result {place}: {problem}"

    def _put(self, place: str, data: bytes) -> None:
        _check(place)
        if (path := local_path(place)) is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(Path(path), data)
        else:
            folder, _, name = place.rpartition("/")
            Prefix(folder, self._stores()).write(name, data)

    def _stores(self) -> config.StoreSettings:
        """Return the settings of stores, also where another section is wrong, which is then the result."""
        return config_file.load_stores(self._config_path, self._overrides)

    def _content(self, end: End | None) -> dict[str, object]:
        return {
            "exit_code": end.exit_code if end else None,
            "error": end.error if end else None,
            "message": end.message if end else "the run has not ended",
            "release_id": self._release_id,
            "seconds": round(time.monotonic() - self._clock, 3),
            "started_at": self._started,
            "ended_at": _now() if end else None,
        }


def _check(place: str) -> None:
    """Raise ConfigError for what is no place of a file."""
    if has_secret(place):
        raise ConfigError("it holds a password or a signed query; credentials belong in the environment")
    path = local_path(place)
    if not place or place.endswith("/") or (path is None and not in_store(place)):
        raise ConfigError("give the path of a file, or the URI of one in s3, gs or abfs")
    if path is not None and os.path.lexists(path) and not Path(path).is_file():
        raise ConfigError("what is there is no file; give the path of one")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
