"""The items of a shard, whose vectors are mapped from its file while they are read.

A group of a thousand shards has 135 GB of vectors. Maps that stay are memory of the process wherever a cluster counts
it by resident pages: two workers had 10 GB of a million items.
"""

from __future__ import annotations

from lookalike.index import annoy as annoy_index
from lookalike.index.layout import IndexLayout
from lookalike.knn.recent import Recent
from lookalike.topk.items import Codes, ItemVectors, Keys, Vectors

# Of all files that a worker keeps mapped: seven shards of 16,384 items. To map one again and touch a list takes 0.2 ms,
# for each of the lists that a block looks into; most lists lie in one shard.
MAPPED_BYTES = 1 << 30

# Linux gives a process 65,530 maps. One of a small group is mapped again in 0.05 ms.
MAPPED_FILES = 4096

_mapped = Recent[Vectors](MAPPED_BYTES)


class MappedItems(ItemVectors):
    """Items of which only the ids and groups are in memory; `vectors` are those of the file of the shard `name`."""

    layout: IndexLayout
    name: str

    def __init__(self, layout: IndexLayout, name: str, ids: Keys, variants: Codes, duplicates: Codes) -> None:
        named = {"layout": layout, "name": name, "ids": ids}
        for field, value in {**named, "variant_groups": variants, "duplicate_groups": duplicates}.items():
            object.__setattr__(self, field, value)  # it is frozen

    @property
    def vectors(self) -> Vectors:
        """The vectors by position; a slice of them is a view, which keeps the file mapped."""
        return _map(self.layout, self.name, len(self.ids))

    def with_ids(self, ids: Keys) -> ItemVectors:
        """Return the items with other ids."""
        return MappedItems(self.layout, self.name, ids, self.variant_groups, self.duplicate_groups)


def _map(layout: IndexLayout, name: str, items: int) -> Vectors:
    path = layout.annoy(name)
    return _mapped.get(
        path,
        lambda: annoy_index.map_vectors(layout.shared.fetch(path), items, layout.dimensions),
        lambda vectors: max(vectors.nbytes, _mapped.most // MAPPED_FILES),
    )
