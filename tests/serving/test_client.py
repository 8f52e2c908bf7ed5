"""A release asked from Python: as brute force answers, and not at all where a file is not what the manifest says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from pyspark.sql import SparkSession

import lookalike
from lookalike.errors import LookalikeError, ManifestError, ModelError, QueryError, ShardError, WarehouseError
from lookalike.index import annoy as annoy_index
from lookalike.index import manifest
from lookalike.models.network import CompiledModel
from lookalike.serving.client import Release, open_release
from lookalike.serving.shard import Neighbour
from lookalike.warehouse.local import Warehouse
from support.shop import Shop, new_warehouse, picture, refresh, rows

DIMENSIONS = 8
EVERYTHING = 1_000_000  # search_k that leaves no item out

# Cosines in float32 and float64 differ by less.
NOISE = 1e-5


@dataclass(frozen=True)
class Part:
    """The items of one shard; with `eligible`, its list says which may be returned."""

    group: str | None
    ids: Sequence[str]
    vectors: np.ndarray
    eligible: Sequence[bool] | None = None


def units(count: int, seed: int = 1, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Random unit vectors."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def names(count: int, prefix: str = "item") -> list[str]:
    return [f"{prefix}-{n:03d}" for n in range(count)]


def write_release(root: Path, *parts: Part) -> Path:
    """A release of no more than an index and its record."""
    index = root / "index"
    index.mkdir(parents=True)
    shards = []
    for number, part in enumerate(parts):
        stem = f"shard-{number:05d}"
        file = annoy_index.build(index / f"{stem}.ann", part.vectors, trees=5, seed=3)
        columns = {"position": pa.array(np.arange(len(part.ids), dtype=np.int32)), "item_id": pa.array(part.ids)}
        if part.eligible is not None:
            columns["eligible"] = pa.array(part.eligible, pa.bool_())
        pq.write_table(pa.table(columns), index / f"{stem}.items.parquet")
        shards.append(
            manifest.ManifestShard(
                file=f"{stem}.ann",
                items_file=f"{stem}.items.parquet",
                group=part.group,
                items=file.items,
                bytes=file.bytes,
                sha256=file.sha256,
                content="",
                ids_sha256=manifest.ids_digest(part.ids),
                golden=file.golden,
            )
        )
    dimensions = parts[0].vectors.shape[1] if parts else None
    group_by = "kind" if any(part.group for part in parts) else None
    whole = manifest.Manifest(dimensions=dimensions, trees=5, seed=3, group_by=group_by, shards=tuple(shards))
    (index / manifest.NAME).write_text(whole.model_dump_json())
    (root / "release.json").write_text("{}")
    return root


def assert_nearest(found: list[Neighbour], parts: Sequence[Part], query: np.ndarray, k: int) -> None:
    """The k best eligible items by float64, in the total order of their scores."""
    unit = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    vectors = {
        item: vector
        for part in parts
        for item, vector, eligible in zip(part.ids, part.vectors, part.eligible or [True] * len(part.ids), strict=True)
        if eligible
    }
    exact = {item: float(vector.astype(np.float64) @ unit) for item, vector in vectors.items()}
    assert len(found) == len({item for item, _ in found}) == min(k, len(exact))
    assert found == sorted(found, key=lambda neighbour: (-neighbour.score, neighbour.item_id))
    for item, score in found:
        assert abs(score - exact[item]) < NOISE
    taken = {item for item, _ in found}
    for item in exact.keys() - taken:
        assert exact[item] <= found[-1].score + NOISE
        last = found[-1].item_id
        assert not np.array_equal(vectors[item], vectors[last]) or item > last  # a tie is broken by id


# --- search


@st.composite
def part(draw: st.DrawFn, number: int) -> Part:
    """Up to 30 items, a leaf of Annoy holding 6; few directions, so that many tie, and zeros among them."""
    count = draw(st.integers(1, 30))
    whole = draw(st.lists(st.tuples(*[st.integers(-1, 1)] * 4), min_size=count, max_size=count))
    vectors = np.array(whole, dtype=np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    eligible = draw(st.none() | st.lists(st.booleans(), min_size=count, max_size=count))
    group = draw(st.sampled_from([None, "bag", "shoe"]))
    ids = draw(st.permutations([f"{n:02d}-{number}" for n in range(count)]))
    return Part(group, ids, vectors / np.where(norms, norms, 1), eligible)


@given(data=st.data(), k=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_search_that_looks_at_everything_is_brute_force(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, k: int
) -> None:
    parts = [data.draw(part(number)) for number in range(data.draw(st.integers(1, 3)))]
    query = np.array(data.draw(st.tuples(*[st.integers(-2, 2)] * 4).filter(any)), dtype=np.float32)
    root = tmp_path_factory.mktemp("release")
    release = open_release(write_release(root / "r", *parts))
    assert_nearest(release.search(query, k, search_k=EVERYTHING), parts, query, k)
    for group in {part.group for part in parts} - {None}:
        chosen = [part for part in parts if part.group == group]
        assert_nearest(release.search(query, k, group, search_k=EVERYTHING), chosen, query, k)
    shutil.rmtree(root)


def test_shard_of_one_leaf_is_exact_whatever_search_k_is(tmp_path: Path) -> None:
    parts = [Part(None, names(DIMENSIONS + 2), units(DIMENSIONS + 2)), Part(None, ["x", "y"], units(2, seed=5))]
    release = open_release(write_release(tmp_path / "r", *parts))
    for query in units(20, seed=9):
        assert_nearest(release.search(query, 5, search_k=1), parts, query, 5)


def test_search_k_looks_at_less_or_at_more_of_a_larger_shard(tmp_path: Path) -> None:
    part = Part(None, names(900), units(900))
    release = open_release(write_release(tmp_path / "r", part))
    looked_at = dict.fromkeys((20, 200, 2000, None), 0)
    for query in units(30, seed=9):
        best = {neighbour.item_id for neighbour in release.search(query, 10, search_k=EVERYTHING)}
        for search_k in looked_at:
            found = release.search(query, 10, search_k=search_k)
            assert len(found) == 10
            looked_at[search_k] += len(best & {neighbour.item_id for neighbour in found})
    assert looked_at[20] < looked_at[200] < looked_at[2000] == looked_at[None] == 300


@pytest.mark.parametrize("eligible", [0, 1, 4, 5, 6])
def test_as_many_as_are_eligible_are_found_among_very_many_that_are_not(tmp_path: Path, eligible: int) -> None:
    """The query's nearest 800 are not eligible, so that no candidate of Annoy's is."""
    query = units(1)[0]
    vectors = units(900)
    order = np.argsort(-(vectors @ query))
    vectors = vectors[order]
    flags = [False] * (900 - eligible) + [True] * eligible
    part = Part(None, names(900), vectors, flags)
    release = open_release(write_release(tmp_path / "r", part))
    assert_nearest(release.search(query, 5, search_k=10), [part], query, 5)


def test_hundreds_of_equal_vectors_are_taken_by_id(tmp_path: Path) -> None:
    """More than are scored at once, and more than anybody asks for."""
    vectors = np.repeat(units(2), 700, axis=0)
    ids = [f"{n * 7919 % 1400:04d}" for n in range(1400)]
    release = open_release(write_release(tmp_path / "r", Part(None, ids, vectors)))
    found = release.search(vectors[0], 30, search_k=EVERYTHING)
    assert [neighbour.item_id for neighbour in found] == sorted(ids[:700])[:30]
    assert {neighbour.score for neighbour in found} == {found[0].score}


def test_vectors_of_zeros_score_zero_and_such_as_are_not_finite_are_left_out(tmp_path: Path) -> None:
    vectors = units(40)
    vectors[3], vectors[4, 2], vectors[5, 1] = 0, np.nan, np.inf
    for count in (9, 40):  # within a leaf, and with Annoy's trees
        release = open_release(write_release(tmp_path / f"r{count}", Part(None, names(count), vectors[:count])))
        for k in (count - 2, count):
            found = dict(release.search(vectors[0], k, search_k=EVERYTHING))
            assert found.keys() == set(names(count)) - {"item-004", "item-005"}
            assert found["item-003"] == 0
            assert np.isfinite(list(found.values())).all()


def test_vector_may_be_of_any_length_but_zero(tmp_path: Path) -> None:
    release = open_release(write_release(tmp_path / "r", Part(None, names(9), units(9))))
    query = units(1, seed=4)[0]
    expected = [neighbour.item_id for neighbour in release.search(query, 9)]
    for scale in (1e-300, 1e-3, 17, 1e300):
        found = release.search((query.astype(np.float64) * scale).tolist(), 9)
        assert [neighbour.item_id for neighbour in found] == expected


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Two shards of bags, one of shoes, and one without a group."""
    groups = ["bag", "bag", "shoe", None]
    parts = [Part(group, names(4, f"{n}"), units(4, seed=n)) for n, group in enumerate(groups)]
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
    "words": (lambda release: release.search(["a"] * DIMENSIONS), "not made of numbers"),
    "nothing": (lambda release: release.search(None), "shape|numbers"),
    "k of 0": (lambda release: release.search(QUERY, 0), "k is 0; give"),
    "k below 0": (lambda release: release.search(QUERY, -5), "k is -5; give"),
    "k a fraction": (lambda release: release.search(QUERY, 2.5), "k is 2.5; give"),
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


