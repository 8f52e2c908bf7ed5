"""A small shop whose catalogue changes from night to night, and what the warehouse says of it afterwards."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pyspark.sql import SparkSession

from lookalike import config, pipeline
from lookalike.models import store as model_store
from lookalike.models import weights_file
from lookalike.models.compile import recipe_name
from lookalike.models.network import CompiledModel
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support.told_changes import assert_told

MODEL: dict[str, Any] = {"weights": "bundled", "calibration_pictures": 32, "fidelity_pictures": 32}

# What the gates are for is tested elsewhere: here a third of the pictures may be broken, or all of them alike. That
# neighbours move for no reason stays refused.
GATES: dict[str, Any] = {
    "max_failed_share": 1.0,
    "max_items_lost": 1.0,
    "max_duplicate_vectors": 1.0,
    "max_unusable_vectors": 1.0,
    "max_without_neighbours": 1.0,
}

# What makes a picture unreadable for good, each in its own way.
BROKEN = {
    "empty": b"",
    "not_an_image": b"<html>not found</html>",
    "truncated": None,  # the first half of a sound one
}


def picture(seed: int, turned: int = 0) -> bytes:
    """A small PNG of 16 coloured squares; another seed, another picture, the more `turned` the less like itself."""
    rng = np.random.default_rng(seed)
    colours, others = (rng.integers(0, 256, (4, 4, 3), dtype=np.uint8) for _ in range(2))
    colours.reshape(16, 3)[:turned] = others.reshape(16, 3)[:turned]
    return _png(colours.repeat(12, axis=0).repeat(12, axis=1))


def broken(how: str, seed: int = 0) -> bytes:
    """Bytes that fail for the reason `how`."""
    known = BROKEN[how]
    return known if known is not None else picture(seed)[:-80]


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Shop:
    """A catalogue on disk: the rows by item id, and the pictures below `folder`."""

    folder: Path
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    clock: int = 1_700_000_000

    @classmethod
    def of(cls, folder: Path, items: int) -> Shop:
        """Items item-00, item-01, … of three kinds, each with a picture of its own."""
        shop = cls(folder)
        (folder / "images").mkdir(parents=True)
        for number in range(items):
            shop.add(f"item-{number:02d}", number)
        return shop

    def path(self, item: str) -> Path:
        """Its picture's file."""
        return self.folder / self.rows[item]["image_path"]

    def add(self, item: str, seed: int) -> None:
        """A new item with a picture of its own, no variant of another."""
        groups = {"kind": f"kind-{seed % 3}", "dept": f"dept-{seed % 3 // 2}", "product": None}
        self.rows[item] = {"item_id": item, "image_path": f"images/{item}.png", **groups, "price": 1}
        self.put(item, picture(seed))

    def put(self, item: str, data: bytes) -> None:
        """Other bytes under the same path, at a time of their own."""
        self.path(item).write_bytes(data)
        self.touch(item)

    def touch(self, item: str) -> None:
        """The same bytes, a later time."""
        self.clock += 1
        os.utime(self.path(item), (self.clock, self.clock))

    def rename(self, item: str, name: str) -> None:
        """The same file under another path."""
        new = f"images/{name}.png"
        self.path(item).rename(self.folder / new)
        self.rows[item]["image_path"] = new

    def write(self) -> None:
        """The catalogue, with a fingerprint that follows the pictures' bytes."""
        rows = [{**row, "etag": _digest(self.folder / row["image_path"])} for row in self.rows.values()]
        pq.write_table(pa.Table.from_pylist(rows, schema=_CATALOGUE), self.folder / "catalogue.parquet")

    def settings(self, warehouse: Path, mode: str = "stat", **sections: dict[str, Any]) -> config.Settings:
        """Settings that make a run cheap; sections are given as keyword arguments."""
        raw: dict[str, Any] = {
            "catalogue": {
                "path": str(self.folder / "catalogue.parquet"),
                "image_root": str(self.folder),
                "keep_columns": ["price"],
                "change_detection": mode,
                "fingerprint_column": "etag" if mode == "column" else None,
            },
            "warehouse": {"path": str(warehouse)},
            "model": MODEL,
            "index": {"trees": 2},
            "similar": {"k": 3, "recall_sample": 8},
            "gates": GATES,
            "report": {"enabled": False},
        }
        for name, section in sections.items():
            raw[name] = {**raw.get(name, {}), **section}
        return config.Settings.model_validate(raw)


_TEXTS = ("item_id", "image_path", "kind", "dept", "product", "etag")
_CATALOGUE = pa.schema([*((name, pa.string()) for name in _TEXTS), ("price", pa.int64())])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "none"


def new_warehouse(path: Path, model: CompiledModel) -> Path:
    """A warehouse without a release that has the compiled `model` already."""
    name = recipe_name(config.ModelSettings.model_validate(MODEL), weights_file.digest(weights_file.BUNDLED))
    model_store.write(model, path / "models" / f"{name}.json")
    return path


def refresh(spark: SparkSession, shop: Shop, settings: config.Settings) -> ReleaseFolder:
    """One night: the catalogue as the shop has it now, the job, and the release that is current afterwards.

    Its table `changes` says what differs from the release that was current.
    """
    shop.write()
    is_new = pipeline.refresh(spark, settings)
    release = Warehouse(settings.warehouse.path).need_current()
    if is_new:
        assert_told(release)
    return release


def rows(folder: Path, *but: str) -> list[dict[str, Any]]:
    """A table's rows without the columns `but`, ordered by item and rank."""
    found = pq.read_table(folder).drop_columns(list(but)).to_pylist()
    return sorted(found, key=lambda row: (row["item_id"], row.get("rank", 0)))


def files(folder: Path) -> dict[str, bytes]:
    """Every file's bytes by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def leftovers(warehouse: Path) -> list[str]:
    """Whatever lies in the warehouse that no run should leave behind."""
    standing = {"CURRENT", "current", "checkpoints", "models", "refused", "releases", "work"}
    found = [path for path in warehouse.iterdir() if path.name not in standing]
    for folder in ("checkpoints", "work"):
        found += (warehouse / folder).glob("*")
    found += [path for path in (warehouse / "models").glob("*") if path.suffix not in (".json", ".tflite")]
    found += [path for path in (warehouse / "releases").iterdir() if not (path / "release.json").is_file()]
    found += [path for path in (warehouse / "releases").rglob(".*") if path.suffix != ".crc"]  # Hadoop's checksums
    found += (warehouse / "releases").rglob("_temporary")
    return sorted(str(path.relative_to(warehouse)) for path in found)


def copy_warehouse(source: Path, target: Path) -> Path:
    """The same warehouse elsewhere."""
    return Path(shutil.copytree(source, target, symlinks=True))
