"""Many items, vectors and pictures at once, and what the answers can be turned into."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lookalike
from lookalike.config import SimilarSettings
from lookalike.errors import QueryError, ReleaseRemovedError, UnknownItemError, WarehouseError
from lookalike.serving import tables
from lookalike.serving.client import Release, open_release
from lookalike.spark import schemas
from lookalike.version import VERSION
from lookalike.warehouse.item_columns import item_columns
from support import constraint_items, records, vector_releases
from support.constraint_items import item
from support.constraint_oracle import Item
from support.drawn import ROOT
from support.published import Shelf
from support.ruled_release import FAILED, write_ruled_release
from support.served import ShardItems, names, units, write_release

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a\x1b[2Jb", "  ", "nan", "0", "a,b;'c"]


@pytest.fixture(scope="module")
def items() -> list[Item]:
    hostile = [Item(name, constraint_items.signs(n), item(0, 0).columns) for n, name in enumerate(HOSTILE, 40)]
    every = [*constraint_items.odd_ids(), *constraint_items.products(), *hostile, item(99, 1, kind=None)]
    return list({one.item_id: one for one in every}.values())


@pytest.fixture(scope="module")
def root(items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Path:
    rules = SimilarSettings(group_by="kind", k=3, spare=1, variant_of="product")
    return write_ruled_release(tmp_path_factory.mktemp("many") / "r1", items, rules)


@pytest.fixture
def release(root: Path) -> Release:
    return open_release(root)


@pytest.fixture
def ids(items: list[Item]) -> list[str]:
    return [one.item_id for one in items]


# --- many items


def test_lists_of_many_items_are_those_of_each_in_the_order_given(release: Release, ids: list[str]) -> None:
    asked = [*ids[::-1], *ids[:3]]  # an id may come twice
    for k in (1, 3, 10**12):
        found = release.similar_many(asked, k)
        assert found == [release.similar(one, k) for one in asked]
        assert [one.item_id for one in found] == asked
        rows = [(one, n, *pair) for one in asked for n, pair in enumerate(release.similar(one, k), 1)]
        assert [tuple(row.values()) for row in found.to_arrow().to_pylist()] == rows


def test_tables_of_neighbours_are_as_similar_items(release: Release, ids: list[str]) -> None:
    expected = schemas.as_arrow(schemas.SIMILAR_ITEMS)
    one, many = release.similar(ids[0]).to_arrow(), release.similar_many(ids[:1]).to_arrow()
    for table in (one, many, release.similar_many([]).to_arrow()):
        assert [(field.name, field.type) for field in table.schema] == [(f.name, f.type) for f in expected][:-1]
    assert one.equals(many)
    assert release.similar(ids[0]).to_pandas().equals(many.to_pandas())
    nothing = release.search(np.ones(constraint_items.DIMENSIONS), 1)[:0].to_arrow()
    assert nothing.schema.names == ["rank", "similar_item_id", "score"]


def test_one_table_is_read_once_for_many_items(release: Release, ids: list[str]) -> None:
    with mock.patch.object(tables.Table, "read", autospec=True, side_effect=tables.Table.read) as read:
        release.similar_many([one for one in ids if release.similar(one)])
        before = read.call_count
        release.similar_many([one for one in ids if one == ids[0]] * 1000)
    assert read.call_count == before + 1


KINDS: dict[str, Callable[[Sequence[str]], Iterable[Any]]] = {
    "a tuple": tuple,
    "a generator": iter,
    "an array of numpy": np.array,
    "numpy's texts": lambda ids: list(np.array(ids)),
    "objects": lambda ids: np.array(ids, object),
    "a series": pd.Series,
    "an index": pd.Index,
    "a column of texts": lambda ids: pd.Series(ids, dtype="string"),
    "categories": lambda ids: pd.Series(ids, dtype="category"),
    "a column of Polars": pl.Series,
    "rows": lambda ids: [{"item_id": one} for one in ids],
    "a column of Arrow": lambda ids: pa.chunked_array([pa.array(ids, pa.large_string())]),
    "the keys of a dictionary": lambda ids: dict.fromkeys(ids).keys(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_ids_may_be_of_any_kind_of_list(release: Release, ids: list[str], kind: str) -> None:
    make = KINDS[kind]
    assert release.similar_many(make(ids)) == release.similar_many(ids)
    assert release.items(make(ids)).to_arrow()["item_id"].to_pylist() == ids
    assert release.embeddings(make(ids)).shape == (len(ids), constraint_items.DIMENSIONS)


def test_neighbours_are_ids(release: Release, ids: list[str]) -> None:
    neighbours = release.similar(ids[0])
    assert [row["item_id"] for row in release.items(neighbours)] == [one.item_id for one in neighbours]
    assert (release.embedding(neighbours[0]) == release.embedding(neighbours[0].item_id)).all()


def test_whole_numbers_are_the_texts_of_them(release: Release) -> None:
    for number in (0, np.int64(0), "0"):
        assert release.similar_many([number])[0].item_id == "0"
        assert release.similar(number) == release.similar("0")  # type: ignore[arg-type]


BAD_IDS = {
    "one text": ("item-1", "the ids are one text, 'item-1'; give a list"),
    "bytes": (b"item-1", "the ids are of the type bytes"),
    "a number": (3, "the ids are of the type int"),
    "an array of no dimension": (np.array("0"), "the ids are of the type ndarray"),
    "a table": (
        pd.DataFrame({"item_id": ["0"]}),
        "the ids are of the type DataFrame; give a list of ids, or one column",
    ),
    "a table of Arrow": (pa.table({"item_id": ["0"]}), "the ids are of the type Table"),
    "a list of lists": ([["0"]], "an item id is of the type list; give a text"),
    "a list of bytes": ([b"0"], "an item id is b'0'"),
    "numbers of a column with a gap": ([1.0], "an item id is 1.0"),
    "nothing": ([None], "an item id is None"),
    "NaN": ([float("nan")], "an item id is nan"),
    "no value of pandas": (pd.Series(["0", None], dtype="string"), "an item id is <NA>"),
    "no value of Arrow": (pa.array(["0", None]), "an item id is None"),
    "no scalar of Arrow": ([pa.scalar(None, pa.string())], "an item id is None"),
    "no time of numpy": (np.array(["NaT"], "datetime64[s]"), "an item id is .*NaT"),
    "a list of columns": ([pd.Series(["0"])], "an item id is of the type Series; give a text"),
    "a list of memory": ([memoryview(b"0")], "an item id is of the type memoryview"),
    "half a character": (["\udcff"], "it is not text"),
}


@pytest.mark.parametrize("case", BAD_IDS)
def test_what_is_no_list_of_ids_is_refused_with_a_line(release: Release, case: str) -> None:
    given, said = BAD_IDS[case]
    for ask in (release.similar_many, release.items, release.embeddings):
        with pytest.raises(QueryError, match=said) as refused:
            ask(given)
        assert len(str(refused.value).splitlines()) == 1


def test_unknown_ids_are_named_and_all_in_the_error(release: Release, ids: list[str]) -> None:
    gone = [f"gone-{n}" for n in range(1000)]
    for ask in (release.similar_many, release.items, release.embeddings):
        with pytest.raises(UnknownItemError, match="1,002 of the items have no embedding") as refused:
            ask([FAILED, *ids, *gone, *gone, "\n"])
        assert refused.value.item_ids == (FAILED, *gone, "\n")
        assert "its picture failed with truncated; item 'gone-0' is not in release r1; item 'gone-1'" in str(
            refused.value
        )
        with pytest.raises(UnknownItemError, match=f"^item '{FAILED}' has no embedding: its picture failed") as one:
            ask([FAILED])
        assert pickle.loads(pickle.dumps(one.value)).item_ids == (FAILED,)
    with pytest.raises(UnknownItemError, match="item 'gone' is not in release r1"):
        release.similar("gone")
    with pytest.raises(UnknownItemError, match=r"'a' is not in release r1; item 'b' is not in release r1$"):
        release.similar_many(["a", "b"])


def test_no_ids_give_nothing(release: Release) -> None:
    assert list(release.similar_many([])) == list(release.items([])) == []
    assert release.embeddings([]).shape == (0, constraint_items.DIMENSIONS)
    assert list(release.search_many([])) == list(release.search_many(np.empty((0, 16)))) == []


# --- items


def test_items_have_the_columns_of_the_catalogue_in_the_order_of_their_ids(release: Release, items: list[Item]) -> None:
    found = release.items()
    rows = {one.item_id: {"image_path": f"{one.item_id}.jpg", **one.columns} for one in items}
    assert [row.pop("item_id") for row in map(dict, found)] == sorted(rows, key=str.encode)
    assert {row["item_id"]: {name: row[name] for name in row if name != "item_id"} for row in found} == rows
    assert found.to_arrow().equals(release.items(found.to_arrow()["item_id"]).to_arrow().combine_chunks())
    assert found[-1] == found[len(found) - 1] == list(found[-2:])[1]
    assert repr(found).startswith(f"<lookalike.Items: {len(items)} of item_id, image_path, kind")


def test_items_of_a_job_carry_no_schema_of_other_columns() -> None:
    """Spark takes the schema of a file from there, whatever columns it has."""
    path = next((ROOT / "tests/golden/0.5.0/warehouse/releases").glob("*-b72700"))
    assert b"org.apache.spark.sql.parquet.row.metadata" in pq.read_schema(next(path.glob("embeddings/*"))).metadata
    assert open_release(path).items().to_arrow().schema.metadata is None


def test_items_give_the_columns_that_are_asked_for(release: Release) -> None:
    assert release.items(["0"], ["norm", "norm", "item_id"])[0] == {"item_id": "0", "norm": 1.0}
    for kinds in (iter(["kind"]), pd.Series(["kind"]), np.array(["kind"])):
        assert release.items(["0"], kinds)[0] == {"item_id": "0", "kind": "shoe"}  # type: ignore[arg-type]
    for columns in (["weight"], ["embedding"], "kind", b"kind", 3, [3]):
        with pytest.raises(QueryError, match=r"columns: .*; give a list of some of item_id"):
            release.items(columns=columns)


def test_columns_that_describe_the_picture_are_those_of_the_schema() -> None:
    assert item_columns(schemas.EMBEDDINGS.fieldNames()) == ("item_id", "image_path")


def test_changes_are_the_table_in_order_and_named_where_there_is_none(tmp_path: Path) -> None:
    release = vector_releases.put(tmp_path / "warehouse", "20260102T020000Z-aaaaaa", {"a": 1, "b": 2})
    with pytest.raises(
        WarehouseError, match=f"no table of changes, since lookalike {VERSION} wrote it; ask `lookalike"
    ):
        open_release(tmp_path / "warehouse").changes()
    rows = [("list", "upsert", "a"), ("item", "upsert", "b"), ("item", "delete", "c"), ("item", "upsert", "a")]
    kinds, how, ids = ([row[at] for row in rows] for at in range(3))
    Shelf.table(release, "changes", kind=kinds, change=how, item_id=ids)
    since = "20260101T020000Z-aaaaaa"
    records.write_record(release, since, changes_table={"since": since, "item_upserts": 2})
    found = open_release(tmp_path / "warehouse").changes()
    assert [tuple(row.values()) for row in found] == sorted(rows)
    assert (found.since, found[:2].since, len(found[:2]), len(found.to_pandas())) == (since, since, 2, 4)
    assert repr(found) == "<lookalike.Changes: 4 of kind, change, item_id>"
    next(release.changes.iterdir()).write_bytes(b"damaged")
    with pytest.raises(WarehouseError, match="changes"):
        open_release(tmp_path / "warehouse").changes()


def test_embeddings_are_those_of_the_items(root: Path, items: list[Item]) -> None:
    path = root / "embeddings/part-0.parquet"
    pq.write_table(pq.read_table(path), root.parent / "many-groups.parquet", row_group_size=3)
    table = tables.Table(root, tables._with_footers([str(path), str(root.parent / "many-groups.parquet")]))
    rows = np.array([1, 5, 4, len(items) + 7, 0, len(items) * 2 - 1])
    assert (table.vectors(rows) == np.stack([items[row % len(items)].vector for row in rows])).all()
    for one in items[:5]:
        assert (open_release(root).embedding(one.item_id) == one.vector).all()


def test_record_is_what_release_json_says(release: Release) -> None:
    assert release.record.release_id == release.release_id == "r1"
    assert (release.record.counts.failed, release.record.config.similar.k) == (1, 3)


# --- many vectors


def test_many_vectors_find_what_each_of_them_finds(release: Release, items: list[Item]) -> None:
    vectors = np.stack([one.vector for one in items]).astype(np.float64) * 3
    for options in ({}, {"group": "shoe"}, {"group": None}, {"distinct": True}):
        for k in (1, 7, 10**12):
            found = release.search_many(vectors, k, **options)
            assert found == [release.search(one, k, **options) for one in vectors]
    table = release.search_many(vectors, 2).to_arrow()
    assert table.schema.names == ["query", "rank", "similar_item_id", "score"]
    assert table["query"].to_pylist() == [n // 2 for n in range(2 * len(items))]
    assert table["rank"].to_pylist() == [1, 2] * len(items)


def test_many_vectors_may_be_any_table_of_numbers(release: Release, items: list[Item]) -> None:
    vectors = np.stack([one.vector for one in items[:3]])
    expected = release.search_many(vectors, 2)
    rows = pa.array(vectors.tolist())
    for given in (vectors.tolist(), iter(vectors), pd.DataFrame(vectors), pd.Series(list(vectors)), rows):
        assert release.search_many(given, 2) == expected  # type: ignore[arg-type]


def test_many_vectors_miss_nothing_where_annoy_may(tmp_path: Path) -> None:
    parts = [ShardItems(None, names(3000, f"{n}"), units(3000, n), [True] * 2999 + [False]) for n in range(2)]
    release = open_release(write_release(tmp_path / "r", *parts))
    queries = units(600, 9)
    found = release.search_many(queries, 5)
    vectors, every = np.concatenate([part.vectors for part in parts]), [*parts[0].ids, *parts[1].ids]
    scores = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    scores[:, [2999, 5999]] = -2
    for row in range(len(queries)):
        best = np.argsort(-scores[row])[:5]
        assert [one.item_id for one in found[row]] == [every[at] for at in best]
    for row in (0, 511, 512, 599):
        assert found[row] == release.search(queries[row], 5, search_k=10**9)


BAD_QUERIES = {
    "one vector": (np.ones(16), r"shape is \(16,\); the index takes \(n, 16\)"),
    "of another length": (np.ones((2, 8)), r"shape is \(2, 8\)"),
    "a cube": (np.ones((2, 2, 16)), r"shape is \(2, 2, 16\)"),
    "zeros": (np.vstack([np.ones(16), np.zeros(16)]), "vector 1 is all zeros"),
    "NaN": (np.vstack([np.ones((600, 16)), np.full(16, np.nan)]), "vector 600 holds NaN"),
    "infinite": ([[float("inf")] * 16], "vector 0 holds NaN or infinite"),
    "texts and numbers": (["a.jpg", 1.0], "query 1 is of the type float, where others are pictures; give"),
    "a picture that is missing": (pd.Series(["a.jpg", None, "b.jpg"]), "query 1 is of the type NoneType"),
    "masked numbers": ([np.ma.masked_less(np.arange(16.0), 3)] * 2, "not made of real numbers"),
    "texts in a list": ([["a"] * 16], "not made of real numbers"),
    "dates": (np.ones((1, 16), "datetime64[s]"), "not made of real numbers"),
    "one picture": ("a.jpg", "one picture; give a list"),
    "a file's bytes": (b"x", "one picture; give a list"),
    "a number": (3, "of the type int"),
    "nothing": (None, "of the type NoneType"),
}


@pytest.mark.parametrize("case", BAD_QUERIES)
def test_queries_that_make_no_sense_are_refused_with_a_line(release: Release, case: str) -> None:
    given, said = BAD_QUERIES[case]
    with pytest.raises(QueryError, match=said):
        release.search_many(given)


def test_vectors_too_long_for_a_sum_of_squares_have_a_direction(release: Release, items: list[Item]) -> None:
    vectors = np.stack([items[0].vector, items[1].vector]).astype(np.float64)
    assert release.search_many(vectors * 1e300, 3) == release.search_many(vectors * 1e-300, 3)


def test_many_pictures_find_what_each_of_them_finds(warehouse: Path, pictures: dict[str, Path]) -> None:
    release, paths = open_release(warehouse), list(pictures.values())[:3]
    expected = [release.search_image(path, 4) for path in paths]
    assert release.search_many(paths, 4) == expected
    assert release.search_many(pd.Series([str(path) for path in paths]), 4) == expected
    assert release.search_many([path.read_bytes() for path in paths], 4) == expected
    with pytest.raises(QueryError, match=r"^picture 1: /no/such\.png cannot be embedded: not_found"):
        release.search_many([paths[0], "/no/such.png"])


def test_release_of_nothing_answers_nothing(tmp_path: Path) -> None:
    root = write_ruled_release(tmp_path / "r", [], SimilarSettings())
    release = open_release(root)
    assert list(release.items()) == list(release.search_many(np.ones((2, 5)))[0]) == []
    with pytest.raises(UnknownItemError):
        release.similar_many(["a"])


# --- what an answer is


def test_one_answer_is_a_list_as_it_was(release: Release, ids: list[str]) -> None:
    found = release.similar("0")
    pairs = [(one.item_id, one.score) for one in found]
    assert found == pairs == list(found)
    assert json.loads(json.dumps(found)) == [list(pair) for pair in pairs]
    assert repr(found) == repr(list(found))
    assert type(found[:2]) is lookalike.Neighbours
    assert (found[:2], found[:2].item_id, found[0]) == (pairs[:2], "0", pairs[0])
    assert found + found == pairs * 2
    assert found[2:].to_pandas()["rank"].tolist() == list(found[2:].ranks) == [3, 4]
    assert found[::-1][:2].to_arrow()["rank"].to_pylist() == [4, 3]
    assert "<b>3</b>" in found[2:]._repr_html_()
    assert "<b>1</b>" not in found[2:]._repr_html_()
    copied = copy.copy(found)
    copied.append(found[0])
    assert list(copied.ranks) == [1, 2, 3, 4, 5]
    for again in (pickle.loads(pickle.dumps(found)), copy.copy(found), copy.deepcopy(found)):
        assert (again, again.item_id, type(again)) == (pairs, "0", lookalike.Neighbours)
        assert again.to_arrow().equals(found.to_arrow())


def test_many_answers_are_a_sequence(release: Release, ids: list[str]) -> None:
    found = release.similar_many(ids)
    assert len(found) == len(ids)
    assert found[-1] == found[len(ids) - 1] == release.similar(ids[-1])
    assert found[::-2] == release.similar_many(ids[::-2])
    assert found[::-2].to_arrow().equals(release.similar_many(ids[::-2]).to_arrow())
    assert found != found[1:]
    assert found != 3
    assert repr(found) == f"<lookalike.NeighbourLists: {len(ids)} lists of {len(found.to_arrow())} neighbours>"
    assert pickle.loads(pickle.dumps(found)) == found
    queries = release.search_many(release.embeddings(ids[:4]), 2)[1:3]
    assert queries.to_arrow()["query"].to_pylist() == [0, 0, 1, 1]
    assert queries.to_pandas()["rank"].to_list() == [1, 2, 1, 2]
    with pytest.raises(IndexError):
        found[len(ids)]


def test_only_a_data_frame_needs_pandas() -> None:
    golden = ROOT / "tests/golden/0.5.0/warehouse"
    script = f"""
