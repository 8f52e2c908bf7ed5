"""The check of a release finds what is wrong in one that is otherwise right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import annoy
import check_release
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ITEMS, K = 12, 3
IDS = [f"item-{number:02d}" for number in range(ITEMS)]
IN_STOCK = [number != 5 for number in range(ITEMS)]
CATALOGUE = pa.table({"item_id": [*IDS, "failed"], "in_stock": [*IN_STOCK, True]})

Rows = dict[str, list[tuple[str, float]]]


def vectors() -> np.ndarray:
    drawn = np.random.default_rng(3).random((ITEMS, 6)).astype(np.float32)
    unit: np.ndarray = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


def right_lists() -> Rows:
    """By a loop over all pairs."""
    found: Rows = {}
    for row, one in enumerate(vectors()):
        pairs = [(float(one @ other), name) for name, other, sold in zip(IDS, vectors(), IN_STOCK, strict=True) if sold]
        best = sorted((pair for pair in pairs if pair[1] != IDS[row]), reverse=True)[:K]
        found[IDS[row]] = [(name, score) for score, name in best]
    return found


def write(folder: Path, name: str, table: pa.Table) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / name / "part.parquet")


def write_lists(folder: Path, lists: Rows) -> None:
    rows = [(item, at + 1, *pair, "r") for item, pairs in lists.items() for at, pair in enumerate(pairs)]
    names = ("item_id", "rank", "similar_item_id", "score", "release_id")
    write(folder, "similar_items", pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))))


def write_shard(folder: Path, number: int, rows: list[int], deleted: list[int], shown: np.ndarray) -> None:
    shard = annoy.AnnoyIndex(shown.shape[1], "angular")
    for position, row in enumerate(rows):
        shard.add_item(position, shown[row])
    shard.build(1)
    (folder / "index").mkdir(exist_ok=True)
    shard.save(str(folder / f"index/shard-{number}.ann"))
    columns = {"position": list(range(len(rows))), "item_id": [IDS[row] for row in rows]}
    marks = [position in deleted for position in range(len(rows))]
    pq.write_table(pa.table({**columns, "deleted": marks}), folder / f"index/shard-{number}.items.parquet")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Two shards; item-03 has left a tombstone in the first for a position in the second."""
    columns = {"item_id": IDS, "embedding": list(vectors()), "embedded_at": [1] * ITEMS}
    write(tmp_path, "embeddings", pa.table(columns))
    write(tmp_path, "failures", pa.table({"item_id": ["failed"]}))
    write_lists(tmp_path, right_lists())
    write_shard(tmp_path, 0, [0, 1, 2, 3, 4, 5, 6], [3], vectors())
    write_shard(tmp_path, 1, [3, 7, 8, 9, 10, 11], [], vectors())
    return tmp_path


def test_a_right_release_has_a_recall_of_one(release: Path) -> None:
    assert check_release.Release(release).check(CATALOGUE, K).tolist() == [1.0] * ITEMS


def test_recall_is_the_share_of_the_true_neighbours(release: Path) -> None:
    lists = right_lists()
    scores = vectors() @ vectors()[0]
    worst = min((number for number in range(1, ITEMS) if IN_STOCK[number]), key=lambda number: scores[number])
    lists[IDS[0]][-1] = (IDS[worst], float(scores[worst]))
    write_lists(release, lists)
    assert check_release.Release(release).check(CATALOGUE, K).tolist() == [pytest.approx(2 / 3)] + [1.0] * (ITEMS - 1)


def named_twice(lists: Rows) -> None:
    lists[IDS[0]][1] = lists[IDS[0]][0]


def sold_out(lists: Rows) -> None:
    lists[IDS[0]][2] = (IDS[5], float(vectors()[0] @ vectors()[5]))


def wrong_score(lists: Rows) -> None:
    lists[IDS[0]][2] = (lists[IDS[0]][2][0], lists[IDS[0]][2][1] - 0.001)


def wrong_order(lists: Rows) -> None:
    lists[IDS[0]].reverse()


def too_short(lists: Rows) -> None:
    lists[IDS[0]].pop()


def unknown(lists: Rows) -> None:
    lists[IDS[0]][0] = ("item-99", 0.99)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (named_twice, "a list names an item twice"),
        (sold_out, "or one that is sold out"),
        (wrong_score, "a score is not the cosine"),
        (wrong_order, "not in the order of its scores"),
        (too_short, "a list is too short or too long"),
        (unknown, "an item that has no embedding"),
    ],
)
def test_a_wrong_list_is_found(release: Path, spoil: Callable[[Rows], None], what: str) -> None:
    lists = right_lists()
    spoil(lists)
    write_lists(release, lists)
    with pytest.raises(check_release.WrongReleaseError, match=what):
        check_release.Release(release).check(CATALOGUE, K)


@pytest.mark.parametrize(
    ("rows", "deleted", "what"),
    [
        ([3, 7, 8, 9, 10], [], "the index has 11 live items, 12 are embedded"),
        ([0, 3, 7, 8, 9, 10, 11], [], "the index has 13 live items"),
        ([3, 7, 8, 9, 10, 11], [0], "the index has 11 live items"),
    ],
)
def test_an_item_that_is_not_once_in_the_index_is_found(
    release: Path, rows: list[int], deleted: list[int], what: str
) -> None:
    write_shard(release, 1, rows, deleted, vectors())
    with pytest.raises(check_release.WrongReleaseError, match=what):
        check_release.Release(release).check(CATALOGUE, K)


def test_another_vector_in_the_index_is_found(release: Path) -> None:
    write_shard(release, 1, [3, 7, 8, 9, 10, 11], [], vectors() + np.float32(0.001))
    with pytest.raises(check_release.WrongReleaseError, match=r"shard-1\.ann: position 0, item-03"):
        check_release.Release(release).check(CATALOGUE, K)


def test_other_items_than_those_of_the_catalogue_are_found(release: Path) -> None:
    with pytest.raises(check_release.WrongReleaseError, match="other items than in the catalogue"):
        check_release.Release(release).check(CATALOGUE.slice(1), K)


def test_tables_that_differ_are_told_by_their_columns(release: Path) -> None:
    one = check_release.Release(release).lists()
    other = one.set_column(3, "score", pa.array(np.nextafter(one["score"].to_numpy(), 2)))
    check_release.assert_same("lists", one, one)
    with pytest.raises(check_release.WrongReleaseError, match="lists: score are not those of a run from nothing"):
        check_release.assert_same("lists", one, other)