def test_k_may_exceed_the_index_and_what_annoy_can_count(grouped: Release) -> None:
    assert len(grouped.search(QUERY, 10**12)) == 16
    assert len(grouped.search(QUERY, 10**12, "bag", search_k=10**12)) == 8


def test_group_of_a_release_without_groups_is_refused(tmp_path: Path) -> None:
    release = open_release(write_release(tmp_path / "r", Part(None, names(3), units(3))))
    with pytest.raises(QueryError, match="has no groups"):
        release.search(QUERY, 1, "bag")


def test_index_of_no_shards_answers_nothing(tmp_path: Path) -> None:
    assert open_release(write_release(tmp_path / "r")).search(QUERY, 3) == []


def test_shards_of_other_groups_are_not_even_opened(tmp_path: Path) -> None:
    parts = [Part("bag", names(3, "a"), units(3)), Part("shoe", names(3, "b"), units(3))]
    release = open_release(write_release(tmp_path / "r", *parts))
    (tmp_path / "r/index/shard-00001.ann").unlink()
    assert len(release.search(QUERY, 9, "bag")) == 3
    with pytest.raises(ShardError):
        release.search(QUERY, 9)


def test_shard_is_verified_once_for_all_searches(tmp_path: Path) -> None:
    release = open_release(write_release(tmp_path / "r", Part(None, names(30), units(30))))
    with mock.patch.object(annoy_index.files, "sha256", wraps=annoy_index.files.sha256) as digests:
        first = release.search(QUERY, 3)
        assert release.search(QUERY, 3) == first
    assert digests.call_count == 1


