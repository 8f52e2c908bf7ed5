"""The rows of a release's tables, compared with the catalogue and with each other."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.errors import CountError
from lookalike.index import manifest
from lookalike.index.annoy import GoldenQuery
from lookalike.quality import counts
from lookalike.warehouse.record import ChangesTableRecord
from lookalike.warehouse.release import Staged
from support import records, staging

TABLES = ("embeddings", "failures", "index", "neighbours", "similar_items", "changes")
CHANGES = ChangesTableRecord(item_upserts=3, item_deletes=1, list_upserts=6, list_deletes=2)


def release(folder: Path, in_shard: int = 8, **rows: int) -> Staged:
    """Write a release of ten items, of which two failed, and a tombstone; `rows` are those of a table that differs."""
    staged = staging.stage(folder)
    root = staged.root
    for name, whole in zip(TABLES, (8, 2, 9, 8, 40, 12), strict=True):
        (root / name).mkdir()
        pq.write_table(pa.table({"item_id": ["a"] * rows.get(name, whole)}), root / name / "part-0.parquet")
    shard = manifest.ManifestShard(
        file="shard-00000.ann",
        items_file="shard-00000.items.parquet",
        group=None,
        delta=False,
        items=9,
        live=in_shard,
        candidates=in_shard,
        bytes=1,
        sha256="",
        ids_sha256="",
        golden=GoldenQuery(0, (), ()),
    )
    group = manifest.ManifestGroup(group=None, centroids_file=None, lists=1)
    whole_index = manifest.Manifest(
        dimensions=2, trees=1, seed=1, group_by=None, next_shard=1, groups=(group,), shards=(shard,)
    )
    manifest.write(whole_index, root / "index")
    staged.add(staging.files_of(staged))
    return staged


def test_whole_release_has_each_item_once(tmp_path: Path) -> None:
    rows = counts.count_tables(release(tmp_path))
    rows.check_items(10)
    rows.check_read(records.figures(items=10, embedded=8, failed=2, similar_items=40), CHANGES)


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ({"embeddings": 3}, "10 items of the catalogue, but 5 in embeddings and failures"),
        ({"failures": 0}, "10 items of the catalogue, but 8 in embeddings and failures"),
        ({"failures": 3}, "10 items of the catalogue, but 11 in embeddings and failures"),
        ({"index": 7}, "9 positions in index.json, but 7 in the index"),
        ({"in_shard": 7}, "8 embeddings, but 7 in the shards of index.json"),
        ({"neighbours": 7}, "8 embeddings, but 7 in neighbours"),
        ({"neighbours": 9}, "8 embeddings, but 9 in neighbours"),
    ],
)
def test_item_that_is_in_one_table_only_ends_the_run(tmp_path: Path, lost: dict[str, int], words: str) -> None:
    rows = counts.count_tables(release(tmp_path, **lost))
    with pytest.raises(CountError, match=words) as raised:
        rows.check_items(10)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("lost", ["embedded", "failed", "similar_items"])
def test_figures_of_fewer_rows_than_the_files_have_end_the_run(tmp_path: Path, lost: str) -> None:
    rows = counts.count_tables(release(tmp_path))
    read = {"items": 10, "embedded": 8, "failed": 2, "similar_items": 40}
    with pytest.raises(CountError, match=f"but {read[lost] - 1} in what was read of them"):
        rows.check_read(records.figures(**{**read, lost: read[lost] - 1}), CHANGES)


def test_changes_that_were_not_read_end_the_run(tmp_path: Path) -> None:
    rows = counts.count_tables(release(tmp_path))
    with pytest.raises(CountError, match="12 rows in the files of changes, but 11 in what was read of them"):
        rows.check_read(
            records.figures(items=10, embedded=8, failed=2, similar_items=40),
            CHANGES.model_copy(update={"list_deletes": 1}),
        )
