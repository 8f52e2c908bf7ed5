"""The archive of Spark's classes appears as a whole, with its end, or not at all."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from lookalike.cli import class_archive


@pytest.mark.parametrize("can_write", [True, False])
def test_archive_is_put_in_place_with_its_end_where_java_could_write_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, can_write: bool
) -> None:
    def end() -> None:
        if can_write:
            Path(os.environ["LOOKALIKE_WRITE_ARCHIVE"]).write_bytes(b"classes")
            Path(os.environ["LOOKALIKE_WRITE_ARCHIVE"]).chmod(0o444)

    monkeypatch.setenv("LOOKALIKE_WRITE_ARCHIVE", "")
    monkeypatch.setattr(class_archive, "session", lambda *_: nullcontext())
    monkeypatch.setattr(class_archive, "_java", lambda _: SimpleNamespace(communicate=end))
    monkeypatch.setattr(class_archive, "_run_queries", lambda *_: None)
    assert class_archive.write_archive(tmp_path / "spark.jsa") == can_write
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == ({"spark.jsa": b"classes\nwhole\n"} if can_write else {})
