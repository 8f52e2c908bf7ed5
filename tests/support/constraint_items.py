"""Small catalogues, each made to break one rule of similar_items.

Their vectors are signs over 16 dimensions (or zero): every cosine is a multiple of 1/16, exact in float32 in whatever
order it is summed. So many scores are equal, a cosine meets a threshold exactly, and the tests need no tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from support.constraint_oracle import Item

DIMENSIONS = 16

# group_by, a fallback level that holds whole kinds, one that cuts across them, and variant_of.
COLUMNS = ("kind", "dept", "brand", "product")

# Ids as real catalogues have them; a number makes each the id of one item.
ODD_IDS = (
    "{}",
    "00{}",
    "item {}",
    "Ärmel-{}",
    "ß{}",
    "it's-{}",
    '"{}"',
    "a,b;{}",
    "日本{}",
    "👟{}",
    "\uff21{}",
    "%{}\\n",
)


def signs(seed: int, *flipped: int) -> np.ndarray:
    """A vector of `seed` with the signs at the places `flipped` changed: one changed sign is a cosine of 14/16."""
    vector = np.random.default_rng([7, seed]).choice(np.float32([-0.25, 0.25]), DIMENSIONS)
    vector[list(flipped)] *= -1
    return vector


def item(number: int, vector: np.ndarray | int, eligible: bool = True, **columns: object) -> Item:
    """An item of one kind, department and brand, without a product; columns are replaced by name."""
    known = {"kind": "shoe", "dept": "wear", "brand": "acme", "product": None}
    assert set(columns) <= set(known)
    return Item(f"{number:03d}", signs(vector) if isinstance(vector, int) else vector, {**known, **columns}, eligible)


def plain() -> list[Item]:
    """Items of two kinds, one of them a single item, and items without a kind."""
    return [*(item(n, n) for n in range(9)), item(20, 3, kind="hat"), *(item(30 + n, n, kind=None) for n in range(3))]


def fewer_than_k() -> list[Item]:
    """Kinds of one, two and three items in departments of one and five."""
    return [
        item(0, 0, kind="one", dept="alone"),
        *(item(10 + n, n, kind="two", dept="both") for n in range(2)),
        *(item(20 + n, n, kind="three", dept="both") for n in range(3)),
    ]


def ties() -> list[Item]:
    """Each item is as near to all others as to the next."""
    basis = np.eye(DIMENSIONS, dtype=np.float32)
    return [item(n, basis[n]) for n in reversed(range(12))]


def placeholders() -> list[Item]:
    """Fifty items with one placeholder picture, in two kinds, and some others."""
    shown = [item(n, 0, kind="shoe" if n % 3 else "hat", dept="wear") for n in range(50)]
    return [*shown, *(item(60 + n, n) for n in range(1, 8)), item(99, 0, dept="home", kind="cup")]


def zeros() -> list[Item]:
    """Zero vectors: near to nothing, not even to each other."""
    zero = np.zeros(DIMENSIONS, dtype=np.float32)
    return [*(item(n, zero) for n in range(4)), *(item(10 + n, n) for n in range(4)), item(20, zero, kind="hat")]


def chain() -> list[Item]:
    """Each item is near to the next, the ends are far apart; and a pair exactly as near as two steps of the chain."""
    steps = [item(10 + n, signs(1, *range(n))) for n in range(7)]
    return [*steps, item(30, signs(2)), item(31, signs(2, 0, 1)), *(item(40 + n, 40 + n) for n in range(4))]


def chain_over_kinds() -> list[Item]:
    """Each item is near to the next only across the border of a kind, a department and a brand."""
    kinds, depts, brands = ["shoe", "hat"], ["wear", "wear", "wear", "home"], ["acme", "best", "acme"]
    steps = [
        item(10 + n, signs(1, *range(n)), kind=kinds[n % 2], dept=depts[n % 4], brand=brands[n % 3]) for n in range(9)
    ]
    return [*steps, *(item(30 + n, 30 + n, kind=kinds[n % 2]) for n in range(6))]


def duplicates_in_other_places() -> list[Item]:
    """One picture; the items of its smallest ids are of another kind, of another department, and not for sale."""
    return [
        item(0, 1, dept="home", kind="cup", brand="best"),
        item(1, 1, kind="hat"),
        item(2, 1, eligible=False),
        item(3, 1),
        item(4, 1),
        *(item(10 + n, 10 + n, kind="shoe" if n % 2 else "hat") for n in range(7)),
    ]


def nothing_eligible() -> list[Item]:
    """No item may be listed; some show the same picture."""
    return [item(n, n // 2, eligible=False) for n in range(6)]


def one_eligible() -> list[Item]:
    """All items list the same one, which lists none."""
    return [item(n, n, eligible=n == 3) for n in range(6)]


def best_is_not_eligible() -> list[Item]:
    """The best of a product, and the first of a picture, are not for sale."""
    return [
        item(0, 0),
        item(1, signs(0, 1), eligible=False, product="p"),
        item(2, signs(0, 1, 2), product="p"),
        item(3, signs(0, 1, 2, 3), product="p"),
        item(4, signs(0, 8, 9, 10), eligible=False),
        item(5, signs(0, 8, 9, 10)),
        item(6, signs(0, 8, 9, 10, 11)),
        item(7, 7, eligible=False),
    ]


def one_product() -> list[Item]:
    """All are variants of one product, except two without a product."""
    return [*(item(n, n // 2, product="p") for n in range(6)), item(10, 1), item(11, 1)]


def products() -> list[Item]:
    """Variants that tie, in several kinds and departments; an empty text is a product, null is none."""
    names = ["p", "q", "", None]
    rows = [(names[n % 4], "shoe" if n % 5 else "hat", "wear" if n % 7 else "home") for n in range(28)]
    return [item(n, n // 3, product=name, kind=kind, dept=dept) for n, (name, kind, dept) in enumerate(rows)]


def products_that_share_pictures() -> list[Item]:
    """Two products that share pictures; the first item of a picture is of the one or of the other."""
    return [item(n, n // 4, product="pq"[(n + n // 4) % 2], kind=f"kind-{n % 3 // 2}") for n in range(16)]


def fallback_levels() -> list[Item]:
    """Kinds too small for a list; the nearest items share only the last fallback level."""
    near = [item(10 + n, signs(0, n), kind=f"kind-{n % 3}", dept=f"dept-{n % 4 // 2}", brand="best") for n in range(12)]
    far = [item(40 + n, 40 + n, kind="kind-0", dept="dept-0") for n in range(3)]
    return [*near, *far, item(60, 0, kind="kind-9", dept="dept-9", brand="best"), item(61, 0, kind=None, dept=None)]


def fallback_to_groups_that_are_listed() -> list[Item]:
    """The best items of the fallback level are of products and pictures that the list has from the item's own kind."""
    return [
        item(0, 0),
        item(50, signs(0, 0, 1, 2, 3), product="p"),
        item(51, signs(0, 4, 5, 6, 7), product="q"),
        item(10, signs(0, 8, 9), kind="hat", product="p"),
        item(11, signs(0, 10, 11), kind="hat", product="q"),
        item(12, signs(0, 0, 1, 2, 3), kind="hat"),
        item(13, signs(0, 4, 5, 6, 7), kind="hat"),
        item(14, signs(0, 1, 2, 4, 5, 8, 10), kind="hat"),
    ]


