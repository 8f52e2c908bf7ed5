"""One Annoy angular shard: build, verify, load.

The file is plain Annoy, which anyone can load; positions are the rows of the vectors that it was built from.
"""

from __future__ import annotations

import errno
import math
import os
import resource
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from annoy import AnnoyIndex
from numpy.typing import NDArray

from lookalike.errors import ShardError
from lookalike.storage import files

METRIC: Final = "angular"

# Nearest items that a golden query asks for, the item itself included.
GOLDEN_ITEMS = 10

# Squared distances, 2 - 2 cosine, differ by less between CPUs, which add in another order (twice SCORE_NOISE). Not the
# distances themselves: near 0 the root makes 4e-4 of 1e-7.
GOLDEN_NOISE = 2e-5

# 4-byte words of a node before its vector: n_descendants, and two children or the norm (annoylib.h, struct Angular)
HEADER = 3
# A leaf holds so many more items than a vector has numbers.
LEAF_ITEMS = 2

# Seconds of a core: of an item read out of Parquet, gathered, written and hashed; and of one in a level of a tree.
ITEM_SECONDS = 1.2e-4
SPLIT_SECONDS = 1e-6


@dataclass(frozen=True)
class GoldenQuery:
    """A query for the item at `position`, made right after the build, and Annoy's answer, nearest first."""

    position: int
    neighbours: tuple[int, ...]
    distances: tuple[float, ...]

    def matches(self, answer: GoldenQuery) -> bool:
        """Whether `answer` is the same up to noise: items that tie may change places, also with ones after the last."""
        if len(self.neighbours) != len(answer.neighbours):
            return False
        ours, theirs = np.square(self.distances), np.square(answer.distances)
        found = dict(zip(answer.neighbours, theirs, strict=True))
        edge = ours.max(initial=0) - GOLDEN_NOISE
        return np.allclose(ours, theirs, rtol=0, atol=GOLDEN_NOISE) and all(
            abs(found[position] - square) <= GOLDEN_NOISE if position in found else square >= edge
            for position, square in zip(self.neighbours, ours, strict=True)
        )


@dataclass(frozen=True)
class ShardFile:
    """What the manifest says of one `.ann` file: enough to refuse a damaged or foreign one."""

    items: int
    dimensions: int
    bytes: int
    sha256: str
    golden: GoldenQuery


def build(path: Path, vectors: NDArray[np.float32], trees: int, seed: int) -> ShardFile:
    """Write the index of `vectors` float32 [n, d] to `path`; the same input gives the same bytes.

    One thread and a fixed seed make the build repeatable. It is built on disk, where memory starts as zeros; on the
    heap, old bytes would end up in the padding of leaf nodes.
    """
    items, dimensions = vectors.shape
    trees = trees_of(items, dimensions, trees)
    _need_space(path.parent, 1.3 * file_bytes(items, dimensions, trees))  # Annoy grows its file by 1.3
    index = AnnoyIndex(dimensions, METRIC)
    index.set_seed(seed)
    index.on_disk_build(str(path))
    index.add_item(items - 1, vectors[-1].tolist())  # it makes room for all
    _fill_items(path, vectors)
    index.build(trees, n_jobs=1)
    index.unload()
    path.chmod(0o644)  # Annoy's 0600 would hide the index from its readers
    golden = _golden_query(path, vectors)
    return ShardFile(items, dimensions, path.stat().st_size, files.sha256(path), golden)


def trees_of(items: int, dimensions: int, trees: int) -> int:
    """Return how many trees a shard gets: one where a leaf holds all its items, which is exact; others would repeat it.

    With 50 trees a shard of 7 items had 100 more nodes, which took 0.8 MB and most of the time to write it.
    """
    return 1 if items <= dimensions + LEAF_ITEMS else trees


def file_bytes(items: int, dimensions: int, trees: int) -> int:
    """Return about how large the file becomes; of 16,384 items and 50 trees it is a hundredth smaller."""
    node = 4 * (HEADER + dimensions)
    # Random splits leave the leaves about half full; each tree has as many splits, and Annoy copies its root.
    leaves = math.ceil(items / (dimensions + LEAF_ITEMS))
    return node * (items + trees_of(items, dimensions, trees) * (4 * leaves + 2))


def build_seconds(items: int, dimensions: int, trees: int) -> float:
    """Return the expected seconds of a core to read, gather and write a shard, and to build its trees."""
    leaves = items / (dimensions + LEAF_ITEMS)
    levels = math.log2(leaves) + 0.5 if leaves > 1 else 0.0
    return items * (ITEM_SECONDS + levels * trees * SPLIT_SECONDS)


