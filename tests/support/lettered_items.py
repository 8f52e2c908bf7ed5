"""Items named by letters, for tables of neighbours small enough to check by hand."""

from __future__ import annotations

import numpy as np

from support.brute_force import Neighbours
from support.constraint_oracle import Item, Row

# The cosine with (1, 0) of an item, by the first letter of its name.
ANGLES = {"q": 1.0, "a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6, "e": 0.5, "z": -0.5}


def item(name: str, kind: object = "x", dept: object = "y", product: object = None, *, eligible: bool = True) -> Item:
    """An item with the vector of its first letter."""
    x = ANGLES[name[0]]
    vector = np.array([x, np.sqrt(1 - x * x)], dtype=np.float32)
    return Item(name, vector, {"kind": kind, "dept": dept, "product": product}, eligible)


def as_found(rows: dict[str, list[Row]]) -> Neighbours:
    """The rows in the form in which the job's table is read."""
    return {item_id: [(other, score) for _, other, score in found] for item_id, found in rows.items() if found}
