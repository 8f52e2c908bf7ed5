"""Vectors for the neighbour search, any number of them: mixtures of the embeddings of real pictures.

Random vectors would have no structure to search in. Those of a few thousand pictures have, and mixing keeps it:
a new vector lies between a picture and, mostly, one of its near neighbours. 30,000 of them made of 5,959 photos have
a local intrinsic dimension of 7.6 around the median item (maximum likelihood over 20 neighbours), the photos 6.5.

    python tests/bench/mix.py 30000 vectors.npy
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import contender
import numpy as np
import pictures
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

PICTURES = 6000
SEED = 5

# Rows drawn at a time, 41 MB. A row depends only on the number of its block, so a larger set begins with a smaller one.
BLOCK = 5000

# In a mixture w*a + (1-w)*b, b is one of the nearest of a, except one in five, which may be any.
NEAREST, ANYWHERE = 20, 0.2

# Every value is scaled by 1 + NOISE*z, which keeps zeros zero. 0.05 makes the intrinsic dimension 4.9, 0.2 makes it 15.
NOISE = 0.1


@dataclass(frozen=True)
class Mix:
    """The originals float32 [m, d] of unit length, and the rows of the nearest others of each [m, n]."""

    originals: Vectors
    nearest: NDArray[np.int64]

    @classmethod
    def of(cls, originals: Vectors) -> Mix:
        """Find the nearest others of each."""
        count = min(NEAREST, len(originals) - 1)
        found = []
        for start in range(0, len(originals), BLOCK):
            scores = originals[start : start + BLOCK] @ originals.T
            scores[np.arange(len(scores)), np.arange(start, start + len(scores))] = -np.inf
            found.append(np.argpartition(scores, -count, axis=1)[:, -count:])
        return cls(originals, np.sort(np.concatenate(found), axis=1))

    @classmethod
    def load(cls, path: Path) -> Mix:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(arrays["originals"], arrays["nearest"])

    def save(self, path: Path) -> None:
        """Write both arrays, completely or not at all."""
        part = path.with_suffix(".part.npz")
        np.savez(part, originals=self.originals, nearest=self.nearest)
        os.replace(part, path)

    def blocks(self, items: int) -> Iterator[tuple[int, Vectors]]:
        """Yield the first `items` vectors as (first row, float32 [n, d])."""
        for number in range(-(-items // BLOCK)):
            start = number * BLOCK
            yield start, self.block(number)[: items - start]

    def block(self, number: int) -> Vectors:
        """Return the vectors from number*BLOCK on, float32 [BLOCK, d]: unit length, no value below zero."""
        rng = np.random.default_rng((SEED, number))
        a = rng.integers(len(self.originals), size=BLOCK)
        b = self.nearest[a, rng.integers(self.nearest.shape[1], size=BLOCK)]
        b = np.where(rng.random(BLOCK) < ANYWHERE, rng.integers(len(self.originals), size=BLOCK), b)
        w = rng.uniform(0.5, 1, (BLOCK, 1)).astype(np.float32)
        mixed = w * self.originals[a]
        mixed += (1 - w) * self.originals[b]
        mixed *= 1 + NOISE * rng.standard_normal(mixed.shape, dtype=np.float32)
        np.maximum(mixed, 0, out=mixed)  # as in the features of ResNet50
        mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
        return mixed


def of_pictures(cache: Path) -> Path:
    """Return the mix of the photos next to the checkout, else of drawn pictures; embedded once and kept in `cache`."""
    path = cache / f"mix-{pictures.source()}-{PICTURES}.npz"
    if path.exists():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=cache, prefix="work-"))
    try:
        task = contender.Task(
            catalogue=str(pictures.plain(cache, PICTURES)),
            pictures=PICTURES,
            input_size=112,  # of the bundled weights
            cores=len(os.sched_getaffinity(0)),
            work=str(work),
        )
        contender.start("originals", task, cache / "originals.log")
        Mix.of(np.load(work / "originals.npy")).save(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return path


def write(mix: Mix, items: int, path: Path) -> Path:
    """Write the first `items` vectors as one .npy file, in blocks: a million are 8.2 GB."""
    part = path.with_suffix(".part.npy")
    shape = (items, mix.originals.shape[1])
    vectors = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
    for start, block in mix.blocks(items):
        vectors[start : start + len(block)] = block
    vectors.flush()
    os.replace(part, path)
    return path


def main() -> int:
    """Write a file of vectors."""
    parser = argparse.ArgumentParser(description="Vectors mixed from the embeddings of pictures.")
    parser.add_argument("items", type=int, help="how many")
    parser.add_argument("path", type=Path, help="the .npy file to write")
    options = parser.parse_args()
    write(Mix.load(of_pictures(contender.CACHE)), options.items, options.path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
