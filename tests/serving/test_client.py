"""A release asked from Python: what it answers, and why it does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from numpy.typing import ArrayLike
from pyspark.sql import SparkSession

from lookalike.errors import ConfigError, ModelError, QueryError, ShardError, WarehouseError
from lookalike.index import annoy as annoy_index
from lookalike.models.network import CompiledModel
from lookalike.serving import tables
from lookalike.serving.client import Release, open_release
from lookalike.storage import json_file
from lookalike.warehouse.local import Warehouse
from support.served import DIMENSIONS, ShardItems, assert_nearest, names, units, write_release
from support.shop import Shop, new_warehouse, picture, refresh, rows

# --- questions


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Two shards of bags, one of shoes, and one without a group."""
    groups = ["bag", "bag", "shoe", None]
    parts = [ShardItems(group, names(4, f"{n}"), units(4, seed=n)) for n, group in enumerate(groups)]
    return open_release(write_release(tmp_path_factory.mktemp("grouped") / "r", *parts))


QUERY = units(1)[0]

BAD = {
    "too short": (lambda release: release.search(QUERY[:-1]), r"\(7,\).*\(8,\)"),
    "too long": (lambda release: release.search([0.5] * 9), r"\(9,\).*\(8,\)"),
    "a table": (lambda release: release.search(QUERY[None]), r"\(1, 8\)"),
    "a number": (lambda release: release.search(1.0), r"\(\)"),
    "NaN": (lambda release: release.search([float("nan"), *QUERY[1:]]), "NaN"),
    "infinite": (lambda release: release.search([*QUERY[1:], float("-inf")]), "infinite"),
    "zeros": (lambda release: release.search(np.zeros(DIMENSIONS)), "all zeros"),
    "words": (lambda release: release.search(["a"] * DIMENSIONS), "not made of real numbers"),
    "nothing": (lambda release: release.search(None), "numbers"),
    "numbers as words": (lambda release: release.search(["0.5"] * DIMENSIONS), "not made of real numbers"),
    "complex numbers": (lambda release: release.search(QUERY + 1j), "not made of real numbers"),
    "objects": (lambda release: release.search(QUERY.astype(object)), "not made of real numbers"),
    "a missing number": (lambda release: release.search([None, *QUERY[1:]]), "not made of real numbers"),
    "yes and no": (lambda release: release.search(QUERY > 0), "not made of real numbers"),
    "dates": (lambda release: release.search(np.ones(DIMENSIONS, "datetime64[s]")), "not made of real numbers"),
    "rows of different lengths": (lambda release: release.search([[1.0], [1.0, 2.0]]), "not made of real numbers"),
    "masked numbers": (lambda release: release.search(np.ma.masked_less(QUERY, 0)), "not made of real numbers"),
    "whole numbers beyond float32": (lambda release: release.search([10**400] * DIMENSIONS), "not made of real"),
    "k of 0": (lambda release: release.search(QUERY, 0), "k is 0; give"),
    "k below 0": (lambda release: release.search(QUERY, -5), "k is -5; give"),
    "k a fraction": (lambda release: release.search(QUERY, 2.5), "k is 2.5; give"),
    "k a whole number as a float": (lambda release: release.search(QUERY, 2.0), "k is 2.0; give"),
    "k True": (lambda release: release.search(QUERY, True), "k is True; give"),
    "k True of numpy": (lambda release: release.search(QUERY, np.bool_(True)), "k is .*; give"),
    "k a text": (lambda release: release.similar("item-000", "3"), "k is '3'; give"),
    "k nothing": (lambda release: release.similar("item-000", None), "k is None; give"),
    "search_k of 0": (lambda release: release.search(QUERY, search_k=0), "search_k is 0; give"),
    "group misspelt": (lambda release: release.search(QUERY, 1, "bags"), "did you mean 'bag'"),
    "group unknown": (lambda release: release.search(QUERY, 1, "xyz"), "2, such as .'bag', 'shoe'."),
    "group a number": (lambda release: release.search(QUERY, 1, 5), "group 5: no item's kind is that"),
}


