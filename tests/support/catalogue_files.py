"""Catalogues of files, and their rows without Spark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike import config
from lookalike.catalogue import opening, scan
from lookalike.catalogue.convert import Place, RowFiles
from lookalike.catalogue.source import CatalogueFiles

Rows = list[dict[str, Any]]


def write(path: Path, ids: str, **columns: Any) -> None:
    """A file with an item for each letter; `images` is the path of all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"item_id": list(ids), "image_path": ["p"] * len(ids), **columns}), path)


def opened(path: Path | str, encoding: str = "utf-8") -> CatalogueFiles:
    found = opening.open_files(str(path), encoding)
    assert isinstance(found, CatalogueFiles)
    return found


def converted(path: Path | str, place: Path, **catalogue: Any) -> CatalogueFiles:
    """The Parquet that a catalogue of rows is turned into at the place, with the columns that the settings name."""
    chosen = settings(Path(path), **catalogue)
    found = opening.open_files(str(path), chosen.catalogue.encoding)
    assert isinstance(found, RowFiles)
    found.check(chosen)
    made = found.convert(chosen, Place(place), lambda files, work: [work(one) for one in files])
    made.check(chosen)
    return made


def rows_of(found: CatalogueFiles, *names: str) -> Rows:
    """The rows of a catalogue by id, with the named columns."""
    tasks, schema = found.tasks([(name, name) for name in names], cores=2)
    batches = [batch for task in tasks for batch in scan.read_rows(task, schema, found.shared)]
    return sorted(pa.Table.from_batches(batches, schema).to_pylist(), key=lambda row: str(row[names[0]]))


def rows(path: Path | str, *names: str) -> Rows:
    return rows_of(opened(path), "item_id", *names)


def values(path: Path | str, name: str) -> list[Any]:
    return [row[name] for row in rows(path, name)]


def ids(path: Path | str) -> str:
    return "".join(values(path, "item_id"))


def settings(path: Path, **catalogue: Any) -> config.Settings:
    sections = {"catalogue": {"path": str(path), **catalogue}, "warehouse": {"path": "w"}}
    return config.Settings.model_validate(sections)
