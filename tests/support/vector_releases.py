"""Releases with vectors and lists, made without Spark, as a run would write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from lookalike.spark import schemas
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support import records

DIMENSIONS = 16


def vector(seed: int, dimensions: int = DIMENSIONS) -> np.ndarray:
    """A unit vector."""
    found = np.random.default_rng(seed).normal(size=dimensions).astype(np.float32)
    return found / np.linalg.norm(found)


def put(
    warehouse: Path,
    release_id: str,
    items: Mapping[str, int],
    lists: Mapping[str, Sequence[tuple[str, float]]] | None = None,
    kept: Mapping[str, pa.Array] | None = None,
    failed: Sequence[str] = (),
) -> ReleaseFolder:
    """A release that is now current: item -> seed of its picture, item -> its neighbours with scores."""
    release = ReleaseFolder(warehouse / "releases" / release_id)
    vectors = [vector(seed) for seed in items.values()]
    columns: dict[str, Any] = {
        "item_id": list(items),
        "image_path": [f"{one}.jpg" for one in items],
        "image_hash": [f"hash-{seed}" for seed in items.values()],
        "model_id": ["m"] * len(items),
        "embedding": [one.tolist() for one in vectors],
        "norm": [1.0] * len(items),
    }
    _write(release, "embeddings", columns, kept or {})
    rows = [(item, rank, *one) for item in sorted(lists or {}) for rank, one in enumerate((lists or {})[item], 1)]
    names = ("item_id", "rank", "similar_item_id", "score")
    listed = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    _write(release, "similar_items", {**listed, "release_id": [release_id] * len(rows)}, {})
    _write(release, "failures", {"item_id": list(failed), "reason": ["empty"] * len(failed)}, {})
    records.write_record(release)
    Warehouse(str(warehouse)).roll_back(release)
    return release


def _write(release: ReleaseFolder, name: str, columns: Mapping[str, list[Any]], kept: Mapping[str, pa.Array]) -> None:
    schema = schemas.as_arrow(getattr(schemas, name.upper()))
    rows = len(columns["item_id"])
    found = pa.table([pa.array(columns.get(one.name, [None] * rows), one.type) for one in schema], schema=schema)
    for column, values in kept.items():
        found = found.append_column(column, values)
    (release.root / name).mkdir(parents=True)
    # Several files, and several row groups of each.
    for number, start in enumerate(range(0, max(rows, 1), 100)):
        part = found.slice(start, 100)
        pq.write_table(part, release.root / name / f"part-{number}.parquet", row_group_size=40, store_schema=False)


def settings_file(folder: Path) -> Path:
    """Settings that name `folder`/warehouse."""
    file = folder / "shop.yaml"
    raw = {"catalogue": {"path": str(folder / "none.parquet")}, "warehouse": {"path": str(folder / "warehouse")}}
    file.write_text(yaml.safe_dump(raw))
    return file