@pytest.mark.parametrize("case", BAD)
def test_question_that_makes_no_sense_is_refused_with_a_line(grouped: Release, case: str) -> None:
    ask, said = BAD[case]
    with pytest.raises(QueryError, match=said) as refused:
        ask(grouped)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.longdouble, list, tuple])
def test_vector_may_be_of_any_real_numbers(grouped: Release, kind: Callable[[np.ndarray], ArrayLike]) -> None:
    query = np.float16(QUERY)
    assert grouped.search(kind(query), np.int8(3)) == grouped.search(query.astype(np.float32), 3)


def test_k_may_exceed_the_index_and_what_annoy_can_count(grouped: Release) -> None:
    assert len(grouped.search(QUERY, 10**12)) == 16
    assert len(grouped.search(QUERY, 10**12, "bag", search_k=10**12)) == 8


def test_group_of_a_release_without_groups_is_refused(tmp_path: Path) -> None:
    release = open_release(write_release(tmp_path / "r", ShardItems(None, names(3), units(3))))
    with pytest.raises(QueryError, match="has no groups"):
        release.search(QUERY, 1, "bag")


def test_index_of_no_shards_answers_nothing(tmp_path: Path) -> None:
    assert open_release(write_release(tmp_path / "r")).search(QUERY, 3) == []


def test_shards_of_other_groups_are_not_even_opened(tmp_path: Path) -> None:
    parts = [ShardItems("bag", names(3, "a"), units(3)), ShardItems("shoe", names(3, "b"), units(3))]
    release = open_release(write_release(tmp_path / "r", *parts))
    (tmp_path / "r/index/shard-00001.ann").unlink()
    assert len(release.search(QUERY, 9, "bag")) == 3
    with pytest.raises(ShardError):
        release.search(QUERY, 9)


def test_shard_is_verified_once_for_all_searches(tmp_path: Path) -> None:
    release = open_release(write_release(tmp_path / "r", ShardItems(None, names(30), units(30))))
    with mock.patch.object(annoy_index.files, "sha256", wraps=annoy_index.files.sha256) as digests:
        first = release.search(QUERY, 3)
        assert release.search(QUERY, 3) == first
    assert digests.call_count == 1


def test_threads_may_share_a_release(tmp_path: Path) -> None:
    parts = [ShardItems(None, names(40, f"{n}"), units(40, seed=n)) for n in range(4)]
    root = write_release(tmp_path / "r", *parts)
    queries = units(64, seed=9)
    release = open_release(root)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda query: release.search(query, 5), queries))
    for query, neighbours in zip(queries, found, strict=True):
        assert_nearest(neighbours, parts, query, 5)


# --- what it says of itself


def test_release_names_itself_its_warehouse_its_items_and_k(warehouse: Path, tmp_path: Path) -> None:
    release = open_release(warehouse)
    assert (release.release_id, release.warehouse) == ("r1", str(warehouse))
    assert repr(release) == f"<lookalike.Release r1 of {warehouse}: 12 items, k 2>"
    root = write_release(tmp_path / "wh/releases/r2")
    (root / "release.json").write_text("{}")
    damaged = open_release(root)
    assert repr(damaged) == f"<lookalike.Release r2 of {tmp_path / 'wh'}: its release.json cannot be read>"


# --- opening


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="no such folder; give a warehouse"):
        open_release(tmp_path / "nothing")
    with pytest.raises(WarehouseError, match="holds no release yet"):
        open_release(tmp_path)
    with pytest.raises(WarehouseError, match=r"cannot be read \(File name too long\); give a warehouse that this user"):
        open_release(tmp_path / ("x" * 300))
    with pytest.raises(ConfigError, match="stores is of the type dict; give lookalike"):
        open_release("s3://bucket/lookalike", {"s3_endpoint": "http://minio:9000"})  # type: ignore[arg-type]


# --- a release that the job made


