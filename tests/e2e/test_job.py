"""The job end to end, through a real spark-submit, and what it says when the user got something wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from annoy import AnnoyIndex
from pyspark.sql import DataFrame, SparkSession

from lookalike.models.store import CompiledModel
from support import quick_spark
from support.brute_force import assert_same_neighbours, brute_force, published, vectors_of
from support.command import command, override
from support.drawn import PHOTOS, ROOT, Drawn
from support.processes import left_of_session, of_session
from support.shop import new_warehouse
from support.submit import SPARK_SUBMIT, Run, submit, without_time

# The command, as the script that set-up installs runs it.
COMMAND = "from lookalike.cli.main import app; app()"
NOT_BELOW_NOHUP = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); "


def write_config(folder: Path, drawn: Drawn, **sections: dict[str, Any]) -> Path:
    raw: dict[str, Any] = {
        "catalogue": {
            "path": str(drawn.path),
            "image_root": str(drawn.folder),
            "keep_columns": ["kind", "colour"],
        },
        "warehouse": {"path": str(folder / "warehouse")},
        "model": {"weights": "bundled", "calibration_pictures": 32, "fidelity_pictures": 32},
        "similar": {"k": 5, "group_by": "kind"},
        "gates": {"max_failed_share": 0.1},
    }
    for name, section in sections.items():
        raw[name] = {**raw.get(name, {}), **section}
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.fixture(scope="module")
def first(drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The warehouse of a first run, with all of Spark's own settings: nothing here is made quick."""
    folder = tmp_path_factory.mktemp("first")
    return published_by(submit("embed.py", write_config(folder, drawn), quick=False), folder)