def crossing_groups() -> list[Item]:
    """Brands that cut across kinds and departments, with nulls in each."""
    kinds, depts, brands = ("shoe", "hat", None), ("wear", "home"), ("acme", "best", None, "cosy", "dear")
    return [item(n, n // 2, kind=kinds[n % 3], dept=depts[n % 2], brand=brands[n % 5]) for n in range(30)]


def odd_ids() -> list[Item]:
    """All tie, so that only the ids decide the order."""
    return [replace(item(n, 0), item_id=name.format(n % 3)) for n, name in enumerate(ODD_IDS)] + [item(99, 1)]


CASES: tuple[Callable[[], list[Item]], ...] = (
    plain,
    fewer_than_k,
    ties,
    placeholders,
    zeros,
    chain,
    chain_over_kinds,
    duplicates_in_other_places,
    nothing_eligible,
    one_eligible,
    best_is_not_eligible,
    one_product,
    products,
    products_that_share_pictures,
    fallback_levels,
    fallback_to_groups_that_are_listed,
    crossing_groups,
    odd_ids,
)


def side_by_side(catalogues: Mapping[str, Sequence[Item]]) -> list[Item]:
    """Several catalogues as one, with their names in every id and value; items without a value share a group."""
    return [
        replace(
            one,
            item_id=f"{name}/{one.item_id}",
            columns={column: value and f"{name}/{value}" for column, value in one.columns.items()},
        )
        for name, items in catalogues.items()
        for one in items
    ]


def all_cases() -> list[Item]:
    """All CASES side by side."""
    return side_by_side({case.__name__: case() for case in CASES})


def embeddings(items: Sequence[Item], *, eligible: bool) -> pa.Table:
    """The columns of `embeddings` that the search and its check read; with the column `eligible` if asked for."""
    columns = {
        "item_id": pa.array([one.item_id for one in items], pa.string()),
        "embedding": pa.array([one.vector.tolist() for one in items], pa.list_(pa.float32())),
        "norm": pa.array([1.0] * len(items), pa.float32()),
        **{name: pa.array([one.columns[name] for one in items], pa.string()) for name in COLUMNS},
    }
    return pa.table(columns | ({"eligible": pa.array([one.eligible for one in items])} if eligible else {}))