@dataclass(frozen=True)
class Night:
    """A shop of 18 items in groups, one without a picture, one alone in its group, and its warehouse."""

    shop: Shop
    warehouse: Path


ALONE, LOST = "item-16", "item-17"


@pytest.fixture(scope="module")
def night(spark: SparkSession, model: CompiledModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    folder = tmp_path_factory.mktemp("night")
    shop = Shop.of(folder / "shop", 18)
    shop.rows[ALONE]["kind"] = "alone"
    shop.path(LOST).unlink()
    settings = shop.settings(new_warehouse(folder / "_ware house", model), similar={"group_by": "kind", "k": 4})
    refresh(spark, shop, settings)
    return Night(shop, folder / "_ware house")


@pytest.fixture
def release(night: Night) -> Release:
    return open_release(night.warehouse)


def test_warehouse_its_symlink_and_the_release_itself_are_the_same(night: Night, release: Release) -> None:
    root = Warehouse(str(night.warehouse)).need_current().root
    assert release.release_id == root.name
    for path in (root, night.warehouse / "current", str(night.warehouse), night.warehouse.as_uri()):
        opened = open_release(path)
        assert opened.release_id == root.name
        assert opened.similar("item-00") == release.similar("item-00") != []


def test_similar_is_the_table(night: Night, release: Release) -> None:
    table = rows(night.warehouse / "current/similar_items")
    for item in night.shop.rows.keys() - {LOST}:
        expected = [(row["similar_item_id"], row["score"]) for row in table if row["item_id"] == item]
        assert release.similar(item) == expected
        assert release.similar(item, k=2) == expected[:2]
        assert release.similar(item, k=10**12) == expected
    assert release.similar(ALONE) == []


def test_search_by_an_items_own_vector_is_the_table_to_the_last_bit(night: Night, release: Release) -> None:
    for row in rows(night.warehouse / "current/embeddings"):
        found = release.search(np.float32(row["embedding"]), 5, row["kind"])
        assert found[0].item_id == row["item_id"]
        assert found[1:] == release.similar(row["item_id"])


def test_item_without_neighbours_says_why(night: Night, release: Release) -> None:
    with pytest.raises(QueryError, match=f"item '{LOST}' has no embedding: its picture failed with not_found"):
        release.similar(LOST)
    with pytest.raises(QueryError, match=f"item 'item-99' is not in release {release.release_id}"):
        release.similar("item-99")
    with pytest.raises(QueryError, match="k is 0"):
        release.similar("item-00", 0)


def test_picture_of_the_catalogue_finds_its_item(night: Night, release: Release) -> None:
    for item in ("item-03", "item-04"):
        path = night.shop.path(item)
        found = release.search_image(path, 3)
        assert found[0].item_id == item
        assert found[0].score == pytest.approx(1, abs=1e-3)
        assert found == release.search_image(path.read_bytes(), 3) == release.search_image(path.as_uri(), 3)
        assert found == release.search_image(bytearray(path.read_bytes()), 3)
    own = release.search_image(path, 3, night.shop.rows[item]["kind"])
    assert [neighbour.item_id for neighbour in own[1:]] == [name for name, _ in release.similar(item, 2)]


def test_picture_of_another_type_is_refused(release: Release) -> None:
    with pytest.raises(QueryError, match="a path, a URI or a file's bytes, not of the type int"):
        release.search_image(3)  # type: ignore[arg-type]


def test_item_id_that_is_no_text_is_unknown(release: Release) -> None:
    with pytest.raises(QueryError, match="it is not text"):
        release.similar("\udcff")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"", "not_an_image"),
        (b"<html>", "not_an_image"),
        (picture(1)[:-80], "truncated"),
        ("/no/such.png", "not_found"),
    ],
    ids=["empty", "html", "truncated", "missing"],
)
def test_picture_that_cannot_be_embedded_says_why(release: Release, given: bytes | str, reason: str) -> None:
    with pytest.raises(QueryError, match=f"cannot be embedded: {reason}"):
        release.search_image(given)