import sys, lookalike
class NoPandas:  # pyarrow imports it where it is there
    def find_spec(self, name, path, target=None):
        if name == "pandas":
            raise ModuleNotFoundError("no pandas here")
sys.meta_path.insert(0, NoPandas())
release = lookalike.open_release({str(golden)!r})
lists = release.similar_many(release.items())
print(len(release.search_many(release.embeddings(["item-00"]))), release.why("item-00", "item-01").rank, lists[0][:1])
lists._repr_html_()
lists.to_pandas()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == f"1 1 {open_release(golden).similar('item-00')[:1]}\n"
    assert "no pandas here" in done.stderr.splitlines()[-1]


# --- faults


def test_release_that_is_removed_says_so(root: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(root, tmp_path / "r1"))
    asked: tuple[Callable[[Release], object], ...] = (
        lambda release: release.similar_many(["0"]),
        lambda release: release.items(),
        lambda release: release.embedding("0"),
        lambda release: release.why("0", "nan"),
        lambda release: release.search_many(np.ones((1, 16))),
        lambda release: release.record,
    )
    opened = [open_release(path) for _ in asked]
    shutil.rmtree(path)
    for release, ask in zip(opened, asked, strict=True):
        with pytest.raises(ReleaseRemovedError, match="open the warehouse again"):
            ask(release)


def test_damaged_table_is_refused_with_a_line(root: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(root, tmp_path / "r1"))
    for name in ("embeddings", "similar_items"):
        (path / name / "part-0.parquet").write_bytes(b"PAR1")
    for ask in (open_release(path).similar_many, open_release(path).items, open_release(path).embeddings):
        with pytest.raises(WarehouseError, match=r"part-0.parquet cannot be read"):
            ask(["0"])
