"""Catalogues of files, and their rows without Spark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike import config
from lookalike.catalogue import scan, source

Rows = list[dict[str, Any]]


def write(path: Path, ids: str, **columns: Any) -> None:
    """A file with an item for each letter; `images` is the path of all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"item_id": list(ids), "image_path": ["p"] * len(ids), **columns}), path)


def opened(path: Path | str) -> source.CatalogueFiles:
    found = source.open_files(str(path))
    assert found is not None
    return found


def rows(path: Path | str, *names: str) -> Rows:
    """The rows of a catalogue by id, with the named columns."""
    tasks, schema = opened(path).tasks([(name, name) for name in ("item_id", *names)], cores=2)
    batches = [batch for task in tasks for batch in scan.read_rows(task, schema)]
    return sorted(pa.Table.from_batches(batches, schema).to_pylist(), key=lambda row: str(row["item_id"]))


def values(path: Path | str, name: str) -> list[Any]:
    return [row[name] for row in rows(path, name)]


def ids(path: Path | str) -> str:
    return "".join(values(path, "item_id"))


def settings(path: Path, **catalogue: Any) -> config.Settings:
    sections = {"catalogue": {"path": str(path), **catalogue}, "warehouse": {"path": "w"}}
    return config.Settings.model_validate(sections)
