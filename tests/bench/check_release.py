"""Is a release what it says? By pyarrow, numpy and Annoy alone, with nothing of this project's code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import annoy
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

# A cosine in float32, of 2,048 products, errs by so much.
ERROR = 4e-6

# Queries at a time.
BLOCK = 1000

# Columns of embeddings that differ from one run to another.
OF_THE_RUN = ("embedded_at",)


class WrongReleaseError(AssertionError):
    """A release that is not as it should be."""


def assert_that(right: Any, what: str) -> None:
    """Raise WrongReleaseError with `what`, unless it is right."""
    if not right:
        raise WrongReleaseError(what)


def assert_same(what: str, found: pa.Table, expected: pa.Table) -> None:
    """Compare two sorted tables to the last bit; raises WrongReleaseError."""
    assert_that(found.num_rows == expected.num_rows, f"{what}: {found.num_rows} rows, {expected.num_rows} from nothing")
    differ = [name for name in expected.column_names if not found[name].equals(expected[name])]
    assert_that(not differ, f"{what}: {', '.join(differ)} are not those of a run from nothing")


@dataclass(frozen=True)
class Release:
    """A release by its folder."""

    folder: Path

    def embeddings(self) -> pa.Table:
        """Everything of the table but what tells of the run, by item."""
        table = pq.read_table(self.folder / "embeddings").sort_by("item_id").combine_chunks()
        return table.drop_columns([name for name in OF_THE_RUN if name in table.column_names])

    def lists(self) -> pa.Table:
        """All lists, by item and rank."""
        table = pq.read_table(self.folder / "similar_items").drop_columns(["release_id"])
        return table.sort_by([("item_id", "ascending"), ("rank", "ascending")]).combine_chunks()

    def check(self, catalogue: pa.Table, k: int) -> NDArray[np.float64]:
        """Check every table against the catalogue (item_id, in_stock); return the recall of each embedded item."""
        table = self.embeddings()
        ids = np.array(table["item_id"].to_pylist())
        failed = pq.read_table(self.folder / "failures")["item_id"].to_pylist()
        assert_that(len(set(ids)) == len(ids), "an item has two embeddings")
        assert_that({*ids, *failed} == set(catalogue["item_id"].to_pylist()), "other items than in the catalogue")
        vectors = table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(ids), -1)
        self._check_index(ids, vectors)
        in_stock = dict(zip(catalogue["item_id"].to_pylist(), catalogue["in_stock"].to_pylist(), strict=True))
        return self._check_lists(ids, vectors, np.array([in_stock[item] for item in ids]), k)

    def _check_index(self, ids: NDArray[Any], vectors: NDArray[np.float32]) -> None:
        """Every embedded item has one live position in one shard, and its vector there."""
        live: list[str] = []
        for path in sorted((self.folder / "index").glob("*.ann")):
            items = pq.read_table(path.with_suffix(".items.parquet")).sort_by("position")
            assert_that(items["position"].to_pylist() == list(range(len(items))), f"{path.name}: positions have gaps")
            shard = annoy.AnnoyIndex(vectors.shape[1], "angular")
            shard.load(str(path))
            assert_that(shard.get_n_items() == len(items), f"{path.name}: {shard.get_n_items()} of {len(items)} items")
            gone = items["deleted"].to_numpy() if "deleted" in items.column_names else np.zeros(len(items), bool)
            for position in np.flatnonzero(~gone).tolist():
                live.append(items["item_id"][position].as_py())
                rows = np.flatnonzero(ids == live[-1])
                same = len(rows) == 1 and shard.get_item_vector(position) == vectors[rows[0]].tolist()
                assert_that(same, f"{path.name}: position {position}, {live[-1]}: not embedded, or another vector")
        assert_that(sorted(live) == ids.tolist(), f"the index has {len(live)} live items, {len(ids)} are embedded")

    def _check_lists(
        self, ids: NDArray[Any], vectors: NDArray[np.float32], in_stock: NDArray[np.bool_], k: int
    ) -> NDArray[np.float64]:
        """Each list has as many neighbours as there can be, none twice, with their cosines, best first."""
        table = self.lists()
        of, named = (rows_of(table[name], ids) for name in ("item_id", "similar_item_id"))
        ranks, scores = table["rank"].to_numpy(), table["score"].to_numpy()
        wanted = np.minimum(k, in_stock.sum() - in_stock)
        assert_that(np.array_equal(np.bincount(of, minlength=len(ids)), wanted), "a list is too short or too long")
        starts = np.cumsum(wanted) - wanted
        assert_that(np.array_equal(ranks, np.arange(len(of)) - starts[of] + 1), "ranks are not 1, 2, 3, …")
        assert_that(in_stock[named].all() and (of != named).all(), "a list names its own item, or one that is sold out")
        assert_that(len(np.unique(of * len(ids) + named)) == len(of), "a list names an item twice")
        assert_that((np.diff(scores)[of[1:] == of[:-1]] <= 0).all(), "a list is not in the order of its scores")
        recall = np.ones(len(ids))
        for start in range(0, len(ids), BLOCK):
            rows = np.arange(start, min(start + BLOCK, len(ids)))
            cosines = vectors[rows] @ vectors.T
            here = (of >= rows[0]) & (of <= rows[-1])
            exact = cosines[of[here] - start, named[here]]
            assert_that(np.abs(exact - scores[here]).max(initial=0) <= ERROR, "a score is not the cosine")
            cosines[:, ~in_stock] = -np.inf
            cosines[rows - start, rows] = -np.inf
            last = np.take_along_axis(-np.sort(-cosines, axis=1), np.maximum(wanted[rows] - 1, 0)[:, None], axis=1)[
                :, 0
            ]
            right = np.bincount(of[here] - start, exact >= last[of[here] - start] - ERROR, minlength=len(rows))
            recall[rows] = right / np.maximum(wanted[rows], 1)
        return recall


def rows_of(column: pa.ChunkedArray, ids: NDArray[Any]) -> NDArray[np.int64]:
    """Rows of items by their sorted ids; raises WrongReleaseError for one that is not among them."""
    named = np.array(column.to_pylist(), dtype=ids.dtype if len(ids) else "U1")
    rows = np.minimum(np.searchsorted(ids, named), len(ids) - 1)
    assert_that(np.array_equal(ids[rows], named), "a list of, or with, an item that has no embedding")
    return rows