def test_threads_may_share_a_release(tmp_path: Path) -> None:
    parts = [Part(None, names(40, f"{n}"), units(40, seed=n)) for n in range(4)]
    root = write_release(tmp_path / "r", *parts)
    queries = units(64, seed=9)
    release = open_release(root)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda query: release.search(query, 5), queries))
    for query, neighbours in zip(queries, found, strict=True):
        assert_nearest(neighbours, parts, query, 5)


# --- what is damaged does not answer


def flip(path: Path) -> None:
    """One bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def edit(**fields: Any) -> Callable[[Path], None]:
    """Other values in index.json: of the whole, or of its first shard."""

    def change(path: Path) -> None:
        body = json.loads(path.read_text())
        for name, value in fields.items():
            (body if name in body else body["shards"][0])[name] = value
        path.write_text(json.dumps(body))

    return change


def golden(**fields: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        body = json.loads(path.read_text())
        body["shards"][0]["golden"].update(fields)
        path.write_text(json.dumps(body))

    return change


def retable(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    return lambda path: pq.write_table(change(pq.read_table(path)), path)


def with_ids(change: Callable[[list[str]], list[str | None]]) -> Callable[[Path], None]:
    return retable(lambda t: t.set_column(1, "item_id", pa.array(change(t["item_id"].to_pylist()), pa.string())))


def with_eligible(values: pa.Array) -> Callable[[Path], None]:
    return retable(lambda t: t.append_column("eligible", values))


ANN, ITEMS, INDEX = "shard-00000.ann", "shard-00000.items.parquet", "index.json"
DAMAGE: dict[str, tuple[str, Callable[[Path], object], type[LookalikeError], str]] = {
    "shard gone": (ANN, Path.unlink, ShardError, "no such shard"),
    "shard cut short": (ANN, lambda path: path.write_bytes(path.read_bytes()[:-100]), ShardError, "bytes"),
    "shard empty": (ANN, lambda path: path.write_bytes(b""), ShardError, "0 bytes"),
    "shard with another bit": (ANN, flip, ShardError, "sha256"),
    "list gone": (ITEMS, Path.unlink, ShardError, "no such file"),
    "list cut short": (ITEMS, lambda path: path.write_bytes(path.read_bytes()[:-9]), ShardError, "damaged"),
    "list empty": (ITEMS, lambda path: path.write_bytes(b""), ShardError, "damaged"),
    "list of fewer items": (ITEMS, retable(lambda t: t.slice(0, 39)), ShardError, "lists 39 items"),
    "list of other items": (ITEMS, with_ids(lambda ids: [f"x{name}" for name in ids]), ShardError, "ids_sha256"),
    "list in another order": (ITEMS, with_ids(lambda ids: ids[::-1]), ShardError, "ids_sha256"),
    "list with a null": (ITEMS, with_ids(lambda ids: [None, *ids[1:]]), ShardError, "columns"),
    "list of shuffled rows": (ITEMS, retable(lambda t: t.sort_by([("position", "descending")])), ShardError, "columns"),
    "list without ids": (ITEMS, retable(lambda t: t.drop_columns(["item_id"])), ShardError, "item_id"),
    "eligible is a number": (ITEMS, with_eligible(pa.array([1] * 40)), ShardError, "columns"),
    "eligible is null": (ITEMS, with_eligible(pa.array([None] * 40, pa.bool_())), ShardError, "columns"),
    "manifest gone": (INDEX, Path.unlink, ManifestError, "No such file"),
    "manifest of before there were versions": (
        INDEX,
        lambda path: path.write_text(path.read_text().replace('"version":1,', "")),
        ManifestError,
        "version None",
    ),
    "manifest of another version": (INDEX, edit(version=2), ManifestError, "version 2"),
    "another metric": (INDEX, edit(metric="euclidean"), ManifestError, "metric"),
    "fewer dimensions": (INDEX, edit(dimensions=7), ShardError, "dimensions"),
    "more dimensions": (INDEX, edit(dimensions=2048), ShardError, "dimensions"),
    "fewer items": (INDEX, edit(items=39), ShardError, "lists 40 items, the manifest says 39"),
    "path outside": (INDEX, edit(file="../../shard-00000.ann"), ManifestError, "shards.0.file"),
    "golden distances moved": (INDEX, golden(distances=[0.1 * n for n in range(10)]), ShardError, "golden"),
    "golden items swapped": (INDEX, golden(neighbours=list(range(10))), ShardError, "golden"),
    "golden query of another item": (INDEX, golden(position=7), ShardError, "golden"),
    "golden query emptied": (INDEX, golden(neighbours=[], distances=[]), ShardError, "golden"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_index_is_refused_with_a_line(tmp_path: Path, case: str) -> None:
    name, damage, error, said = DAMAGE[case]
    root = write_release(tmp_path / "r", Part(None, names(40), units(40)))
    assert open_release(root).search(QUERY, 3)
    damage(root / "index" / name)
    release = open_release(root)
    for _ in range(2):  # the second time is no easier
        with pytest.raises(error, match=said) as refused:
            release.search(QUERY, 3)
        assert len(str(refused.value).splitlines()) == 1


def test_files_of_two_shards_exchanged_are_refused(tmp_path: Path) -> None:
    root = write_release(tmp_path / "r", Part("a", names(9, "a"), units(9)), Part("b", names(9, "b"), units(9, 2)))
    one, two = root / "index/shard-00000.items.parquet", root / "index/shard-00001.items.parquet"
    one.rename(tmp_path / "aside")
    two.rename(one)
    (tmp_path / "aside").rename(two)
    with pytest.raises(ShardError, match="ids_sha256"):
        open_release(root).search(QUERY)


# --- opening


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="no such folder; give a warehouse"):
        open_release(tmp_path / "nothing")
    with pytest.raises(WarehouseError, match="holds no release yet"):
        open_release(tmp_path)


def test_package_has_no_other_names() -> None:
    assert lookalike.open_release is open_release
    with pytest.raises(AttributeError, match="no attribute 'open_warehouse'"):
        lookalike.open_warehouse  # noqa: B018


def test_import_of_the_package_brings_nothing_along_and_the_reader_no_spark() -> None:
    script = """
