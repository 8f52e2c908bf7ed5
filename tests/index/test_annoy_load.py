"""A damaged or foreign Annoy file is refused with one line that names it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from annoy import AnnoyIndex

from lookalike.errors import ShardError
from lookalike.index import annoy as annoy_index
from lookalike.index.annoy import ShardFile
from lookalike.storage import files

DIMENSIONS = 16


def random_units(rows: int, dimensions: int = DIMENSIONS, seed: int = 1) -> np.ndarray:
    """Random unit vectors."""
    vectors = np.random.default_rng(seed).normal(size=(rows, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def shard(tmp_path: Path) -> tuple[Path, ShardFile]:
    """A sound shard and what the manifest says of it."""
    path = tmp_path / "shard-00000.ann"
    return path, annoy_index.build(path, random_units(100), trees=10, seed=3)


def flip_a_bit(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def refusal(path: Path, expected: ShardFile) -> str:
    """The one line that refuses the shard; it names the file."""
    with pytest.raises(ShardError) as refused:
        annoy_index.load(path, expected)
    line = str(refused.value)
    assert len(line.splitlines()) == 1
    assert str(path) in line
    return line


def test_missing_shard_is_refused(shard: tuple[Path, ShardFile]) -> None:
    path, expected = shard
    path.unlink()
    assert "no such shard" in refusal(path, expected)
    path.mkdir()
    assert "no such shard" in refusal(path, expected)


@pytest.mark.parametrize("keep", [0, 1, 76, -76, -1])
def test_truncated_shard_is_refused(shard: tuple[Path, ShardFile], keep: int) -> None:
    path, expected = shard
    path.write_bytes(path.read_bytes()[:keep])
    assert f"the manifest says {expected.bytes:,}" in refusal(path, expected)


def test_shard_that_grew_is_refused(shard: tuple[Path, ShardFile]) -> None:
    path, expected = shard
    path.write_bytes(path.read_bytes() + bytes(76))
    assert f"the manifest says {expected.bytes:,}" in refusal(path, expected)


@pytest.mark.parametrize("at", [0, 5000, -1])
def test_flipped_bit_is_refused(shard: tuple[Path, ShardFile], at: int) -> None:
    path, expected = shard
    flip_a_bit(path, at)
    assert "sha256" in refusal(path, expected)


def test_another_shard_of_the_same_size_is_refused(shard: tuple[Path, ShardFile]) -> None:
    path, expected = shard
    sizes = (annoy_index.build(path, random_units(100), 10, seed).bytes for seed in range(4, 1000))
    assert expected.bytes in sizes  # lazily: `path` is now the first other shard of that size
    assert "sha256" in refusal(path, expected)


def test_manifest_with_another_number_of_items_is_refused(shard: tuple[Path, ShardFile]) -> None:
    path, expected = shard
    line = refusal(path, dataclasses.replace(expected, items=99))
    assert "holds 100 items" in line
    assert "says 99" in line


@pytest.mark.parametrize("dimensions", [1, 7, 8, 15, 17, 32, 2048])
def test_manifest_with_other_dimensions_is_refused_before_annoy_reads_it(
    shard: tuple[Path, ShardFile], dimensions: int
) -> None:
    path, expected = shard
    assert "dimensions" in refusal(path, dataclasses.replace(expected, dimensions=dimensions))


def test_file_of_another_metric_is_refused(shard: tuple[Path, ShardFile]) -> None:
    """Same dimensions, a node of another size: its digest may match where the manifest was made for it."""
    path, expected = shard
    other = AnnoyIndex(DIMENSIONS, "euclidean")
    for position, vector in enumerate(random_units(100)):
        other.add_item(position, vector.tolist())
    other.build(10)
    other.save(str(path))
    theirs = dataclasses.replace(expected, bytes=path.stat().st_size, sha256=files.sha256(path))
    assert "dimensions" in refusal(path, theirs)


def test_annoy_that_answers_otherwise_than_at_the_build_is_refused(shard: tuple[Path, ShardFile]) -> None:
    path, expected = shard
    golden = expected.golden
    farther = tuple(distance + 0.01 * (distance > 0) for distance in golden.distances)
    other = (golden.neighbours[0], *(90 + n for n in range(9)))
    for wrong in ({"distances": farther}, {"neighbours": other}, {"neighbours": (), "distances": ()}):
        line = refusal(path, dataclasses.replace(expected, golden=dataclasses.replace(golden, **wrong)))
        assert "golden" in line
        assert "another CPU" in line
