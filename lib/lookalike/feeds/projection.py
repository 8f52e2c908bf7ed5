"""Fewer dimensions for vectors: the directions in which a sample of them is longest (PCA without a mean).

Neighbours are compared by cosine, that is by products of unit vectors, and no other n directions keep those products
as well. A mean that is taken off first would change every cosine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from lookalike.errors import ConfigError
from lookalike.topk.items import Vectors

# Vectors to fit on: 64 MB at 2,048 dimensions. More do not make the directions visibly better.
FIT_ITEMS = 8192

VERSION = 1


@dataclass(frozen=True)
class Projection:
    """The directions, float32 [dimensions before, dimensions after]."""

    directions: Vectors

    @classmethod
    def fit(cls, sample: Vectors, dimensions: int) -> Projection:
        """Return the directions of a sample; raises ConfigError where it has fewer than `dimensions`."""
        if not 1 <= dimensions <= min(sample.shape):
            raise ConfigError(
                f"--dimensions {dimensions}: the release allows 1 to {min(sample.shape)}, which is the smaller of its "
                f"vectors' dimensions and the {len(sample):,} items that are looked at"
            )
        wide = sample.astype(np.float64)
        _, directions = np.linalg.eigh(wide.T @ wide)
        longest = directions[:, ::-1][:, :dimensions]
        # A direction and its opposite are equally good: the largest weight is positive.
        signs = np.sign(longest[np.abs(longest).argmax(axis=0), np.arange(dimensions)])
        return cls(np.ascontiguousarray(longest * signs, np.float32))

    @classmethod
    def load(cls, path: str | Path) -> Projection:
        """Return the directions that `projection.npz` beside an export holds; raises ConfigError."""
        try:
            with np.load(path) as stored:
                directions = np.asarray(stored["directions"], np.float32)
        except Exception as error:  # noqa: BLE001 - of a disk, zipfile, zlib and NumPy, whatever the file holds
            raise ConfigError(f"{path}: it is no projection.npz of an export ({type(error).__name__})") from None
        if directions.ndim != 2 or not directions.size or not np.isfinite(directions).all():
            raise ConfigError(f"{path}: it holds no directions; give the projection.npz of an export")
        return cls(directions)

    def check(self, dimensions: int) -> None:
        """Raise ConfigError where it is for vectors of other dimensions."""
        if len(self.directions) != dimensions:
            raise ConfigError(
                f"--projection: it is for vectors of {len(self.directions):,} dimensions, and the release has "
                f"{dimensions:,}; another model made them: give --dimensions"
            )

    def apply(self, vectors: Vectors) -> Vectors:
        """Return vectors [n, d] in fewer dimensions, of unit length: queries too, before they are compared."""
        reduced = vectors @ self.directions
        lengths = np.linalg.norm(reduced, axis=1, keepdims=True)
        found: Vectors = reduced / np.maximum(lengths, np.finfo(np.float32).tiny)
        return found

    @property
    def hash(self) -> str:
        """What tells it from any other: vectors of two projections must not be compared."""
        return hashlib.sha256(np.ascontiguousarray(self.directions, "<f4").tobytes()).hexdigest()[:16]

    def as_bytes(self) -> bytes:
        """Return the content of projection.npz."""
        file = BytesIO()
        np.savez(file, version=np.array(VERSION), directions=self.directions)
        return file.getvalue()