def test_warehouse_without_the_releases_model_still_answers_by_vector(night: Night, tmp_path: Path) -> None:
    copy = shutil.copytree(night.warehouse, tmp_path / "copy", symlinks=True)
    shutil.rmtree(copy / "models")
    release = open_release(copy)
    with pytest.raises(ModelError, match="is not there; restore the folder"):
        release.search_image(picture(1))
    assert release.search([1.0] * 2048, 3)
    (copy / "models").mkdir()
    (copy / "models/foreign.json").write_text("[]")
    (copy / "models/torn.json").write_text("{")
    with pytest.raises(ModelError, match="is not there; restore the folder"):
        open_release(copy).search_image(picture(1))


@pytest.mark.parametrize("table", ["similar_items", "embeddings"])
def test_damaged_table_is_refused_with_a_line(night: Night, tmp_path: Path, table: str) -> None:
    copy = shutil.copytree(night.warehouse, tmp_path / "copy", symlinks=True)
    for file in (copy / "current" / table).glob("*.parquet"):
        file.write_bytes(b"PAR1")
    with pytest.raises(WarehouseError, match=rf"{table}/part-\S+ cannot be read") as refused:
        open_release(copy).similar(ALONE)
    assert len(str(refused.value).splitlines()) == 1


def test_record_of_another_version_is_refused(night: Night, tmp_path: Path) -> None:
    copy = shutil.copytree(night.warehouse, tmp_path / "copy", symlinks=True)
    path = (copy / "current" / "release.json").resolve()
    sound = json_file.unsealed(path.read_bytes())
    for problem, record in (
        ("config.images is not as this version", {**sound, "config": {"images": {"max_megabytes": 3}}}),
        ("config.images is not as this version", {**sound, "config": {}}),
        ("lacks 'model.model_id'", {**sound, "model": {}}),
    ):
        path.write_bytes(json_file.sealed(record))
        with pytest.raises(WarehouseError, match=problem):
            open_release(copy).search_image(picture(1))


def test_release_stays_the_one_that_was_opened(night: Night, spark: SparkSession, tmp_path: Path) -> None:
    copy = shutil.copytree(night.warehouse, tmp_path / "copy", symlinks=True)
    before = open_release(copy / "current")
    shop = Shop(night.shop.folder, {item: dict(row) for item, row in night.shop.rows.items() if item != "item-03"})
    refresh(spark, shop, shop.settings(copy, similar={"group_by": "kind", "k": 4}))
    assert open_release(copy / "current").release_id != before.release_id
    assert before.search_image(night.shop.path("item-03"), 1)[0].item_id == "item-03"
    now = open_release(copy)
    with pytest.raises(QueryError, match="item 'item-03' is not in release"):
        now.similar("item-03")
    assert now.search_image(night.shop.path("item-03"), 1)[0].item_id != "item-03"
    assert len(now.search([1.0] * 2048, 100)) == 16  # shards that were taken over answer too
    assert [len(found) for found in now.search_many(np.eye(2, 2048), 100)] == [16, 16]
    ids = [row["item_id"] for row in now.items()]
    for item in ids:  # tombstones have no part in the explanations
        ranks = {one.item_id: rank for rank, one in enumerate(now.similar(item), 1)}
        found = {other: now.why(item, other) for other in ids if other != item}
        assert {other: why.rank for other, why in found.items() if why.listed} == ranks
        assert all(why.place == why.rank for why in found.values() if why.listed)
        assert {why.reason for why in found.values()} <= {"listed", "other_group", "beyond_k"}


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.date32()], ids=str)
def test_kept_time_that_python_lacks_is_a_text(tmp_path: Path, kind: pa.DataType) -> None:
    late = pa.array([4_000_000], pa.int32()).cast(pa.date32())  # days: the year 12921
    files = ds.dataset(pa.table({"item_id": ["a"], "until": late.cast(kind)}))
    found = tables.Table(tmp_path, files).rows(ds.field("item_id") == "a", ("until",))
    assert str(found[0]["until"]).startswith("129")