def _fill_items(path: Path, vectors: NDArray[np.float32]) -> None:
    """Write the nodes of all items into the file that Annoy has mapped, as add_item does.

    One by one, each as a list of Python floats, they take 0.45 of the whole build (6,000 items, 50 trees).
    """
    items, dimensions = vectors.shape
    nodes = np.memmap(path, np.float32, "r+", shape=(items, HEADER + dimensions))
    nodes[:, HEADER:] = vectors
    nodes[:, 1] = np.einsum("nd,nd->n", vectors, vectors)  # the squared norm
    nodes[:, 2] = 0
    nodes.view(np.int32)[:, 0] = 1  # one item below each


def _golden_query(path: Path, vectors: NDArray[np.float32]) -> GoldenQuery:
    """Load the new file as a reader will, and query it for the first item that has a direction."""
    index = AnnoyIndex(vectors.shape[1], METRIC)
    index.load(str(path))
    usable = vectors.any(axis=1) & np.isfinite(vectors).all(axis=1)
    golden = _ask(index, int(np.argmax(usable)))
    index.unload()
    return golden


def _ask(index: AnnoyIndex, position: int) -> GoldenQuery:
    answer = zip(*index.get_nns_by_item(position, GOLDEN_ITEMS, include_distances=True), strict=True)
    # A vector that is not finite has no distance, which JSON cannot express.
    pairs = [(neighbour, round(distance, 6)) for neighbour, distance in answer if math.isfinite(distance)]
    return GoldenQuery(position, tuple(neighbour for neighbour, _ in pairs), tuple(distance for _, distance in pairs))


def _need_space(folder: Path, size: float) -> None:
    """Raise OSError if so many bytes would not fit on the disk, or be more than this process may write to a file.

    Annoy writes through a memory map: either kills the process.
    """
    largest = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if largest != resource.RLIM_INFINITY and largest < size:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(folder))
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def load(path: Path, expected: ShardFile) -> AnnoyIndex:
    """Return the shard, memory-mapped; raises ShardError unless it is the file that the manifest describes.

    Annoy itself loads a file of other dimensions without an error, and then answers wrongly or crashes. The digest
    takes most of the time: 0.3 s for the 147 MB of 16,384 items at 2,048 dimensions.
    """
    if not path.is_file():
        raise ShardError(f"{path}: no such shard; the release is incomplete, roll back to another")
    size = path.stat().st_size
    if size != expected.bytes:
        raise ShardError(f"{path}: {size:,} bytes, the manifest says {expected.bytes:,}; restore it from a copy")
    if files.sha256(path) != expected.sha256:
        raise ShardError(f"{path}: the content does not match the manifest's sha256; restore it from a copy")
    _nodes(path, expected)
    index = AnnoyIndex(expected.dimensions, METRIC)
    try:
        index.load(str(path))
    except OSError as error:
        raise ShardError(f"{path}: Annoy cannot load it with {expected.dimensions} dimensions ({error})") from None
    if not expected.golden.matches(_ask(index, expected.golden.position)):
        raise ShardError(
            f"{path}: Annoy does not give the golden answer of index.json: annoy was built for another CPU, here or "
            "where the file was made, or one of the two files is damaged; reinstall annoy without -march=native, "
            "restore the index from a copy, roll back, or run the job with another index.seed to rebuild it"
        )
    return index


def stored_vectors(path: Path, expected: ShardFile) -> NDArray[np.float32]:
    """Return the vectors by position, float32 [n, d], memory-mapped from a file that `load` accepted.

    They are those of get_item_vector, which makes a Python float of each value: 1 ms for ten vectors.
    """
    return _nodes(path, expected)[: expected.items, HEADER:]


def map_vectors(path: Path, items: int, dimensions: int) -> NDArray[np.float32]:
    """Return the vectors of a file that is trusted, by position, float32 [n, d], memory-mapped; its rows lie apart."""
    return _map(path, HEADER + dimensions)[:items, HEADER:]


def _map(path: Path, width: int) -> NDArray[np.float32]:
    with pa.memory_map(str(path)) as file:  # unlike numpy's, the map outlives the file's descriptor
        return np.frombuffer(file.read_buffer(), dtype=np.float32).reshape(-1, width)


def _nodes(path: Path, expected: ShardFile) -> NDArray[np.float32]:
    """Return Annoy's nodes, float32 [nodes, header and vector]; raises ShardError if they have other dimensions.

    Every item is a node that counts 1 item, and the last node is a root, which counts all items.
    """
    width = HEADER + expected.dimensions
    if expected.bytes % (4 * width) or expected.bytes < 4 * width * expected.items:
        raise ShardError(
            f"{path}: {expected.bytes:,} bytes cannot be the {expected.items:,} items of {expected.dimensions:,} "
            "dimensions that the manifest says; restore the index from a copy"
        )
    nodes = _map(path, width)
    counts = nodes[:, 0].view(np.int32)
    holds = int(counts[-1])
    if holds != expected.items or counts[0] != 1 or counts[holds - 1] != 1:
        raise ShardError(
            f"{path}: read with {expected.dimensions:,} dimensions it holds {holds:,} items, the manifest says "
            f"{expected.items:,}; restore the index from a copy"
        )
    return nodes
