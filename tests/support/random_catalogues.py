"""Random catalogues with all that the constraints of neighbours depend on: copies, near copies, zeros and nulls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from support.constraint_items import DIMENSIONS, ODD_IDS, signs
from support.constraint_oracle import Item


def random_items(seed: int) -> list[Item]:
    """Five to sixty items with all of it at once, and odd ids in no order; their cosines are exact in float32."""
    rng = np.random.default_rng([11, seed])
    count = int(rng.integers(5, 61))
    depts = int(rng.integers(1, 4))
    kinds = [(f"kind-{n}", f"dept-{n % depts}") for n in range(int(rng.integers(1, 7)))]
    found: list[Item] = []
    for number in rng.permutation(count):
        kind, dept = kinds[rng.integers(len(kinds))]
        columns = {
            "kind": kind if rng.random() > 0.05 else None,
            "dept": dept if rng.random() > 0.05 else None,
            "brand": rng.choice(["acme", "best", "cosy", None]),
            "product": rng.choice([None, *(f"product-{n}" for n in range(1 + count // 3))]),
        }
        name = ODD_IDS[rng.integers(len(ODD_IDS))].format(number)
        found.append(Item(name, _random_vector(rng, found), columns, bool(rng.random() > 0.3)))
    return found


def _random_vector(rng: np.random.Generator, known: Sequence[Item]) -> np.ndarray:
    """A new vector, a copy of that of an earlier item, one near to it, or zero."""
    what = rng.choice(["new", "copy", "near", "zero"], p=[0.4, 0.2, 0.35, 0.05])
    if what == "zero":
        return np.zeros(DIMENSIONS, dtype=np.float32)
    if what == "new" or not known:
        return signs(int(rng.integers(1000)))
    vector = known[rng.integers(len(known))].vector.copy()
    if what == "near":
        vector[rng.integers(DIMENSIONS)] *= -1
    return vector + np.float32(0)  # no zero has a sign


def real_items(count: int, seed: int) -> list[Item]:
    """Items with vectors of any direction in clusters, as those of pictures; for searches that are not exact."""
    rng = np.random.default_rng([13, seed])
    centres = rng.normal(size=(max(1, count // 40), DIMENSIONS))
    found = []
    for number in range(count):
        vector = centres[rng.integers(len(centres))] + rng.normal(size=DIMENSIONS) * 0.5
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        if found and rng.random() < 0.1:
            vector = found[rng.integers(len(found))].vector
        columns = {
            "kind": f"kind-{number % 3}",
            "dept": f"dept-{number % 3 // 2}",
            "brand": f"brand-{number % 5}",
            "product": f"product-{rng.integers(count)}" if rng.random() < 0.5 else None,
        }
        found.append(Item(f"item-{number:05d}", vector, columns, bool(rng.random() > 0.2)))
    return found
