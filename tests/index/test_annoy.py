"""One Annoy file: repeatable to the byte, plain for anyone to open, refused when damaged."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from annoy import AnnoyIndex

from lookalike.index import annoy as annoy_index
from lookalike.index.annoy import GoldenQuery, ShardFile
from lookalike.storage import files

DIMENSIONS = 16


def random_units(rows: int, dimensions: int = DIMENSIONS, seed: int = 1) -> np.ndarray:
    """Random unit vectors."""
    vectors = np.random.default_rng(seed).normal(size=(rows, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def with_zeros() -> np.ndarray:
    """Unit vectors with a zero vector in every tenth place."""
    vectors = random_units(200)
    vectors[::10] = 0
    return vectors


VECTORS = {
    "random": random_units(500),
    "one": random_units(1),
    "two": random_units(2),
    "fewer than a leaf holds": random_units(DIMENSIONS),
    "one more than a leaf holds": random_units(DIMENSIONS + 3),
    "identical": np.tile(random_units(1), (300, 1)),
    "all zero": np.zeros((300, DIMENSIONS), dtype=np.float32),
    "some zero": with_zeros(),
    "one dimension": random_units(50, 1),
}


def naive_distances(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Annoy's angular distance to every vector, in float64; a zero vector is a right angle from everything."""
    return np.sqrt(np.maximum(0, 2 - 2 * vectors.astype(np.float64) @ query.astype(np.float64)))


@pytest.mark.parametrize("vectors", VECTORS.values(), ids=VECTORS)
def test_same_input_gives_the_same_bytes(tmp_path: Path, vectors: np.ndarray) -> None:
    first = annoy_index.build(tmp_path / "a.ann", vectors, trees=10, seed=3)
    dirt = [np.random.default_rng(n).bytes(4096) for n in range(200)]
    del dirt
    assert annoy_index.build(tmp_path / "b.ann", vectors, trees=10, seed=3) == first
    assert (tmp_path / "a.ann").read_bytes() == (tmp_path / "b.ann").read_bytes()


@pytest.mark.parametrize(
    ("module", "asked", "answer", "code"),
    [
        ("shutil", "disk_usage", SimpleNamespace(free=9000), errno.ENOSPC),
        ("resource", "getrlimit", (9000, 9000), errno.EFBIG),
    ],
)
def test_file_without_room_is_an_error_and_does_not_kill_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, asked: str, answer: Any, code: int
) -> None:
    monkeypatch.setattr(getattr(annoy_index, module), asked, lambda _: answer)
    with pytest.raises(OSError) as error:  # noqa: PT011 - its number tells
        annoy_index.build(tmp_path / "a.ann", VECTORS["random"], trees=3, seed=1)
    assert error.value.errno == code
    assert list(tmp_path.iterdir()) == []


def test_seed_and_trees_are_part_of_the_input(tmp_path: Path) -> None:
    shards = {
        annoy_index.build(tmp_path / "a.ann", VECTORS["random"], trees, seed).sha256
        for trees, seed in ((10, 3), (10, 4), (11, 3))
    }
    assert len(shards) == 3


def test_build_replaces_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ann"
    annoy_index.build(path, random_units(900), trees=10, seed=3)
    second = annoy_index.build(path, random_units(20), trees=10, seed=3)
    assert annoy_index.load(path, second).get_n_items() == 20
    assert second == annoy_index.build(tmp_path / "b.ann", random_units(20), trees=10, seed=3)


@pytest.mark.parametrize("vectors", VECTORS.values(), ids=VECTORS)
def test_file_is_that_of_annoys_own_add_item_up_to_the_last_bits_of_the_norms(
    tmp_path: Path, vectors: np.ndarray
) -> None:
    annoy_index.build(tmp_path / "a.ann", vectors, trees=10, seed=3)
    plain = AnnoyIndex(vectors.shape[1], "angular")
    plain.set_seed(3)
    plain.on_disk_build(str(tmp_path / "b.ann"))
    for position, vector in enumerate(vectors):
        plain.add_item(position, vector.tolist())
    plain.build(1 if len(vectors) <= DIMENSIONS + 2 else 10, n_jobs=1)
    plain.unload()
    ours, theirs = (np.fromfile(tmp_path / name, np.float32) for name in ("a.ann", "b.ann"))
    norms = np.zeros(len(ours), dtype=bool)
    norms[1 : len(vectors) * (3 + vectors.shape[1]) : 3 + vectors.shape[1]] = True
    np.testing.assert_array_equal(ours.view(np.int32)[~norms], theirs.view(np.int32)[~norms])
    np.testing.assert_allclose(ours[norms], theirs[norms], rtol=1e-6)


@pytest.mark.parametrize("vectors", VECTORS.values(), ids=VECTORS)
@pytest.mark.parametrize("trees", [1, 30])
def test_description_is_that_of_the_file(tmp_path: Path, vectors: np.ndarray, trees: int) -> None:
    path = tmp_path / "a.ann"
    shard = annoy_index.build(path, vectors, trees, seed=3)
    assert shard == ShardFile(*vectors.shape, path.stat().st_size, files.sha256(path), shard.golden)
    index = annoy_index.load(path, shard)
    assert index.get_n_items() == len(vectors)
    assert index.f == vectors.shape[1]


