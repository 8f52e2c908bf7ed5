"""What the lists of a release look like, read from several files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from lookalike.quality import lists
from lookalike.quality.lists import Wanted
from lookalike.warehouse.shared_files import ON_DISK
from support import release_files

# By file; scores are those of a, the first neighbour, and so on.
LISTS = (
    {"a": [("b", 0.9), ("c", 0.5), ("d", -1.0)], "b": [("a", 0.9)]},
    {"c": [("a", 1.0), ("b", 0.3)], "d": [("a", 0.3), ("b", 0.2), ("c", 0.1)], "é": [("x" * 3_000, 0.3)]},
    {},
)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    found = []
    for number, listed in enumerate(LISTS):
        folder = tmp_path_factory.mktemp("lists") / str(number)
        rows = [(item, rank, *one) for item, others in listed.items() for rank, one in enumerate(others, 1)]
        columns = dict(zip(release_files.LIST, zip(*rows, strict=True) if rows else [()] * 4, strict=True))
        release_files.write(folder, columns, {"rank": pa.int32(), "score": pa.float32()})
        found.append(folder / "part-0.parquet")
    return found


def test_lists_are_counted_and_the_worst_are_found_over_all_files(spark: SparkSession, paths: list[Path]) -> None:
    found = lists.read(spark, ON_DISK, paths, Wanted(k=3, worst=2))
    assert found.count == 5
    assert [item for _, item in found.lowest] == ["d", "é"]  # equal scores by id
    assert [(count, item) for count, item in found.shortest] == [(1, "b"), (1, "é")]
    assert found.drawn == []
    assert set(found.neighbours()) == {"b", "d", "é"}
    assert found.neighbours()["d"] == [("a", pytest.approx(0.3)), ("b", pytest.approx(0.2)), ("c", pytest.approx(0.1))]


def test_scores_of_first_and_last_neighbours_are_counted_up_to_k(spark: SparkSession, paths: list[Path]) -> None:
    found = lists.read(spark, ON_DISK, paths, Wanted(k=2))

    def histogram(*scores: float) -> list[int]:
        return np.histogram(np.float32(scores), lists.BINS, (-1, 1))[0].tolist()

    assert found.best.tolist() == histogram(0.9, 0.9, 1.0, 0.3, 0.3)
    assert found.last.tolist() == histogram(0.5, 0.9, 0.3, 0.2, 0.3)
    assert found.neighbours() == {}


def test_wanted_lists_come_whole_and_no_others(spark: SparkSession, paths: list[Path]) -> None:
    found = lists.read(spark, ON_DISK, paths, Wanted(k=3, items=frozenset({"c", "gone"})))
    assert found.neighbours() == {"c": [("a", 1.0), ("b", pytest.approx(0.3))]}
    assert lists.read(spark, ON_DISK, [], Wanted(k=3, items=frozenset("c"))).neighbours() == {}


def test_draw_takes_about_as_many_as_are_asked_for_the_same_in_any_files(tmp_path: Path, spark: SparkSession) -> None:
    ids = [f"item-{number:05d}" for number in range(4_000)]  # numbers, of which a CRC is not evenly spread

    def drawn(name: str, files: int) -> list[str]:
        paths = []
        for number in range(files):
            columns = {"item_id": ids[number::files], "rank": [1] * (4_000 // files)}
            more = {"similar_item_id": ids[number::files], "score": [0.5] * (4_000 // files)}
            folder = tmp_path / f"{name}-{number}"
            release_files.write(folder, {**columns, **more}, {"rank": pa.int32(), "score": pa.float32()})
            paths.append(folder / "part-0.parquet")
        return sorted(lists.read(spark, ON_DISK, paths, Wanted.some(3, (), 400, 4_000, 0)).drawn)

    one = drawn("one", 1)
    assert 340 < len(one) < 460  # three standard deviations of 19
    assert one == drawn("two", 2)
    assert len({number // 500 for number in map(ids.index, one)}) == 8  # of everywhere


def test_few_lists_are_all_drawn(spark: SparkSession, paths: list[Path]) -> None:
    found = lists.read(spark, ON_DISK, paths, Wanted.some(3, (), 2_000, 5, 0))
    assert sorted(found.drawn) == ["a", "b", "c", "d", "é"]