@pytest.fixture(scope="module")
def second(spark: SparkSession, drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The warehouse of another run of the same catalogue, from nothing and in another process."""
    folder = tmp_path_factory.mktemp("second")
    return published_by(command(spark, "run", write_config(folder, drawn)), folder)


def published_by(run: Run, folder: Path) -> Path:
    assert run.code == 0, run.output
    assert "77 new, 0 changed, 0 unchanged, 0 removed, 0 failed before" in run.output
    assert "72 of 77 items have an embedding, 72 embedded by this run" in run.output
    return folder / "warehouse"


def table(spark: SparkSession, warehouse: Path, name: str) -> DataFrame:
    return spark.read.parquet(str(warehouse / "current" / name))


def test_release_is_whole_and_current(first: Path, drawn: Drawn) -> None:
    release_id = json.loads((first / "CURRENT").read_text())["release_id"]
    release = first / "releases" / release_id
    assert (first / "current").resolve() == release.resolve()
    assert sorted(path.name for path in release.iterdir()) == [
        "changes",
        "embeddings",
        "failures",
        "files.json",
        "index",
        "neighbours",
        "release.json",
        "report.html",
        "similar_items",
    ]
    facts = json.loads((release / "release.json").read_text())
    assert facts["release_id"] == release_id
    assert facts["parent"] is None
    assert (facts["counts"]["items"], facts["counts"]["embedded"], facts["counts"]["failed"]) == (77, 72, 5)
    assert all(gate["passed"] for gate in facts["gates"])
    labels = {one["column"]: (one["precision"], one["items"]) for one in facts["counts"]["labels"]}
    assert labels["kind"] == (1, 72)  # by similar.group_by
    assert 0 < labels["colour"][0] < 1
    assert facts["model"]["fidelity"]["mean_cosine"] > 0.99
    assert list(facts["seconds"]) == ["read", "model", "delta", "embed", "index", "neighbours", "quality", "report"]
    assert facts["changes"] == {"new": 77, "changed": 0, "unchanged": 0, "removed": 0, "failed": 0}
    assert facts["pictures"] == {"read": 77, "embedded": 72}
    assert facts["shards"]["built"] == len(list((release / "index").glob("*.ann")))
    assert not list((first / "work").iterdir())
    assert not list(first.glob("LOCK.*"))


def test_neighbours_are_the_brute_force_of_the_published_embeddings(first: Path, spark: SparkSession) -> None:
    embeddings = table(spark, first, "embeddings")
    kinds = {row["item_id"]: row["kind"] for row in embeddings.select("item_id", "kind").collect()}
    expected = brute_force(vectors_of(embeddings), kinds, 5)
    assert_same_neighbours(published(table(spark, first, "similar_items")), expected)


def test_plain_annoy_answers_like_the_table(first: Path, spark: SparkSession) -> None:
    neighbours = published(table(spark, first, "similar_items"))
    index = first / "current" / "index"
    manifest = json.loads((index / "index.json").read_text())
    for shard in manifest["shards"]:
        ids = pq.read_table(index / shard["items_file"])["item_id"].to_pylist()
        plain = AnnoyIndex(manifest["dimensions"], manifest["metric"])
        plain.load(str(index / shard["file"]))
        for position, item in enumerate(ids):
            found, distances = plain.get_nns_by_item(position, 6, search_k=100_000, include_distances=True)
            scores = {ids[n]: 1 - d * d / 2 for n, d in zip(found, distances, strict=True) if ids[n] != item}
            for other, score in neighbours.get(item, []):
                np.testing.assert_allclose(scores[other], score, atol=1e-5)


def test_another_run_gives_the_same_index_bytes_and_the_same_rows(
    first: Path, second: Path, spark: SparkSession
) -> None:
    one, two = (warehouse / "current" / "index" for warehouse in (first, second))
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in two.iterdir())
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes(), file.name
    assert published(table(spark, first, "similar_items")) == published(table(spark, second, "similar_items"))


def test_similar_items_join_with_the_catalogue_in_spark_sql(first: Path, spark: SparkSession, drawn: Drawn) -> None:
    rows = spark.sql(
        f"""SELECT s.item_id, s.rank, c.kind AS kind, o.kind AS other_kind
            FROM parquet.`{first}/current/similar_items` s
            JOIN parquet.`{drawn.path}` c ON c.item_id = s.item_id
            JOIN parquet.`{drawn.path}` o ON o.item_id = s.similar_item_id"""
    ).collect()
    assert len(rows) == table(spark, first, "similar_items").count()
    assert all(row["kind"] == row["other_kind"] for row in rows)


def test_similar_items_read_in_duckdb(first: Path, drawn: Drawn) -> None:
    rows = duckdb.sql(
        f"""SELECT s.item_id, s.rank, s.score, o.colour
            FROM '{first}/current/similar_items/*.parquet' s
            JOIN '{drawn.path}' o ON o.item_id = s.similar_item_id
            WHERE s.item_id = 'item-0001' ORDER BY s.rank"""
    ).fetchall()
    assert [row[1] for row in rows] == list(range(1, len(rows) + 1))
    assert rows
    assert all(-1 <= row[2] <= 1.000001 for row in rows)


def test_show_prints_neighbours_precision_and_a_join(first: Path, spark: SparkSession) -> None:
    run = command(spark, "show", first.parent / "job.yaml")
    assert run.code == 0, run.output
    assert "72 of 77 pictures embedded" in run.output
    for expected in ("item-00", "kind", "colour", "chance", "JOIN", str(first / "current")):
        assert expected in run.output, expected


def test_refused_release_leaves_the_previous_one_current(first: Path, spark: SparkSession) -> None:
    before = (first / "CURRENT").read_bytes()
    run = command(spark, "run", first.parent / "job.yaml", *override("gates.max_failed_share=0.01"))
    assert run.code == 3, run.output
    assert "gates.max_failed_share: 0.0649, at most 0.01: REFUSED (empty 1, not_a" in run.one_line()
    assert "'images': not_found, not a regular file" in run.one_line()
    assert (first / "CURRENT").read_bytes() == before
    (refused,) = (first / "refused").iterdir()
    assert run.one_line().endswith(f"the refused release is in {refused}")
    assert (refused / "similar_items").is_dir()


WRONG = [
    ("similar.kk=3", "unknown key 'similar.kk'; did you mean 'similar.k'?"),
    ("similar.k=none", "similar.k: input should be a valid integer"),
    ("warehouse.path=/dev/null/warehouse", "warehouse.path: /dev/null/warehouse cannot be written"),
    ("catalogue.path={folder}/job.yaml", "cannot be read as Parquet"),
    ("catalogue.path={folder}/missing.parquet", "there is no file, folder or table '{folder}/missing.parquet'"),
    ("catalogue.image_path_column=photo", "catalogue.path has no column 'photo'; it has: item_id, image_path"),
    ("model.weights={folder}/job.yaml", "does not hold Keras weights of ResNet50"),
    ("similar.group_by=shelf", "similar.group_by names 'shelf', which the catalogue lacks"),
]


@pytest.mark.parametrize(("setting", "said"), WRONG)
def test_wrong_input_gives_one_line_and_exit_code_2(
    drawn: Drawn, spark: SparkSession, tmp_path: Path, setting: str, said: str
) -> None:
    file = write_config(tmp_path, drawn)
    check_refused(command(spark, "run", file, *override(setting.format(folder=tmp_path))), tmp_path, said)


def test_wrong_input_that_spark_finds_ends_spark_submit_with_one_line_and_exit_code_2(
    drawn: Drawn, tmp_path: Path
) -> None:
    run = submit("embed.py", write_config(tmp_path, drawn), "catalogue.path=job.yaml")
    check_refused(run, tmp_path, "cannot be read as Parquet")


def check_refused(run: Run, folder: Path, said: str) -> None:
    assert run.code == 2, run.output
    assert said.format(folder=folder) in run.one_line()
    assert not (folder / "warehouse" / "CURRENT").exists()


@pytest.mark.parametrize(("name", "step"), [("SIGINT", "embed"), ("SIGTERM", "model")])
def test_signal_stops_the_job_without_a_stack_trace_and_leaves_nothing(
    drawn: Drawn, model: CompiledModel, tmp_path: Path, name: str, step: str
) -> None:
    """The signal goes to the whole group, as from a terminal or a scheduler: to workers, or while Python compiles."""
    if step != "model":
        new_warehouse(tmp_path / "warehouse", model)
    words = [str(SPARK_SUBMIT), "--master", "local[2]", *quick_spark.options(tmp_path), str(ROOT / "jobs/embed.py")]
    with subprocess.Popen(
        [*words, "--config", str(write_config(tmp_path, drawn))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as job:
        assert job.stdout is not None
        said = [next(line for line in job.stdout if without_time(line).lstrip().startswith(f"{step}:"))]
        os.killpg(job.pid, signal.Signals[name])
        said += job.stdout.readlines()
        job.wait(timeout=120)
    assert job.returncode != 0
    assert "Traceback" not in "".join(said)
    # The JVM, which passes on what Python says, is gone at once; Python ends its native call and cleans up.
    folders = [tmp_path / "warehouse" / kind for kind in ("releases", "work")]
    deadline = time.monotonic() + 60
    while any(list(folder.iterdir()) for folder in folders) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [list(folder.iterdir()) for folder in folders] == [[], []]
    assert left_of_session(job.pid) == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signal_while_spark_starts_leaves_no_process(drawn: Drawn, tmp_path: Path, name: str) -> None:
    """To the command alone, as from a scheduler; the JVM would wait for ever for what the command does not say."""
    with subprocess.Popen(
        [sys.executable, "-c", NOT_BELOW_NOHUP + COMMAND, "run", "--config", str(write_config(tmp_path, drawn))],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as job:
        deadline = time.monotonic() + 60
        while not any("org.apache.spark" in line for line in of_session(job.pid)) and time.monotonic() < deadline:
            time.sleep(0.01)
        job.send_signal(signal.Signals[name])
        _, said = job.communicate(timeout=60)
    assert without_time(said) == f"stopped by {name}\n"
    assert job.returncode == 128 + signal.Signals[name]
    assert left_of_session(job.pid) == []


@pytest.mark.photos
@pytest.mark.skipif(not PHOTOS.is_dir(), reason="no ../shared/catalogue beside the checkout")
def test_real_photos_are_far_more_alike_than_chance(tmp_path: Path, drawn: Drawn, spark: SparkSession) -> None:
    """300 photos: neighbours share the category several times as often as random items do."""
    photos = pq.read_table(PHOTOS / "catalogue.parquet").slice(0, 300)
    pq.write_table(photos, tmp_path / "photos.parquet")
    config = write_config(
        tmp_path,
        drawn,
        catalogue={"path": str(tmp_path / "photos.parquet"), "image_root": str(PHOTOS), "keep_columns": ["category"]},
        similar={"k": 10, "group_by": None},
    )
    run = command(spark, "run", config)
    assert run.code == 0, run.output
    embeddings = table(spark, tmp_path / "warehouse", "embeddings")
    assert embeddings.count() == 300
    same = duckdb.sql(
        f"""SELECT avg((a.category = b.category)::int)
            FROM '{tmp_path}/warehouse/current/similar_items/*.parquet' s
            JOIN '{tmp_path}/photos.parquet' a ON a.item_id = s.item_id
            JOIN '{tmp_path}/photos.parquet' b ON b.item_id = s.similar_item_id"""
    ).fetchall()[0][0]
    counts = np.array(list(photos["category"].value_counts().to_pandas().map(lambda row: row["counts"])))
    assert same > 4 * float((counts * (counts - 1)).sum() / (300 * 299))
