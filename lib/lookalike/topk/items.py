"""Items as arrays: unit vectors, ids as bytes, and the codes of the groups that a list may name only once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Ids = NDArray[np.bytes_]
Keys = NDArray[Any]  # item ids, or integers in the order of these
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class ItemVectors:
    """Items as arrays, in any order: unit or zero vectors [n, d], ids [n], and the codes of their two groups [n].

    The rows of the vectors may lie apart, as in a mapped Annoy file; a slice of them is a view.
    A list names one item of a variant group (variants of one product) and one of a duplicate group (items that show
    one picture), and none of the query's own groups. An item without variants or duplicates has a code of its own.
    """

    vectors: Vectors
    ids: Keys
    variant_groups: Codes
    duplicate_groups: Codes

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: slice | NDArray[np.int64]) -> ItemVectors:
        """Return the items of these rows, in the order given."""
        variants = self.variant_groups[rows]
        duplicates = variants if self.same_groups else self.duplicate_groups[rows]
        return ItemVectors(self.vectors[rows], self.ids[rows], variants, duplicates)

    def with_ids(self, ids: Keys) -> ItemVectors:
        """Return the items with other ids."""
        return replace(self, ids=ids)

    @property
    def same_groups(self) -> bool:
        """Whether both groups are the same array, so that one comparison is enough."""
        return self.duplicate_groups is self.variant_groups

    def chunks(self, rows: int) -> Iterator[ItemVectors]:
        """Yield all items, `rows` at a time."""
        for start in range(0, len(self), rows):
            yield self.take(slice(start, start + rows))

    @cached_property
    def by_variant_group(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """The rows sorted by variant group, and where each group starts; None when no two items share a group."""
        order = np.argsort(self.variant_groups, kind="stable")
        codes = self.variant_groups[order]
        first = np.flatnonzero(np.diff(codes, prepend=codes[:1] - 1))
        return None if len(first) == len(self) else (order, first)


def concatenate_items(parts: Sequence[ItemVectors]) -> ItemVectors:
    """Return the items of all parts, one part after the other."""
    columns = zip(*((part.vectors, part.ids, part.variant_groups) for part in parts), strict=True)
    vectors, ids, variants = map(np.concatenate, columns)
    same = all(part.same_groups for part in parts)
    duplicates = variants if same else np.concatenate([part.duplicate_groups for part in parts])
    return ItemVectors(vectors, ids, variants, duplicates)


def items_without_groups(vectors: Vectors, ids: Ids) -> ItemVectors:
    """Return items that have neither variants nor duplicates."""
    codes = np.arange(len(ids))
    return ItemVectors(vectors, ids, codes, codes)


def as_ids(column: pa.Array | pa.ChunkedArray) -> Ids:
    """Return a text column as bytes of fixed width, which compare as UTF-8 does."""
    return np.array(column.cast(pa.binary()).to_pylist(), dtype=np.bytes_)


def as_text(ids: Ids) -> pa.Array:
    """Return ids as a text column."""
    return pa.array(ids, pa.binary()).cast(pa.string())


def is_in(ids: Keys, chosen: Keys) -> NDArray[np.bool_]:
    """Whether each of `ids` is one of `chosen`, which are sorted."""
    if not len(chosen):
        return np.zeros(ids.shape, dtype=bool)
    at = np.minimum(np.searchsorted(chosen, ids), len(chosen) - 1)
    found: NDArray[np.bool_] = chosen[at] == ids
    return found


def unit_length(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the rows scaled to unit length, and their lengths before; a row of zeros stays zeros."""
    norms = np.linalg.norm(features, axis=1).astype(np.float32)
    scale = np.divide(np.float32(1), norms, out=np.zeros_like(norms), where=norms > 0)
    return features * scale[:, None], norms
