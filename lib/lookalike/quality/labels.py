"""Label precision on a sample of lists: how often neighbours have the value of a column that their item has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.warehouse.record import LabelPrecision

# The k of the precision that people are shown.
PRECISION_K = 10


@dataclass(frozen=True)
class Labels:
    """The values of one column as codes [n], with a mask [n] of the items that have one; `ids` [n] are the items."""

    column: str
    ids: pa.Array
    codes: NDArray[np.int64]
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, column: str, texts: Mapping[str, str]) -> Labels:
        """Return those of items by id, with '' for one without a value."""
        coded = pa.array(texts.values(), pa.string()).dictionary_encode()
        known = np.fromiter(map(bool, texts.values()), np.bool_, len(texts))
        return cls(column, pa.array(texts, pa.string()), coded.indices.to_numpy().astype(np.int64), known)


def precision(lists: Mapping[str, Sequence[tuple[str, float]]], labels: Labels, k: int) -> LabelPrecision:
    """Return the precision at `k` of some lists, and that of items drawn at random from those with a list.

    As in metrics.precision, an item without a value counts neither as an item nor as a neighbour.
    """
    pairs = [(item, other) for item, listed in lists.items() for other, _ in listed[:k]]
    items, others = (_rows(labels, [pair[at] for pair in pairs]) for at in (0, 1))
    both = labels.known[items] & labels.known[others] & (items >= 0) & (others >= 0)
    same = labels.codes[items[both]] == labels.codes[others[both]]
    asked = _rows(labels, list(lists))
    asked = asked[(asked >= 0) & labels.known[asked]]
    _, counts = np.unique(labels.codes[asked], return_counts=True)
    chance = float(counts @ (counts - 1)) / max(1, len(asked) * (len(asked) - 1))
    share = float(same.mean()) if len(same) else 0.0
    return LabelPrecision(
        column=labels.column, k=k, precision=round(share, 4), chance=round(chance, 4), items=len(asked)
    )


def _rows(labels: Labels, ids: list[str]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = pc.index_in(pa.array(ids, pa.string()), labels.ids).fill_null(-1).to_numpy()
    return found.astype(np.int64)