import sys, lookalike
print(*sys.modules, sep="\\n", end="\\n--\\n")
lookalike.open_release
print(*sys.modules, sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    package, _, everything = done.stdout.partition("\n--\n")
    assert not {"numpy", "pyarrow", "pydantic", "annoy", "lookalike.serving.client"} & set(package.split())
    assert "lookalike.serving.client" in everything.split()
    assert not {"pyspark", "py4j", "tensorflow", "keras", "h5py"} & set(everything.split())


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
    own = release.search_image(path, 3, night.shop.rows[item]["kind"])
    assert [neighbour.item_id for neighbour in own[1:]] == [name for name, _ in release.similar(item, 2)]


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
    with pytest.raises(WarehouseError, match=f"{table} cannot be read") as refused:
        open_release(copy).similar(ALONE)
    assert len(str(refused.value).splitlines()) == 1


def test_record_of_another_version_is_refused(night: Night, tmp_path: Path) -> None:
    copy = shutil.copytree(night.warehouse, tmp_path / "copy", symlinks=True)
    path = (copy / "current" / "release.json").resolve()
    sound = json.loads(path.read_text())
    for problem, record in (
        ("config.images is not as this version", {**sound, "config": {"images": {"max_megabytes": 3}}}),
        ("config.images is not as this version", {**sound, "config": {}}),
        ("lacks 'model.model_id'", {**sound, "model": {}}),
    ):
        path.write_text(json.dumps(record))
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
