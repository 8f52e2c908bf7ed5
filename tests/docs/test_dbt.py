"""The dbt package of docs/: its tests pass on a release that a job has made; each of them fails on a spoiled one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pytest

from support.drawn import ROOT
from support.pages import table

DBT = ROOT / ".venv/dbt/bin/dbt"
GOLDEN = ROOT / "tests/golden/0.5.0/warehouse"
MANY_YEARS = 100 * 365


def statuses(warehouse: Path, folder: Path, **variables: Any) -> dict[str, list[str]]:
    """Run the tests of the package over a warehouse; return the status of each, by the name of its kind."""
    project = shutil.copytree(ROOT / "docs/dbt", folder / "dbt")
    given = json.dumps({"lookalike_warehouse": str(warehouse), **variables})
    words = [DBT, "--no-version-check", "test", "--project-dir", project, "--profiles-dir", project, "--vars", given]
    # Nothing of the machine's own settings, and no network.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=folder)
    assert (project / "target/run_results.json").exists(), done.stdout + done.stderr
    results = json.loads((project / "target/run_results.json").read_text())["results"]
    nodes = json.loads((project / "target/manifest.json").read_text())["nodes"]
    found: dict[str, list[str]] = {}
    for result in results:
        found.setdefault(nodes[result["unique_id"]]["test_metadata"]["name"], []).append(result["status"])
    assert done.returncode == any(status != "pass" for its in found.values() for status in its), done.stdout
    assert "Deprecat" not in done.stdout
    return found


def test_release_of_a_job_passes_every_test(tmp_path: Path) -> None:
    found = statuses(GOLDEN, tmp_path, lookalike_max_age_days=MANY_YEARS)
    assert {status for its in found.values() for status in its} == {"pass"}
    shown = {name.strip("`") for row in table(ROOT / "docs/sql.md", "dbt") for name in row[0].split(", ")}
    assert shown == set(found)


TABLES = ("similar_items", "embeddings", "failures")

SPOILED = (
    "INSERT INTO similar_items SELECT * FROM similar_items WHERE item_id = 'item-01'",  # pairs and ranks, twice
    "UPDATE similar_items SET rank = 9 WHERE item_id = 'item-02' AND rank = 1",
    "UPDATE similar_items SET similar_item_id = item_id WHERE item_id = 'item-03'",
    "UPDATE similar_items SET similar_item_id = 'gone' WHERE item_id = 'item-04'",
    "UPDATE similar_items SET score = 1.1 WHERE item_id = 'item-05'",
    "UPDATE similar_items SET release_id = '20200101T000000Z-old' WHERE item_id = 'item-06'",
    "UPDATE similar_items SET score = NULL WHERE item_id = 'item-07'",
    "INSERT INTO failures SELECT * FROM failures",
    "INSERT INTO failures (item_id, reason) VALUES ('item-01', 'truncated')",
)


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """A release with a fault of each kind."""
    (tmp_path / "wh/current").mkdir(parents=True)
    with duckdb.connect() as connection:
        for name in TABLES:
            files = next(GOLDEN.glob("releases/*-b72700")) / name
            connection.sql(f"CREATE TABLE {name} AS SELECT * FROM '{files}/*.parquet'")
        for fault in SPOILED:
            connection.execute(fault)
        for name in TABLES:
            (tmp_path / "wh/current" / name).mkdir()
            connection.sql(f"COPY {name} TO '{tmp_path}/wh/current/{name}/part-0.parquet'")
    return tmp_path / "wh"


def test_every_kind_of_test_can_fail(spoiled: Path, tmp_path: Path) -> None:
    found = statuses(spoiled, tmp_path, lookalike_max_age_days=0)
    assert [kind for kind, its in found.items() if "fail" not in its] == []
    assert {status for its in found.values() for status in its} == {"pass", "fail"}
