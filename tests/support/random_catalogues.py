"""Random catalogues of vectors of any direction, with all that the constraints of neighbours depend on."""

from __future__ import annotations

from functools import cache

import numpy as np

from support.constraint_items import DIMENSIONS
from support.constraint_oracle import Item


@cache  # and with them their cosines, which the oracle keeps
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
