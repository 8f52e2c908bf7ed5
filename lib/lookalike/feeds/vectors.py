"""What an export makes of the vectors: as they are, shorter, with fewer dimensions; and how good they still are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lookalike.feeds.fidelity import QUERIES, Fidelity, K
from lookalike.feeds.projection import FIT_ITEMS, Projection
from lookalike.feeds.sample import sample
from lookalike.feeds.source import AnyVectors, Feed
from lookalike.progress import say
from lookalike.topk.items import Vectors

Precision = Literal["float16", "float32"]
Reduction = int | Projection | None  # to so many dimensions, or as an earlier export


@dataclass(frozen=True)
class ExportedVectors:
    """How vectors are exported; `recall` of the `k` nearest items is 1 where they are as in the release."""

    dimensions: int
    precision: Precision
    projection: Projection | None
    recall: float | None
    k: int = K

    def convert(self, vectors: Vectors) -> AnyVectors:
        """Return vectors as they are exported."""
        return _converted(vectors, self.precision, self.projection)

    def as_json(self) -> dict[str, object]:
        """Return what export.json says of the vectors."""
        return {
            "dimensions": self.dimensions,
            "precision": self.precision,
            "projection": self.projection.hash if self.projection else None,
            "recall": None if self.recall is None else round(self.recall, 5),
            "recall_k": self.k,
        }


def prepare(items: Feed, precision: Precision, reduction: Reduction) -> ExportedVectors:
    """Fit the projection, where one is asked for, and measure the recall; raises ConfigError or WarehouseError."""
    places, vectors = sample(items, FIT_ITEMS if isinstance(reduction, int) else QUERIES)
    if not len(places):
        return ExportedVectors(reduction if isinstance(reduction, int) else 0, precision, None, None)
    projection = Projection.fit(vectors, reduction) if isinstance(reduction, int) else reduction
    if projection is not None:
        projection.check(vectors.shape[1])
    shown = vectors.shape[1] if projection is None else projection.directions.shape[1]
    if projection is None and precision == "float32":
        return ExportedVectors(shown, precision, None, 1.0)

    def changed(one: Vectors) -> Vectors:
        return _converted(one, precision, projection).astype(np.float32)

    say(f"vectors: measuring the recall of {len(places[:QUERIES]):,} items")
    recall = Fidelity(places[:QUERIES], vectors[:QUERIES], changed).measure(items.vectors())
    return ExportedVectors(shown, precision, projection, recall)


def _converted(vectors: Vectors, precision: Precision, projection: Projection | None) -> AnyVectors:
    reduced = vectors if projection is None else projection.apply(vectors)
    return reduced.astype(np.float16) if precision == "float16" else reduced
