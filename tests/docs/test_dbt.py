"""The dbt package of docs/: its tests pass on a release that a job has made; each of them fails on a spoiled one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import duckdb

from support.drawn import ROOT
from support.pages import table

PYTHON = ROOT / ".venv/dbt/bin/python"
GOLDEN = ROOT / "tests/golden/0.5.0/warehouse"
MANY_YEARS = 100 * 365

# Its own environment; the runs share one process, of which the start takes longest.
SCRIPT = """
import json, sys
from dbt.cli.main import dbtRunner
for target, given in json.loads(sys.argv[2]).items():
    done = dbtRunner().invoke(
        ["--no-version-check", "test", "--project-dir", sys.argv[1], "--profiles-dir", sys.argv[1]]
        + ["--target-path", target, "--vars", json.dumps(given)]
    )
    assert done.exception is None, done.exception
    print(f"success of {target}: {done.success}")
"""

Statuses = dict[str, list[str]]


def statuses(folder: Path, runs: dict[str, dict[str, Any]]) -> dict[str, Statuses]:
    """Run the tests of the package with some variables; return the status of each, by the name of its kind."""
    project = shutil.copytree(ROOT / "docs/dbt", folder / "dbt")
    # Nothing of the machine's own settings, and no network.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "http_proxy": "http://127.0.0.1:9"}
    words = [PYTHON, "-c", SCRIPT, project, json.dumps(runs)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Deprecat" not in done.stdout
    found = {name: _of_run(project / name) for name in runs}
    for name, kinds in found.items():
        passed = all(status == "pass" for its in kinds.values() for status in its)
        assert f"success of {name}: {passed}" in done.stdout
    return found


def _of_run(target: Path) -> Statuses:
    nodes = json.loads((target / "manifest.json").read_text())["nodes"]
    found: Statuses = {}
    for result in json.loads((target / "run_results.json").read_text())["results"]:
        found.setdefault(nodes[result["unique_id"]]["test_metadata"]["name"], []).append(result["status"])
    return found


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
    "INSERT INTO changes SELECT * FROM changes",
    "INSERT INTO failures (item_id, reason) VALUES ('item-01', 'truncated')",
)


def write_release(release: Path, *faults: str) -> None:
    """Write the tables of a release, with some faults."""
    with duckdb.connect() as connection:
        for name in TABLES:
            files = next(GOLDEN.glob("releases/*-b72700")) / name
            connection.sql(f"CREATE TABLE {name} AS SELECT * FROM '{files}/*.parquet'")
        ids = "SELECT DISTINCT item_id FROM similar_items"  # version 0.5.0 wrote no changes
        connection.sql(f"CREATE TABLE changes AS SELECT 'list' AS kind, 'upsert' AS change, item_id FROM ({ids})")
        for fault in faults:
            connection.execute(fault)
        for name in (*TABLES, "changes"):
            (release / name).mkdir(parents=True)
            connection.sql(f"COPY {name} TO '{release / name}/part-0.parquet'")


def test_release_of_a_job_passes_every_test_and_each_can_fail(tmp_path: Path) -> None:
    write_release(tmp_path / "sound")
    write_release(tmp_path / "spoiled", *SPOILED)
    sound = {"lookalike_release": str(tmp_path / "sound"), "lookalike_max_age_days": MANY_YEARS}
    spoiled = {"lookalike_release": str(tmp_path / "spoiled"), "lookalike_max_age_days": 0}
    found = statuses(tmp_path, {"sound": sound, "spoiled": spoiled})
    assert {status for its in found["sound"].values() for status in its} == {"pass"}
    assert [kind for kind, its in found["spoiled"].items() if "fail" not in its] == []
    assert {status for its in found["spoiled"].values() for status in its} == {"pass", "fail"}
    shown = {name.strip("`") for row in table(ROOT / "docs/sql.md", "dbt") for name in row[0].split(", ")}
    assert shown == set(found["sound"])
