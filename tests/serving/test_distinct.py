"""Rules that a search by vector follows: groups, one item of a product and of a picture, ties; a removed release."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.errors import QueryError, ReleaseRemovedError
from lookalike.serving.client import Release, open_release
from lookalike.warehouse.release import ReleaseFolder
from support import records
from support.served import ShardItems, units, write_release


def at(*degrees: float) -> np.ndarray:
    """Unit vectors at these angles to (1, 0)."""
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


QUERY = at(0)[0]


def release_of(
    folder: Path, parts: Sequence[ShardItems], similar: dict[str, Any], products: Sequence[object] = ()
) -> Release:
    """A release with the tables that name its products and its duplicates: of each id `x2` the item `x1` stands."""
    release = ReleaseFolder(write_release(folder / "wh/releases/r1", *parts))
    ids = [item for part in parts for item in part.ids]
    release.embeddings.mkdir()
    columns = {"item_id": pa.array(ids), "product": pa.array(products or [None] * len(ids))}
    pq.write_table(pa.table(columns), release.embeddings / "part-0.parquet")
    release.duplicates.mkdir()
    named = [item for item in ids if item.endswith("2")]
    pairs = {"item_id": named, "representative_item_id": [f"{item[:-1]}1" for item in named]}
    pq.write_table(pa.table(pairs), release.duplicates / "part-0.parquet")
    records.write_record(release, config={"similar": similar})
    return open_release(release.root)


def ids(release: Release, k: int, **options: Any) -> list[str]:
    return [neighbour.item_id for neighbour in release.search(QUERY, k, **options)]


BOTH = {"variant_of": "product", "duplicate_cosine": 0.99}
NAN = float("nan")

# ids at 1, 2, 3, … degrees, their products, the settings, and the ids of a distinct search for 3
DISTINCT: dict[str, tuple[str, list[object], dict[str, Any], str]] = {
    "neither rule": ("a1 a2 b c", ["p", "p", "p", "p"], {}, "a1 a2 b"),
    "the nearest of a product": ("a b c d e", ["p", "p", None, "q", "p"], {"variant_of": "product"}, "a c d"),
    "no product is none": ("a b c d", [None, None, None, None], {"variant_of": "product"}, "a b c"),
    "NaN is no product": ("a b c d", [NAN, NAN, 1.0, 1.0], {"variant_of": "product"}, "a b c"),
    "an empty text is a product": ("a b c d", ["", "", "p", "q"], {"variant_of": "product"}, "a c d"),
    "the nearest of a picture": ("a2 a1 b1 c b2 d", [None] * 6, {"duplicate_cosine": 0.99}, "a2 b1 c"),
    "both": ("a1 b a2 c1 c2 d", ["p", "q", "r", "q", "r", "s"], BOTH, "a1 b c2"),
    "fewer than k": ("a1 a2 b c", ["p", "q", "p", "p"], BOTH, "a1"),
}


@pytest.mark.parametrize("case", DISTINCT)
def test_distinct_search_names_the_nearest_of_each_product_and_picture(tmp_path: Path, case: str) -> None:
    names, products, similar, expected = DISTINCT[case]
    shard = ShardItems(None, names.split(), at(*range(1, len(products) + 1)))
    assert ids(release_of(tmp_path, [shard], similar, products), 3, distinct=True) == expected.split()


def test_distinct_search_goes_on_until_it_has_k(tmp_path: Path) -> None:
    """Two hundred colours of one product are nearer than all others."""
    shard = ShardItems(None, [f"i{n:03d}" for n in range(300)], at(*np.linspace(0, 90, 300)))
    release = release_of(tmp_path, [shard], BOTH, ["p"] * 200 + [None] * 100)
    assert ids(release, 3, distinct=True) == ["i000", "i200", "i201"]
    assert ids(release, 3) == ["i000", "i001", "i002"]


def test_items_without_a_group_can_be_asked_for(tmp_path: Path) -> None:
    parts = [ShardItems(None, ["a", "b"], at(1, 4)), ShardItems("bag", ["c", "d"], at(2, 3))]
    release = release_of(tmp_path, parts, {})
    assert ids(release, 9) == ["a", "c", "d", "b"]
    assert ids(release, 9, group=None) == ["a", "b"]
    assert ids(release, 9, group="bag") == ["c", "d"]
    with pytest.raises(QueryError, match="group None: every item has a kind"):
        open_release(write_release(tmp_path / "all", parts[1])).search(QUERY, 9, None)
    without = open_release(write_release(tmp_path / "none", parts[0]))
    assert [item for item, _ in without.search(QUERY, 9, None)] == ["a", "b"]


def test_copies_of_one_picture_are_in_the_order_of_their_ids_though_annoy_sees_some_alone(tmp_path: Path) -> None:
    vectors = units(600, dimensions=8)
    vectors[100:500] = vectors[100]
    shard = ShardItems(None, [f"i{n:03d}" for n in range(600)], vectors)
    release = open_release(write_release(tmp_path / "r", shard))
    found = release.search(vectors[100], 3, search_k=50)
    assert [item for item, _ in found] == ["i100", "i101", "i102"]


def test_reader_of_a_removed_release_says_to_open_the_warehouse_again(tmp_path: Path) -> None:
    release = release_of(tmp_path, [ShardItems(None, ["a"], at(1))], {"variant_of": "product"})
    shutil.rmtree(tmp_path / "wh/releases/r1")
    for ask in (lambda: release.similar("a"), lambda: release.search(QUERY), lambda: release.search_image(b"")):
        with pytest.raises(ReleaseRemovedError, match=r"release r1 was removed from .*; open the warehouse again"):
            ask()
