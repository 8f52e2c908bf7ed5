"""The variant and duplicate groups of a release's items: one of each may be enough for a reader."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow.dataset as ds

from lookalike.serving import tables
from lookalike.serving.shard import Neighbour
from lookalike.warehouse.release import ReleaseFolder


@dataclass(frozen=True)
class ItemGroups:
    """The product of each item that is a variant, and the item that represents each duplicate."""

    products: dict[str, Any]
    representatives: dict[str, str]

    @classmethod
    def of(cls, release: ReleaseFolder) -> ItemGroups:
        """Read them from the tables of a release, as its own settings name them; raise WarehouseError."""
        similar = release.record().config.similar
        products: dict[str, Any] = {}
        representatives: dict[str, str] = {}
        if similar.variant_of is not None:
            wanted = ~ds.field(similar.variant_of).is_null(nan_is_null=True)  # NaN is no product
            embeddings = tables.open_table(release, release.embeddings)
            found = embeddings.rows(wanted, ("item_id", similar.variant_of))
            products = {row["item_id"]: row[similar.variant_of] for row in found}
        if similar.duplicate_cosine is not None:
            names = ("item_id", "representative_item_id")
            found = tables.open_table(release, release.duplicates).rows(ds.scalar(True), names)
            representatives = {row["item_id"]: row["representative_item_id"] for row in found}
        return cls(products, representatives)

    def first_of_each(self, neighbours: Iterable[Neighbour]) -> list[Neighbour]:
        """Return the neighbours without all that share a product or a duplicate group with one before."""
        products: set[Any] = set()
        pictures: set[str] = set()
        kept = []
        for neighbour in neighbours:
            product = self.products.get(neighbour.item_id)
            picture = self.representatives.get(neighbour.item_id, neighbour.item_id)
            if picture not in pictures and (product is None or product not in products):
                kept.append(neighbour)
                pictures.add(picture)
                products.add(product)
        return kept
