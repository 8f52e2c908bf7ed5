"""Random rules, random catalogues, and what happens to their items from one night to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from support.constraint_items import DIMENSIONS, ODD_IDS, signs
from support.constraint_oracle import Item

# Values that a night takes from: few, so that groups, products and pictures are shared, left and joined.
KINDS, DEPTS, BRANDS = ("kind-0", "kind-1", "kind-2", None), ("dept-0", "dept-1", None), ("acme", "best", "cosy", None)

# Of the items, at most: above a fifth all lists are searched, and nothing is updated.
CHANGED = 0.08

# Least cosines that exist: of signs, where each is exact, and of vectors like those of pictures.
SIGNS = {"duplicate_cosine": (1.0, 0.875, 0.75), "min_score": (-0.25, 0.0, 0.25, 0.5, 0.875, 1.0)}
PICTURES = {"duplicate_cosine": (1.0, 0.99, 0.9), "min_score": (0.5, 0.7, 0.9, 1.0)}


def random_rules(rng: np.random.Generator, *, exact: bool) -> dict[str, Any]:
    """Any combination of the rules."""
    cosines = SIGNS if exact else PICTURES
    rules: dict[str, Any] = {"k": int(rng.choice([1, 2, 3, 5, 20, 100])), "plan": rng.choice(["exact", "auto"]).item()}
    columns = [str(column) for column in rng.permutation(["kind", "dept", "brand"])]
    if rng.random() < 0.75:
        rules["group_by"] = columns[0]
        rules["group_fallback"] = columns[1 : 1 + int(rng.integers(0, 3))]
    for name, values in (
        ("spare", (1, 3)),
        ("eligible", ("in_stock",)),
        ("variant_of", ("product", "product", "brand")),
        *cosines.items(),
    ):
        if rng.random() < 0.6:
            rules[name] = values[rng.integers(len(values))]
    return rules


@dataclass
class RandomCatalogue:
    """Items with ids and values that begin with `name`; with `nulls`, some have no kind, department or brand."""

    rng: np.random.Generator
    name: str
    nulls: bool
    exact: bool  # vectors of signs: every cosine is exact in float32
    count: int = 50
    items: list[Item] = field(default_factory=list)
    born: int = 0

    def night(self) -> list[Item]:
        """Return the items of the first night, or change some of them and return all."""
        if not self.items:
            for _ in range(self.count):
                self.items.append(self._new())
            return self.items
        for _ in range(int(self.rng.integers(0, 1 + CHANGED * len(self.items)))):
            self._change(int(self.rng.integers(len(self.items))))
        return self.items

    def _new(self) -> Item:
        self.born += 1
        name = f"{self.name}/{ODD_IDS[self.rng.integers(len(ODD_IDS))].format(self.rng.integers(1000))}-{self.born}"
        columns = {"kind": self._value(KINDS), "dept": self._value(DEPTS), "brand": self._value(BRANDS)}
        return Item(name, self._vector(), {**columns, "product": self._product()}, bool(self.rng.random() < 0.75))

    def _change(self, at: int) -> None:
        """Remove an item, add one, or change one thing of one."""
        one, what = self.items[at], self.rng.choice(["go", "come", "picture", "product", "eligible", "columns"])
        if what == "go" and len(self.items) > 3:
            del self.items[at]
        elif what == "come":
            self.items.insert(at, self._new())
        elif what == "picture":
            self.items[at] = replace(one, vector=self._vector())
        elif what == "product":
            self.items[at] = replace(one, columns={**one.columns, "product": self._product()})
        elif what == "eligible":
            self.items[at] = replace(one, eligible=not one.eligible)
        else:
            column, values = (("kind", KINDS), ("dept", DEPTS), ("brand", BRANDS))[self.rng.integers(3)]
            self.items[at] = replace(one, columns={**one.columns, column: self._value(values)})

    def _value(self, values: Sequence[str | None]) -> str | None:
        value = values[self.rng.integers(len(values))]
        return None if value is None and self.nulls else f"{self.name}/{value}"

    def _product(self) -> str | None:
        number = self.rng.integers(-4, self.count // 4)
        return None if number < 0 else f"{self.name}/{number}" if number else ""

    def _vector(self) -> np.ndarray:
        """A new vector, that of an item, one near to it, or zero."""
        what = self.rng.choice(["new", "copy", "near", "zero"], p=[0.4, 0.25, 0.32, 0.03])
        if what == "zero":
            return np.zeros(self._dimensions, dtype=np.float32)
        if what == "new" or not self.items:
            return signs(int(self.rng.integers(10_000))) if self.exact else self._unit(self._noise())
        vector = self.items[self.rng.integers(len(self.items))].vector.copy()
        if what == "near" and self.exact:
            vector[self.rng.integers(DIMENSIONS)] *= -1
        elif what == "near" and vector.any():
            vector = self._unit(vector + self.rng.choice([1e-4, 0.003, 0.01]) * self._noise())
        return vector + np.float32(0)  # no zero has a sign

    @property
    def _dimensions(self) -> int:
        return DIMENSIONS if self.exact else 2048

    def _noise(self) -> np.ndarray:
        noise: np.ndarray = np.abs(self.rng.normal(size=self._dimensions)) ** 3
        return noise

    def _unit(self, vector: np.ndarray) -> np.ndarray:
        unit: np.ndarray = (vector / np.linalg.norm(vector)).astype(np.float32)
        return unit
