"""Vectors are read by Arrow next to small columns, from the row groups that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.errors import WarehouseError
from lookalike.quality import vectors
from lookalike.spark import arrow_files
from lookalike.warehouse.shared_files import ON_DISK

VECTORS = np.random.default_rng(1).normal(size=(60, 3)).astype(np.float32)


@pytest.fixture(params=["file:", "file://"])
def files(tmp_path: Path, request: pytest.FixtureRequest) -> list[str]:
    """Three files of 20 vectors in row groups of 6, 6, 6 and 2, as Spark names them."""
    folder = tmp_path / "a b%20ö"
    folder.mkdir()
    for number in range(3):
        some = VECTORS[number * 20 :][:20]
        table = pa.table({"item_id": [f"{n}" for n in range(20)], "embedding": some.tolist()})
        table = table.set_column(1, "embedding", table["embedding"].cast(pa.list_(pa.float32())))
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=6)
    uri = request.param + str(folder).replace("%", "%25").replace(" ", "%20")
    return [f"{uri}/{number}.parquet" for number in range(3)]


def batches(files: list[str], rows: Sequence[int], size: int) -> Iterator[pa.RecordBatch]:
    """Rows by their number in VECTORS, so many to a batch."""
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        places = {"file": [files[row // 20] for row in some], "row": pa.array([row % 20 for row in some], pa.int64())}
        yield pa.record_batch({**places, "number": pa.array(some, pa.int64())})


WANTED: dict[str, Sequence[int]] = {
    "all": range(60),
    "some": [0, 5, 6, 19, 20, 41, 59],
    "one row group in the middle": [33, 34],
    "a gap of a row group": [20, 21, 38],
    "none": [],
    "out of order": [59, 3, 21, 2, 40, 20],
}


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("case", WANTED)
def test_each_row_gets_its_vector(files: list[str], case: str, size: int) -> None:
    found = list(vectors.read_vectors(ON_DISK, batches(files, WANTED[case], size)))
    numbers = [number for rows, _ in found for number in rows["number"].to_pylist()]
    assert sorted(numbers) == sorted(WANTED[case])
    for rows, matrix in found:
        np.testing.assert_array_equal(matrix, VECTORS[rows["number"].to_numpy()])


def test_only_what_holds_wanted_rows_is_read(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the row groups none without a wanted row; where these are few, none of the batches after the last of them."""
    read: list[tuple[str, Any]] = []
    decoded: list[int] = []
    real = arrow_files.read_batches

    def spy(path: Path, columns: Sequence[str] | None, groups: Sequence[int], size: int) -> Iterator[pa.RecordBatch]:
        read.append((path.name, groups))
        for batch in real(path, columns, groups, size):
            decoded.append(len(batch))
            yield batch

    monkeypatch.setattr(arrow_files, "read_batches", spy)
    monkeypatch.setattr(vectors, "FEW_AT_ONCE", 2)
    found = list(vectors.read_vectors(ON_DISK, batches(files, [1, 2, 15, 40, 59], 2)))
    assert sum(len(rows) for rows, _ in found) == 5
    assert read == [("0.parquet", [0]), ("0.parquet", [2]), ("2.parquet", [0]), ("2.parquet", [3])]
    assert decoded == [6, 2, 2, 2, 2]
    for rows, matrix in found:
        np.testing.assert_array_equal(matrix, VECTORS[rows["number"].to_numpy()])


def test_file_that_is_gone_is_a_named_error(files: list[str]) -> None:
    with pytest.raises(WarehouseError, match=r"gone\.parquet cannot be read"):
        list(vectors.read_vectors(ON_DISK, batches([files[0].replace("0.parquet", "gone.parquet")], [1], 1)))


def test_vectors_travel_as_binary() -> None:
    column = pa.chunked_array([vectors.as_binary(VECTORS[:20]), vectors.as_binary(VECTORS[20:])])
    np.testing.assert_array_equal(vectors.of_binary(column), VECTORS)
    assert vectors.of_binary(pa.chunked_array([], pa.binary())).shape == (0, 0)


def test_equal_vectors_and_no_others_have_the_same_hash() -> None:
    """Also those that differ in one number alone, in its last bit or its sign, or in the order; -0 equals 0."""
    first = VECTORS[0]
    others = [first.copy() for _ in range(3)]
    others[0][2] = np.nextafter(first[2], np.float32(9))
    others[1][1] *= -1
    others[2] = first[::-1]
    hashes = vectors.hash_vectors(np.stack([*VECTORS, *others, np.zeros(3, np.float32)]))
    assert len(np.unique(hashes)) == len(hashes)
    np.testing.assert_array_equal(vectors.hash_vectors(np.float32([[-0.0, 0, 0], [0, 0, -0.0]])), hashes[-1])
    np.testing.assert_array_equal(vectors.hash_vectors(VECTORS[5:9]), hashes[5:9])