@pytest.mark.parametrize("vectors", VECTORS.values(), ids=VECTORS)
def test_plain_annoy_that_scans_all_answers_as_brute_force(tmp_path: Path, vectors: np.ndarray) -> None:
    annoy_index.build(tmp_path / "a.ann", vectors, trees=30, seed=3)
    index = AnnoyIndex(vectors.shape[1], "angular")
    index.load(str(tmp_path / "a.ann"))
    for position in (0, len(vectors) // 2, len(vectors) - 1):
        query = vectors[position]
        found, distances = index.get_nns_by_vector(query.tolist(), 10, search_k=1_000_000, include_distances=True)
        expected = naive_distances(vectors, query)
        np.testing.assert_allclose(distances, np.sort(expected)[:10], atol=2e-3)
        np.testing.assert_allclose(distances, expected[found], atol=2e-3)
        assert len(set(found)) == min(10, len(vectors))


@pytest.mark.parametrize("items", [1, 2, 9, DIMENSIONS + 2])
def test_shard_of_one_leaf_answers_with_one_tree_as_with_many(tmp_path: Path, items: int) -> None:
    vectors = random_units(items)
    shard = annoy_index.build(tmp_path / "a.ann", vectors, trees=30, seed=3)
    assert shard.bytes == (items + 2) * 4 * (DIMENSIONS + annoy_index.HEADER)  # its tree, and Annoy's copy of the root
    many = AnnoyIndex(DIMENSIONS, "angular")
    for position, vector in enumerate(vectors):
        many.add_item(position, vector.tolist())
    many.build(30)
    one = annoy_index.load(tmp_path / "a.ann", shard)
    for query in random_units(5, seed=2):
        for search_k in (-1, 1, 1000):
            found, right = (
                index.get_nns_by_vector(query.tolist(), items, search_k, include_distances=True)
                for index in (one, many)
            )
            assert found[0] == right[0]
            np.testing.assert_allclose(found[1], right[1], atol=1e-5)


def test_positions_are_the_rows_of_the_vectors(tmp_path: Path) -> None:
    vectors = VECTORS["some zero"]
    index = annoy_index.load(tmp_path / "a.ann", annoy_index.build(tmp_path / "a.ann", vectors, trees=5, seed=3))
    stored = np.array([index.get_item_vector(n) for n in range(len(vectors))], dtype=np.float32)
    np.testing.assert_array_equal(stored, vectors)


@pytest.mark.parametrize("vectors", VECTORS.values(), ids=VECTORS)
def test_golden_query_is_what_plain_annoy_answers(tmp_path: Path, vectors: np.ndarray) -> None:
    golden = annoy_index.build(tmp_path / "a.ann", vectors, trees=10, seed=3).golden
    plain = AnnoyIndex(vectors.shape[1], "angular")
    plain.load(str(tmp_path / "a.ann"))
    found, distances = plain.get_nns_by_item(golden.position, 10, include_distances=True)
    assert golden.neighbours == tuple(found)
    assert len(found) == min(10, len(vectors))
    np.testing.assert_allclose(golden.distances, distances, atol=1e-6)
    np.testing.assert_allclose(distances, naive_distances(vectors, vectors[golden.position])[found], atol=2e-3)


def test_golden_query_is_of_an_item_that_has_a_direction(tmp_path: Path) -> None:
    vectors = random_units(40)
    vectors[0], vectors[1, 3], vectors[2, 5] = 0, np.nan, np.inf
    shard = annoy_index.build(tmp_path / "a.ann", vectors, trees=10, seed=3)
    assert shard.golden.position == 3
    assert np.isfinite(shard.golden.distances).all()
    annoy_index.load(tmp_path / "a.ann", shard)


def test_stored_vectors_are_what_annoy_gives_back(tmp_path: Path) -> None:
    vectors = VECTORS["some zero"]
    shard = annoy_index.build(tmp_path / "a.ann", vectors, trees=5, seed=3)
    index = annoy_index.load(tmp_path / "a.ann", shard)
    stored = annoy_index.stored_vectors(tmp_path / "a.ann", shard)
    np.testing.assert_array_equal(stored, np.float32([index.get_item_vector(n) for n in range(len(vectors))]))
    np.testing.assert_array_equal(stored, vectors)


GOLDEN = GoldenQuery(4, (4, 2, 7, 9), (0.0, 0.3, 0.5, 0.5))


@pytest.mark.parametrize(
    ("neighbours", "distances", "same"),
    [
        ((4, 2, 7, 9), (0.0, 0.3, 0.5, 0.5), True),
        ((4, 2, 7, 9), (0.004, 0.30001, 0.50001, 0.49999), True),  # another CPU's last bits
        ((4, 2, 9, 7), (0.0, 0.3, 0.5, 0.5), True),  # a tie
        ((4, 2, 9, 8), (0.0, 0.3, 0.5, 0.5), True),  # a tie with one beyond the last
        ((4, 2, 8, 6), (0.0, 0.3, 0.5, 0.5), True),
        ((4, 2, 7, 9), (0.0, 0.3, 0.5, 0.51), False),
        ((2, 4, 7, 9), (0.0, 0.3, 0.5, 0.5), False),
        ((4, 3, 7, 9), (0.0, 0.3, 0.5, 0.5), False),
        ((4, 2, 7), (0.0, 0.3, 0.5), False),
        ((4, 2, 7, 9, 1), (0.0, 0.3, 0.5, 0.5, 0.5), False),
        ((), (), False),
        ((4, 2, 7, 9), (0.0, 0.3, 0.5, float("nan")), False),
    ],
)
def test_golden_answers_are_compared_up_to_noise(
    neighbours: tuple[int, ...], distances: tuple[float, ...], same: bool
) -> None:
    assert GOLDEN.matches(GoldenQuery(4, neighbours, distances)) == same


def test_empty_golden_answers_match() -> None:
    assert GoldenQuery(0, (), ()).matches(GoldenQuery(0, (), ()))
