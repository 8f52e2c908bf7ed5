"""One item of a release and its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow.dataset as ds

from lookalike import config
from lookalike.cli import output
from lookalike.redaction import redacted_uri
from lookalike.serving import tables
from lookalike.serving.client import Release
from lookalike.warehouse import opening
from lookalike.warehouse.release import ReleaseFolder

# similar.k and similar.spare are 1,000 each at most.
_ALL = 2_000


@dataclass(frozen=True)
class ShownItem:
    """An item as people know it: `labels` are the columns that its release keeps of the catalogue, by name."""

    item_id: str
    image_path: str
    labels: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {"item_id": self.item_id, "image_path": redacted_uri(self.image_path), "labels": self.labels}


@dataclass(frozen=True)
class ItemNeighbours:
    """An item, and its neighbours with their scores, best first."""

    release_id: str
    item: ShownItem
    neighbours: list[tuple[ShownItem, float]]

    def as_json(self) -> dict[str, Any]:
        """Return what `show ITEM --json` prints."""
        neighbours = [
            {"rank": rank, **neighbour.as_json(), "score": score}
            for rank, (neighbour, score) in enumerate(self.neighbours, 1)
        ]
        return {"release_id": self.release_id, "item": self.item.as_json(), "neighbours": neighbours}

    def print(self) -> None:
        """Print a line for the item, and one for each neighbour."""
        rows = [("rank", "item", "score", *self.item.labels, "picture")]
        rows += [_row("", "", self.item)]
        rows += [_row(str(rank), f"{score:.3f}", item) for rank, (item, score) in enumerate(self.neighbours, 1)]
        output.section(f"{self.item.item_id} in release {self.release_id}", output.aligned(rows))


def read(settings: config.Settings, item_id: str) -> ItemNeighbours:
    """Read an item of the current release; raises QueryError for one that has no embedding."""
    warehouse = opening.open_warehouse(settings)
    current = warehouse.fetch(warehouse.need_current())
    neighbours = Release(current).similar(item_id, _ALL)
    described = describe(current, [item_id, *(one.item_id for one in neighbours)])
    found = [(described[one.item_id], one.score) for one in neighbours]
    return ItemNeighbours(current.release_id, described[item_id], found)


def describe(release: ReleaseFolder, item_ids: list[str]) -> dict[str, ShownItem]:
    """Read items of a release by their ids; raises WarehouseError."""
    stored = release.record().config
    kept = list(dict.fromkeys(filter(None, (*stored.catalogue.keep_columns, stored.similar.group_by))))
    table = tables.open_table(release, release.embeddings)
    rows = table.rows(ds.field("item_id").isin(item_ids), ("item_id", "image_path", *kept))
    return {
        row["item_id"]: ShownItem(row["item_id"], row["image_path"], {name: row[name] for name in kept}) for row in rows
    }


def _row(rank: str, score: str, item: ShownItem) -> tuple[str, ...]:
    labels = ("" if label is None else str(label) for label in item.labels.values())
    return rank, item.item_id, score, *labels, redacted_uri(item.image_path)
