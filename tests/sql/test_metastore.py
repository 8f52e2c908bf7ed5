"""The views in a session's catalog: what they show of releases made by hand, as releases come, go back and fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.errors import ConfigError, ViewsError
from lookalike.models.network import CompiledModel
from lookalike.sinks import publishing
from lookalike.sinks.opening import open_sinks
from lookalike.sql import metastore, views
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support import quick_spark, records, shop
from support.drawn import ROOT
from support.similar_table import Neighbour, write_similar
from support.submit import SPARK_SUBMIT

DATABASE = "lookalike_test"
FIRST, SECOND = "20201120T020000.000000Z-aaaaaa", "20201121T020000.000000Z-bbbbbb"
TWO: list[Neighbour] = [("a", 1, "b", 0.75), ("a", 2, "c", 0.5), ("a", 3, "d", 0.25), ("b", 1, "a", 0.75)]
OTHER: list[Neighbour] = [("a", 1, "d", 0.5), ("d", 1, "a", 0.5)]


def publish(spark: SparkSession, warehouse: Warehouse, settings: config.Settings) -> None:
    """As a run does, when the release is current."""
    sinks = open_sinks(settings, warehouse, lambda: nullcontext(spark))
    publishing.publish(sinks, warehouse.need_current())


@dataclass
class Shelf:
    """A warehouse and a catalogue in a folder whose name has all that has to be quoted."""

    spark: SparkSession
    folder: Path

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(str(self.folder / r"w [x]*{y}?\ü"))

    @property
    def catalogue(self) -> Path:
        """Its path may be a pattern, so that it has no wildcards here."""
        return self.folder / "items.parquet"

    def settings(self, **similar: Any) -> config.Settings:
        sections = {
            "catalogue": {"path": str(self.catalogue)},
            "warehouse": {"path": str(self.warehouse.path)},
            "similar": similar,
            "publish": {"catalog": DATABASE},
        }
        return config.Settings.model_validate(sections)

    def list_items(self, *items: object, **columns: list[Any]) -> None:
        """The catalogue of now."""
        pq.write_table(pa.table({"item_id": list(items), **columns}), self.catalogue)

    def put(self, release_id: str, similar: Sequence[Neighbour], k: int = 2, **kept: list[Any]) -> ReleaseFolder:
        """A release that is now the current one; `kept` are columns of its embeddings."""
        release = ReleaseFolder(self.warehouse.path / "releases" / release_id)
        write_similar(release.similar_items, similar)
        items = sorted({row[0] for row in similar})
        self.write(release.embeddings, item_id=items, embedding=[[1.0]] * len(items), **kept)
        self.write(release.failures, item_id=["z"], reason=[release_id])
        records.write_record(release, config={"similar": {"k": k}})
        self.warehouse.roll_back(release)
        return release

    @staticmethod
    def write(folder: Path, **columns: list[Any]) -> None:
        folder.mkdir()
        pq.write_table(pa.table(columns), folder / "part-0.parquet")

    def point(self, **similar: Any) -> None:
        publish(self.spark, self.warehouse, self.settings(**similar))

    def rows(self, view: str, columns: str = "*", order: str = "item_id, rank") -> list[tuple[Any, ...]]:
        query = f"SELECT {columns} FROM {DATABASE}.{view} ORDER BY {order}"
        return [tuple(row) for row in self.spark.sql(query).collect()]

    def neighbours(self, view: str) -> list[tuple[str, int, str]]:
        return [(row[0], row[1], row[2]) for row in self.rows(view)]


@pytest.fixture
def shelf(spark: SparkSession, tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(spark, tmp_path / "it's a `b` 100%20")
    shelf.warehouse.path.mkdir(parents=True)
    yield shelf
    spark.sql(f"DROP DATABASE IF EXISTS {DATABASE} CASCADE")


def test_every_table_of_the_release_is_a_view(shelf: Shelf) -> None:
    shelf.list_items("a", "b", "c", "d")
    release = shelf.put(FIRST, TWO, **{"odd name,`x`": [1, 2]})
    shelf.write(release.root / "duplicates", item_id=["b"], representative_item_id=["a"], score=[1.0])
    shelf.write(release.root / "changes", kind=["list"], change=["upsert"], item_id=["b"])
    shelf.point()
    first_two = [("a", 1, "b"), ("a", 2, "c"), ("b", 1, "a")]
    assert shelf.neighbours("similar_items") == first_two
    assert shelf.neighbours("similar_items_live") == first_two
    nested = shelf.spark.table(f"{DATABASE}.similar_items_nested")
    kind = "array<struct<rank:int,similar_item_id:string,score:float>>"
    assert nested.dtypes == [("item_id", "string"), ("neighbours", kind)]
    assert [(row[0], [one[1] for one in row[1]]) for row in sorted(nested.collect())] == [
        ("a", ["b", "c"]),
        ("b", ["a"]),
    ]
    assert shelf.rows("embeddings", order="item_id") == [("a", [1.0], 1), ("b", [1.0], 2)]
    assert shelf.spark.table(f"{DATABASE}.embeddings").columns == ["item_id", "embedding", "odd name,`x`"]
    assert shelf.rows("failures", order="item_id") == [("z", FIRST)]
    assert shelf.rows("duplicates", order="item_id") == [("b", "a", 1.0)]
    assert shelf.rows("changes", order="item_id") == [("list", "upsert", "b")]


def test_live_view_follows_the_catalogue_and_fills_up_with_spare_ones(shelf: Shelf) -> None:
    shelf.list_items("a", "b", "c", "d", stock=[1, 1, 1, 0])
    shelf.put(FIRST, TWO)
    shelf.point()
    shelf.list_items("a", "c", "d", stock=[1, 1, 0])
    assert shelf.neighbours("similar_items_live") == [("a", 1, "c"), ("a", 2, "d")]
    shelf.point(eligible="stock > 0")
    assert shelf.neighbours("similar_items_live") == [("a", 1, "c")]
    shelf.list_items("c", "d", stock=[1, 1])
    assert shelf.neighbours("similar_items_live") == []


def test_catalogue_may_be_a_table_with_integer_ids(shelf: Shelf) -> None:
    shelf.put(FIRST, [("1", 1, "2", 0.5), ("1", 2, "3", 0.25)])
    shelf.spark.sql(f"CREATE DATABASE {DATABASE}")
    shelf.spark.createDataFrame([(1,), (3,)], "`item id` int").write.saveAsTable(f"{DATABASE}.products")
    source = {"path": f"{DATABASE}.products", "item_id_column": "item id"}
    settings = config.Settings.model_validate({**shelf.settings().model_dump(), "catalogue": source})
    publish(shelf.spark, shelf.warehouse, settings)
    assert shelf.neighbours("similar_items_live") == [("1", 1, "3")]


def test_views_follow_the_current_release_there_and_back(shelf: Shelf) -> None:
    shelf.list_items("a", "b", "c", "d")
    first = shelf.put(FIRST, TWO, colour=["red", "blue"])
    shelf.point()
    shelf.put(SECOND, OTHER, k=1, size=[1, 2])
    assert shelf.neighbours("similar_items")[0] == ("a", 1, "b")
    shelf.point()
    assert shelf.neighbours("similar_items") == [("a", 1, "d"), ("d", 1, "a")]
    assert shelf.rows("embeddings", "item_id, size", "item_id") == [("a", 1), ("d", 2)]
    assert shelf.rows("duplicates", order="item_id") == shelf.rows("changes", order="item_id") == []
    assert shelf.warehouse.shown == {DATABASE: [SECOND]}
    shelf.warehouse.roll_back(first)
    shelf.point()
    assert len(shelf.neighbours("similar_items")) == 3
    assert shelf.rows("embeddings", "item_id, colour", "item_id") == [("a", "red"), ("b", "blue")]


def test_one_statement_moves_all_views(shelf: Shelf) -> None:
    shelf.list_items("a", "b", "c", "d")
    shelf.put(FIRST, TWO)
    shelf.point()
    shelf.spark.sql(views.pointer(shelf.put(SECOND, OTHER, k=1), 1).statement(DATABASE))
    assert shelf.neighbours("similar_items") == [("a", 1, "d"), ("d", 1, "a")]
    assert shelf.neighbours("similar_items_live") == [("a", 1, "d"), ("d", 1, "a")]
    assert shelf.rows("embeddings", "item_id", "item_id") == [("a",), ("d",)]
    assert shelf.rows("failures", "reason", "item_id") == [(SECOND,)]


@pytest.mark.parametrize("view", ["similar_items", "embeddings"])
def test_query_for_an_item_reads_its_table_alone_and_skips_row_groups(shelf: Shelf, view: str) -> None:
    shelf.list_items("a")
    shelf.put(FIRST, TWO)
    shelf.point()
    query = shelf.spark.sql(f"EXPLAIN SELECT * FROM {DATABASE}.{view} WHERE item_id = 'a'")
    plan = str(query.collect()[0][0])
    assert plan.count("FileScan parquet") == 1, plan
    assert "EqualTo(item_id,a)" in plan, plan


def test_empty_release_has_empty_views(shelf: Shelf) -> None:
    shelf.list_items("a")
    shelf.put(FIRST, [])
    shelf.point()
    for view in ("similar_items", "similar_items_live"):
        assert shelf.rows(view) == []
    assert shelf.rows("similar_items_nested", order="item_id") == []


def test_failed_swap_is_one_line_and_keeps_both_releases_from_a_clean_up(shelf: Shelf) -> None:
    shelf.list_items("a", "b", "c", "d")
    shelf.put(FIRST, TWO)
    shelf.point()
    shelf.put(SECOND, OTHER)
    with pytest.raises(ViewsError) as raised:
        shelf.point(eligible="stok > 0")
    line = str(raised.value)
    assert line.startswith(f"the release {SECOND} is current, but not all views of the database '{DATABASE}' show it: ")
    assert "stok" in line
    assert line.endswith("; then run `lookalike releases publish`")
    assert "\n" not in line
    assert shelf.warehouse.need_current().release_id == SECOND
    assert shelf.warehouse.clean(1, 0).kept[FIRST] == f"shown by the views of the database {DATABASE}"
    shelf.point()
    assert [release.release_id for release in shelf.warehouse.clean(1, 0).removed] == [FIRST]


def test_path_that_derby_cannot_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes no ';'"):
        metastore.session_settings(Warehouse(str(tmp_path / "a;b")))


QUERY = f"""
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
rows = spark.sql("SELECT DISTINCT release_id FROM {DATABASE}.similar_items_live").collect()
print("shown:", *[row[0] for row in rows], spark.table("{DATABASE}.embeddings").count(), flush=True)
"""

# One process for all, since each start of a metastore takes 10 s of a core.
ROLLED_BACK = """
import fcntl, runpy, sys
from pyspark.sql import SparkSession

