"""Nights of a table of vectors: what changes is another picture, what goes is gone, and the lists follow."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import mix
import mix_table
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scale
import table_nights
from pyspark.sql import SparkSession

ITEMS = 400


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mix of 60 vectors of 16 values."""
    originals = np.random.default_rng(1).random((60, 16), dtype=np.float32)
    path = tmp_path_factory.mktemp("mix") / "mix.npz"
    mix.Mix.of(originals / np.linalg.norm(originals, axis=1, keepdims=True)).save(path)
    return path


@pytest.fixture
def nights(
    spark: SparkSession, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[table_nights.TableNights]:
    def write(_spark: SparkSession, source: Path, sizes: list[int], path: Path) -> None:
        """In this process: the workers of the tests do not know the modules of the benchmark."""
        path.mkdir()
        rows = list(mix_table.block(mix.Mix.load(source), 0, sizes))
        for number, batch in enumerate(rows):
            table_nights.write(pa.Table.from_batches([batch]), path / f"part-{number}.parquet")

    monkeypatch.setattr(mix_table, "write", write)
    monkeypatch.setattr(mix_table, "BATCH", ITEMS // 2)
    settings = table_nights.settings_for(str(tmp_path), 5, mix_table.GROUP, plan="exact")
    with table_nights.TableNights(spark, settings, source, [300, 100]) as nights:
        yield nights


def vectors_of(nights: table_nights.TableNights) -> dict[str, np.ndarray]:
    assert nights.before
    table = pq.read_table(nights.before.release.embeddings)
    return dict(zip(table["item_id"].to_pylist(), table["embedding"].to_pylist(), strict=True))


def test_a_night_changes_and_removes_as_many_items_and_ends_as_a_run_from_nothing(
    nights: table_nights.TableNights,
) -> None:
    seconds: dict[str, float] = {}
    measure = partial(table_nights.timed, seconds)
    assert nights.first(measure).searched == ITEMS
    before = vectors_of(nights)
    repaired = nights.later(8, 2, measure)
    after = vectors_of(nights)
    assert before.keys() > after.keys()
    assert len(after) == ITEMS - 2
    assert sum(vector != before[item] for item, vector in after.items()) == 8
    assert repaired.searched < ITEMS / 2
    assert seconds.keys() == {"embeddings", "index", "neighbours"}
    with nights.from_nothing(measure) as searched:
        assert searched.searched == len(after)
        one, other = (found.similar_items.drop("release_id").toArrow() for found in (repaired, searched))
    order = [("item_id", "ascending"), ("rank", "ascending")]
    assert one.sort_by(order).equals(other.sort_by(order))


def test_files_without_a_dropped_item_are_linked(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    for name, ids in (("one", ["a", "b"]), ("two", ["c", "d"])):
        table_nights.write(pa.table({"item_id": ids}), tmp_path / f"before/{name}.parquet")
    table_nights.carry(tmp_path / "before", tmp_path / "after", pa.array(["d", "x"]))
    one, two = (tmp_path / f"after/{name}.parquet" for name in ("one", "two"))
    assert one.samefile(tmp_path / "before/one.parquet")
    assert pq.read_table(two)["item_id"].to_pylist() == ["c"]


def test_ratios_are_of_index_and_neighbours_together() -> None:
    seconds = {
        (scale.LARGER, "from nothing"): (60, 40),
        (scale.LARGER, "1 % changed"): (6, 4),
        (scale.LARGER, "as few as in the smaller"): (2, 4),
        (scale.SMALLER, "1 % changed"): (1, 2),
    }
    steps = {
        f"{name}, {night}: {step}": {"seconds": one, "peak_mb": one * 100}
        for (name, night), both in seconds.items()
        for step, one in zip(("index", "neighbours"), both, strict=True)
    }
    assert list(scale.ratios(steps).values()) == [0.1, 2.0, 600]
