"""files.json of a release in the making: what its tasks have saved, and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lookalike.errors import CountError
from lookalike.spark import release_check
from lookalike.warehouse.release import Staged
from lookalike.warehouse.release_files import NAME, ReleaseFiles
from support import staging


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    """A release of an index and a page, as tasks and the driver have saved them."""
    staged = staging.stage(tmp_path)
    for path in (staged.index / "b.ann", staged.index / "a.ann", staged.report):
        staged.shared.here(path).write_bytes(path.name.encode())
        staged.add([staged.save(path)])
    return staged


def test_it_lists_the_files_by_name_without_what_stopped_tasks_have_left(staged: Staged) -> None:
    unfinished = staged.index / ".a.ann.0f"
    unfinished.write_bytes(b"half")
    record = release_check.write_files_json(staged)
    data = (staged.root / NAME).read_bytes()
    listed = ReleaseFiles.model_validate_json(data).files
    assert [file.name for file in listed] == ["index/a.ann", "index/b.ann", "report.html"]
    assert list(listed) == staging.files_of(staged)
    assert (record.count, record.bytes, record.sha256) == (3, 21, hashlib.sha256(data).hexdigest())
    assert not unfinished.exists()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("index/a.ann", None, "index/a.ann is not there as it was written"),
        ("index/a.ann", b"a", "index/a.ann is not there as it was written"),
        ("failures/foreign.parquet", b"", "failures/foreign.parquet was not written by this run"),
    ],
    ids=["gone", "cut", "foreign"],
)
def test_release_with_other_files_than_the_run_wrote_is_not_listed(
    staged: Staged, name: str, data: bytes | None, words: str
) -> None:
    path = staged.shared.here(staged.root / name)
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(CountError, match=f"1 of 3 files in .*{words}"):
        release_check.write_files_json(staged)
    assert not (staged.root / NAME).exists()