def run(*words):
    sys.argv[1:] = words
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        print("code", ended.code, flush=True)

def query():
    with open("warehouse/catalog/spark.conf") as lines:
        published = dict(line.rstrip("\\n").replace(2 * chr(92), chr(92)).split(" ", 1) for line in lines)
    with SparkSession.builder.config(map=published).getOrCreate():
        runpy.run_path("query.py")

sys.argv[0], lock, *job = sys.argv[1:]
with open(lock, "r+") as held:
    fcntl.lockf(held, fcntl.LOCK_EX)  # as Derby's does in another process: this one's Java is one
    run(*job, "rollback")
query()
run(*job, "publish")
"""


@pytest.fixture
def views_gone(spark: SparkSession) -> Iterator[None]:
    yield
    spark.sql(f"DROP DATABASE IF EXISTS {DATABASE} CASCADE")


@pytest.mark.usefixtures("views_gone")
def test_another_process_reads_what_a_run_published_and_a_rollback_brought_back(
    spark: SparkSession, model: CompiledModel, tmp_path: Path
) -> None:
    folder = tmp_path / "a [shop]'s `views`"
    store = shop.Shop.of(tmp_path / "shop", 6)
    warehouse = Warehouse(str(shop.new_warehouse(folder / "warehouse", model)))
    first = shop.refresh(spark, store, store.settings(warehouse.path))
    del store.rows["item-05"]
    settings = store.settings(warehouse.path, publish={"catalog": DATABASE})
    second = shop.refresh(spark, store, settings)
    shows = spark.sql(f"SELECT DISTINCT release_id FROM {DATABASE}.similar_items").collect()
    assert [row[0] for row in shows] == [second.release_id]
    (folder / "query.py").write_text(QUERY)
    (folder / "shop.yaml").write_text(json.dumps(settings.model_dump(mode="json")))  # JSON is YAML
    submit, job = (SPARK_SUBMIT, *quick_spark.options(tmp_path)), ("--config", "shop.yaml")

    code, output = run_in(folder, *submit, ROOT / "jobs/embed.py", *job)
    assert code == 0, output
    assert "nothing to do" in output  # but to make the views that the metastore lacks

    lock = warehouse.path / "catalog/metastore/dbex.lck"
    code, output = run_in(folder, sys.executable, "-c", ROLLED_BACK, ROOT / "jobs/releases.py", lock, *job)
    assert code == 0, output
    rolled_back, refused, one, found, *shows, zero = output.splitlines()
    assert (one, zero) == ("code 1", "code 0"), output
    assert rolled_back.startswith("rolled back from ")
    assert "another process has the metastore" in refused
    assert found == f"shown: {second.release_id} 5"  # the run's views, while the next ones are not made
    assert warehouse.need_current() == first
    assert shows == [f"the views of the database {DATABASE} show {first.release_id}"]
    assert shown(folder) == f"shown: {first.release_id} 6"
    assert sorted(path.name for path in folder.iterdir()) == ["query.py", "shop.yaml", "warehouse"]


def shown(folder: Path) -> str:
    """What a session with the published settings finds."""
    submit = (SPARK_SUBMIT, *quick_spark.options(folder.parent))
    code, output = run_in(folder, *submit, "--properties-file", "warehouse/catalog/spark.conf", "query.py")
    assert code == 0, output
    return output.strip()


def run_in(folder: Path, *command: object) -> tuple[int, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PYSPARK", "SPARK", "JAVA"))}
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**bare, **quick_spark.environment(folder.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout
