"""The warehouse is tried as a run will use it."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyarrow import fs

from lookalike import config
from lookalike.doctor import stores
from lookalike.storage.prefix import Prefix, StoredObject


def settings(warehouse: str, endpoint: str | None = None, **catalogue: str) -> config.Settings:
    return config.Settings.model_validate(
        {
            "catalogue": {"path": "catalogue.parquet", **catalogue},
            "warehouse": {"path": warehouse},
            "stores": {"s3_endpoint": endpoint, "s3_region": "us-east-1"},
        }
    )


@pytest.fixture
def bucket(endpoint: str) -> str:
    """A bucket of the tests' S3 server."""
    fs.S3FileSystem(
        endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True, scheme="http"
    ).create_dir("doctor")
    return "s3://doctor"


def test_store_is_written_listed_read_replaced_and_left_as_it_was(endpoint: str, bucket: str) -> None:
    trial = stores.try_or_fail(settings(f"{bucket}/warehouse", endpoint))
    assert trial.check.state == "ok", trial.check
    assert "a list has what was written before" in trial.check.found
    assert trial.offset is not None
    assert abs(trial.offset) < 2
    assert Prefix(f"{bucket}/warehouse", settings("s3://x", endpoint).stores).objects() == {}


def test_bucket_that_is_not_there_fails(endpoint: str) -> None:
    found = stores.try_or_fail(settings("s3://nowhere/warehouse", endpoint))
    assert found.check.state == "fail"
    assert "nowhere" in found.check.found


class Careless(Prefix):
    """A store that lists only what was written some time ago."""

    def objects(self, below: str = "") -> dict[str, StoredObject]:
        return {}

    def write(self, name: str, data: bytes) -> None:
        pass

    def read(self, name: str) -> bytes | None:
        return b"second"

    def remove(self, name: str) -> None:
        pass


def test_store_that_does_not_list_what_was_written_is_refused() -> None:
    found = stores._try_store(Careless("s3://x/y", config.StoreSettings()))
    assert found.check.state == "fail"
    assert "it is not so that a list has what was written before" in found.check.found


class Ahead(Careless):
    """A store whose clock is a minute ahead."""

    def objects(self, below: str = "") -> dict[str, StoredObject]:
        return {self.name: StoredObject(5, datetime.fromtimestamp(time.time() + 60, UTC))} if self.there else {}

    def write(self, name: str, data: bytes) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "there", True)

    def remove(self, name: str) -> None:
        object.__setattr__(self, "there", False)


def test_clock_of_a_store_is_compared() -> None:
    found = stores._try_store(Ahead("s3://x/y", config.StoreSettings()))
    assert found.check.state == "ok"
    assert found.offset == pytest.approx(60, abs=2)


def test_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    trial = stores.try_or_fail(settings(str(tmp_path)))
    assert (trial.check.state, trial.offset) == ("ok", None)
    assert list(tmp_path.iterdir()) == []


def test_folder_in_which_two_runs_can_create_one_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_creates", lambda _: True)
    check = stores.try_or_fail(settings(str(tmp_path))).check
    assert check.state == "fail"
    assert "it is not so that a second run cannot create the file of a first" in check.found


def test_folder_that_cannot_be_made_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert stores.try_or_fail(settings(str(tmp_path / "file"))).check.state == "fail"


def test_what_the_job_reads_in_a_store_must_be_there(endpoint: str, bucket: str) -> None:
    told = settings(f"{bucket}/warehouse", endpoint, path=f"{bucket}/catalogue", image_root="pictures")
    assert stores.places(told) == {"catalogue.path": f"{bucket}/catalogue"}
    gone = stores.check_readable("catalogue.path", f"{bucket}/catalogue", told.stores)
    assert (gone.state, gone.found) == ("fail", f"there is nothing at {bucket}/catalogue")
    Prefix(f"{bucket}/catalogue", told.stores).write("part.parquet", b"x")
    assert stores.check_readable("catalogue.path", f"{bucket}/catalogue", told.stores).state == "ok"
    Prefix(f"{bucket}/catalogue", told.stores).remove_all("")
    answer = stores.on_executor(told)(None)
    assert answer == {"host": os.uname().nodename, "problems": [gone.found]}
    assert stores.check_executors([answer, {"host": "b", "problems": []}]).state == "fail"
    assert stores.check_executors([{"host": "b", "problems": []}]).state == "ok"
