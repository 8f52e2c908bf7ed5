"""The shards of a release: as brute force answers, and not at all where a file is not what the manifest says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from lookalike.errors import LookalikeError, ManifestError, ShardError
from lookalike.serving.client import open_release
from support.served import DIMENSIONS, ShardItems, assert_nearest, names, units, write_release

EVERYTHING = 1_000_000  # search_k that leaves no item out
QUERY = units(1)[0]


# --- search


@st.composite
def part(draw: st.DrawFn, number: int) -> ShardItems:
    """Up to 30 items, a leaf of Annoy holding 6; few directions, so that many tie, and zeros among them."""
    count = draw(st.integers(1, 30))
    whole = draw(st.lists(st.tuples(*[st.integers(-1, 1)] * 4), min_size=count, max_size=count))
    vectors = np.array(whole, dtype=np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    eligible = draw(st.none() | st.lists(st.booleans(), min_size=count, max_size=count))
    deleted = draw(st.none() | st.lists(st.booleans(), min_size=count, max_size=count))
    group = draw(st.sampled_from([None, "bag", "shoe"]))
    ids = draw(st.permutations([f"{n:02d}-{number}" for n in range(count)]))
    return ShardItems(group, ids, vectors / np.where(norms, norms, 1), eligible, deleted)


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
    parts = [
        ShardItems(None, names(DIMENSIONS + 2), units(DIMENSIONS + 2)),
        ShardItems(None, ["x", "y"], units(2, seed=5)),
    ]
    release = open_release(write_release(tmp_path / "r", *parts))
    for query in units(20, seed=9):
        assert_nearest(release.search(query, 5, search_k=1), parts, query, 5)


def test_search_k_looks_at_less_or_at_more_of_a_larger_shard(tmp_path: Path) -> None:
    part = ShardItems(None, names(900), units(900))
    release = open_release(write_release(tmp_path / "r", part))
    looked_at = dict.fromkeys((20, 200, 2000, None), 0)
    for query in units(30, seed=9):
        best = {neighbour.item_id for neighbour in release.search(query, 10, search_k=EVERYTHING)}
        for search_k in looked_at:
            found = release.search(query, 10, search_k=search_k)
            assert len(found) == 10
            looked_at[search_k] += len(best & {neighbour.item_id for neighbour in found})
    assert looked_at[20] < looked_at[200] < looked_at[2000] == looked_at[None] == 300


@pytest.mark.parametrize("column", ["eligible", "deleted"])
@pytest.mark.parametrize("eligible", [0, 1, 4, 5, 6])
def test_as_many_as_are_eligible_are_found_among_very_many_that_are_not(
    tmp_path: Path, eligible: int, column: str
) -> None:
    """The query's nearest 800 are not eligible, or tombstones, so that no candidate of Annoy's may be returned."""
    query = units(1)[0]
    vectors = units(900)
    order = np.argsort(-(vectors @ query))
    vectors = vectors[order]
    flags = [False] * (900 - eligible) + [True] * eligible
    part = ShardItems(None, names(900), vectors, **{column: [flag == (column == "eligible") for flag in flags]})
    release = open_release(write_release(tmp_path / "r", part))
    assert_nearest(release.search(query, 5, search_k=10), [part], query, 5)


def test_hundreds_of_equal_vectors_are_taken_by_id(tmp_path: Path) -> None:
    """More than are scored at once, and more than anybody asks for."""
    vectors = np.repeat(units(2), 700, axis=0)
    ids = [f"{n * 7919 % 1400:04d}" for n in range(1400)]
    release = open_release(write_release(tmp_path / "r", ShardItems(None, ids, vectors)))
    found = release.search(vectors[0], 30, search_k=EVERYTHING)
    assert [neighbour.item_id for neighbour in found] == sorted(ids[:700])[:30]
    assert {neighbour.score for neighbour in found} == {found[0].score}


def test_vectors_of_zeros_score_zero_and_such_as_are_not_finite_are_left_out(tmp_path: Path) -> None:
    vectors = units(40)
    vectors[3], vectors[4, 2], vectors[5, 1] = 0, np.nan, np.inf
    for count in (9, 40):  # within a leaf, and with Annoy's trees
        release = open_release(write_release(tmp_path / f"r{count}", ShardItems(None, names(count), vectors[:count])))
        for k in (count - 2, count):
            found = dict(release.search(vectors[0], k, search_k=EVERYTHING))
            assert found.keys() == set(names(count)) - {"item-004", "item-005"}
            assert found["item-003"] == 0
            assert np.isfinite(list(found.values())).all()


def test_vector_may_be_of_any_length_but_zero(tmp_path: Path) -> None:
    release = open_release(write_release(tmp_path / "r", ShardItems(None, names(9), units(9))))
    query = units(1, seed=4)[0]
    expected = [neighbour.item_id for neighbour in release.search(query, 9)]
    for scale in (1e-300, 1e-3, 17, 1e300):
        found = release.search((query.astype(np.float64) * scale).tolist(), 9)
        assert [neighbour.item_id for neighbour in found] == expected


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
    return with_column("eligible", values)


def with_column(name: str, values: pa.Array) -> Callable[[Path], None]:
    return retable(lambda t: t.set_column(t.column_names.index(name), name, values))


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
    "deleted is null": (ITEMS, with_column("deleted", pa.array([None] * 40, pa.bool_())), ShardError, "columns"),
    "eligible is null": (ITEMS, with_eligible(pa.array([None] * 40, pa.bool_())), ShardError, "columns"),
    "manifest gone": (INDEX, Path.unlink, ManifestError, "No such file"),
    "manifest of before there were versions": (
        INDEX,
        lambda path: path.write_text(path.read_text().replace('"version":2,', "")),
        ManifestError,
        "version None",
    ),
    "manifest of another version": (INDEX, edit(version=3), ManifestError, "version 3"),
    "another metric": (INDEX, edit(metric="euclidean"), ManifestError, "metric"),
    "fewer dimensions": (INDEX, edit(dimensions=7), ShardError, "dimensions"),
    "more dimensions": (INDEX, edit(dimensions=2048), ShardError, "dimensions"),
    "fewer items": (INDEX, edit(items=39, live=39, candidates=39), ShardError, "lists 40 items, the manifest says 39"),
    "path outside": (INDEX, edit(file="../../shard-00000.ann"), ManifestError, "shards.0.file"),
    "golden distances moved": (INDEX, golden(distances=[0.1 * n for n in range(10)]), ShardError, "golden"),
    "golden items swapped": (INDEX, golden(neighbours=list(range(10))), ShardError, "golden"),
    "golden query of another item": (INDEX, golden(position=7), ShardError, "golden"),
    "golden query emptied": (INDEX, golden(neighbours=[], distances=[]), ShardError, "golden"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_index_is_refused_with_a_line(tmp_path: Path, case: str) -> None:
    name, damage, error, said = DAMAGE[case]
    root = write_release(tmp_path / "r", ShardItems(None, names(40), units(40)))
    assert open_release(root).search(QUERY, 3)
    damage(root / "index" / name)
    release = open_release(root)
    for _ in range(2):  # the second time is no easier
        with pytest.raises(error, match=said) as refused:
            release.search(QUERY, 3)
        assert len(str(refused.value).splitlines()) == 1


def test_files_of_two_shards_exchanged_are_refused(tmp_path: Path) -> None:
    root = write_release(
        tmp_path / "r", ShardItems("a", names(9, "a"), units(9)), ShardItems("b", names(9, "b"), units(9, 2))
    )
    one, two = root / "index/shard-00000.items.parquet", root / "index/shard-00001.items.parquet"
    one.rename(tmp_path / "aside")
    two.rename(one)
    (tmp_path / "aside").rename(two)
    with pytest.raises(ShardError, match="ids_sha256"):
        open_release(root).search(QUERY)


def test_index_of_version_1_is_searched(tmp_path: Path) -> None:
    """It has no tombstones, and says which items are eligible only where some are not."""
    part = ShardItems(None, names(40), units(40), [True] * 30 + [False] * 10)
    root = write_release(tmp_path / "r", part, ShardItems(None, names(40, "other"), units(40, 2)))

    def as_version_1(body: dict[str, Any]) -> None:
        body.update(version=1)
        for shard in body["shards"]:
            shard.update(content="", live=None, candidates=None, delta=None)

    path = root / "index" / INDEX
    body = json.loads(path.read_text())
    as_version_1(body)
    path.write_text(json.dumps(body))
    for number, columns in enumerate((["position", "item_id", "eligible"], ["position", "item_id"])):
        retable(lambda t, kept=columns: t.select(kept))(root / f"index/shard-0000{number}.items.parquet")
    parts = [part, ShardItems(None, names(40, "other"), units(40, 2))]
    assert_nearest(open_release(root).search(QUERY, 80), parts, QUERY, 80)
