"""One Annoy angular shard: build, verify, load, query. No Spark.

The file is plain Annoy, for anyone to load; positions are the rows of the vectors it was built from.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from annoy import AnnoyIndex
from numpy.typing import NDArray

from lookalike import files
from lookalike.errors import ShardError

METRIC: Final = "angular"


@dataclass(frozen=True)
class ShardFile:
    """What the manifest says of one `.ann` file, enough to refuse a damaged or foreign one."""

    items: int
    dimensions: int
    bytes: int
    sha256: str


def build(path: Path, vectors: NDArray[np.float32], trees: int, seed: int) -> ShardFile:
    """Write the index of `vectors` float32 [n, d] to `path`; the same input gives the same bytes.

    One thread and a fixed seed make the build repeatable. It is built on disk: that memory starts as zeros, while
    the heap's leftovers would end up in the padding of leaf nodes.
    """
    items, dimensions = vectors.shape
    _need_space(path.parent, items, dimensions, trees)
    index = AnnoyIndex(dimensions, METRIC)
    index.set_seed(seed)
    index.on_disk_build(str(path))
    for position in range(items):  # Annoy takes lists, one by one
        index.add_item(position, vectors[position].tolist())
    index.build(trees, n_jobs=1)
    index.unload()
    path.chmod(0o644)  # Annoy's 0600 would hide the index from its readers
    return ShardFile(items, dimensions, path.stat().st_size, files.sha256(path))


def _need_space(folder: Path, items: int, dimensions: int, trees: int) -> None:
    """Raises OSError where the file would not fit: Annoy writes through a memory map, and a full disk kills it."""
    node = 4 * dimensions + 12  # bytes: a vector, its norm and two children (annoylib.h)
    # A leaf holds dimensions + 2 items; random splits leave them about half full, and Annoy grows its file by 1.3.
    nodes = items + trees * (4 * math.ceil(items / (dimensions + 2)) + 2)
    if shutil.disk_usage(folder).free < 1.3 * nodes * node:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def load(path: Path, expected: ShardFile) -> AnnoyIndex:
    """The opened shard, memory-mapped; raises ShardError unless it is the file that the manifest describes.

    Annoy itself loads a file of another dimension without a word and answers wrongly.
    """
    if not path.is_file():
        raise ShardError(f"{path}: no such shard; the release is incomplete, roll back to another")
    size = path.stat().st_size
    if size != expected.bytes:
        raise ShardError(f"{path}: {size:,} bytes, the manifest says {expected.bytes:,}; restore it from a copy")
    if files.sha256(path) != expected.sha256:
        raise ShardError(f"{path}: the content does not match the manifest's sha256; restore it from a copy")
    index = AnnoyIndex(expected.dimensions, METRIC)
    try:
        index.load(str(path))
    except OSError as error:
        raise ShardError(f"{path}: Annoy cannot load it with {expected.dimensions} dimensions ({error})") from None
    if index.get_n_items() != expected.items:
        raise ShardError(f"{path}: holds {index.get_n_items():,} items, the manifest says {expected.items:,}")
    return index
