"""One shop, its catalogue in one format after another: they say the same, so nothing is to do until it changes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pytest
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog
from pyspark.sql import SparkSession

from lookalike import pipeline
from lookalike.models.network import CompiledModel
from lookalike.warehouse.local import Warehouse
from support.shop import Shop, leftovers, new_warehouse, picture

COLUMNS = ("item_id", "image_path", "kind")


def table(shop: Shop) -> pa.Table:
    rows = [{name: row[name] for name in COLUMNS} for row in shop.rows.values()]
    return pa.Table.from_pylist([{**row, "image_path": str(shop.folder / row["image_path"])} for row in rows])


def as_csv(shop: Shop, folder: Path) -> Path:
    """Two files, one of them as Excel writes it, the other packed."""
    (folder / "csv").mkdir(exist_ok=True)
    whole = table(shop)
    first = whole.slice(0, 5).to_pylist()
    lines = [";".join(COLUMNS), *(";".join(row.values()) for row in first)]
    (folder / "csv" / "a.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    sink = pa.BufferOutputStream()
    pc.write_csv(whole.slice(5), sink)
    (folder / "csv" / "b.csv.gz").write_bytes(gzip.compress(sink.getvalue()))
    return folder / "csv"


def as_json(shop: Shop, folder: Path) -> Path:
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, table(shop).to_pylist())))
    return folder / "items.jsonl"


def as_delta(shop: Shop, folder: Path) -> Path:
    """A table that has lost an item, partitioned."""
    whole = pa.concat_tables([table(shop), pa.table({"item_id": ["x"], "image_path": ["x"], "kind": ["kind-0"]})])
    write_deltalake(folder / "delta", whole, partition_by=["kind"])
    DeltaTable(folder / "delta").delete("item_id = 'x'")
    return folder / "delta"


def as_iceberg(shop: Shop, folder: Path) -> Path:
    """A table of which a column was renamed between two files."""
    catalog = SqlCatalog("lake", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/lake")
    catalog.create_namespace("shop")
    whole = table(shop)
    made = catalog.create_table("shop.items", schema=whole.schema.set(1, pa.field("picture", pa.string())))
    made.append(whole.slice(0, 5).rename_columns(["item_id", "picture", "kind"]))
    with made.update_schema() as change:
        change.rename_column("picture", "image_path")
    made.append(whole.slice(5))
    catalog.close()
    return folder / "lake" / "shop" / "items"


def as_pictures(shop: Shop, folder: Path) -> Path:
    """The pictures themselves."""
    return shop.folder / "images"


FORMATS: list[Callable[[Shop, Path], Path]] = [as_json, as_delta, as_iceberg, as_pictures]


def test_formats_say_the_same_and_a_changed_row_is_embedded(
    spark: SparkSession, model: CompiledModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shop, path = Shop.of(tmp_path / "shop", 12), new_warehouse(tmp_path / "warehouse", model)

    def night(catalogue: Path) -> str:
        chosen = {"path": str(catalogue), "image_root": "", "keep_columns": []}
        pipeline.refresh(spark, shop.settings(path, catalogue=chosen))
        return capfd.readouterr().err

    said = night(as_csv(shop, tmp_path))
    assert "CSV: 12 rows of 2 files" in said
    assert "12 new" in said
    for write in FORMATS:
        assert "nothing to do" in night(write(shop, tmp_path)), write

    shop.put("item-03", picture(50))
    del shop.rows["item-05"]
    assert "0 new, 1 changed, 10 unchanged, 1 removed" in night(as_csv(shop, tmp_path))
    now = Warehouse(str(path)).need_current().record()
    assert (now.pictures.read, now.pictures.embedded) == (1, 1)
    assert leftovers(path) == []
