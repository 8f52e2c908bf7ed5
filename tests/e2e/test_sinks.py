"""Nights of a run that publishes to all sinks: what it leaves, what it mends, and what the next one makes of it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from lookalike import pipeline
from lookalike.errors import SinkError
from lookalike.models.network import CompiledModel
from lookalike.sinks import iceberg_catalog
from lookalike.sinks.delta import LOG
from lookalike.spark import release_check
from lookalike.warehouse.local import Warehouse
from support.shop import Shop, new_warehouse, picture, refresh

PUBLISH = {"delta": True, "iceberg": {}, "duckdb": True}


def test_nights_with_sinks(
    spark: SparkSession, model: CompiledModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = Shop.of(tmp_path / "shop", 9)
    warehouse = Warehouse(str(new_warehouse(tmp_path / "warehouse", model)))
    publish = {**PUBLISH, "metrics": str(tmp_path / "shop.prom")}
    settings = shop.settings(warehouse.path, publish=publish)
    blocked = warehouse.path / "iceberg" / "catalog.db"
    blocked.mkdir(parents=True)
    with pytest.raises(SinkError, match="is current, but the Iceberg tables of lookalike cannot be changed"):
        refresh(spark, shop, settings)
    first = warehouse.need_current()
    logs = [first.root / name / LOG for name in ("similar_items", "embeddings", "failures")]
    pointer = (warehouse.path / "CURRENT").stat().st_mtime_ns
    assert all(log.stat().st_mtime_ns < pointer for log in logs), "no reader finds the release without them"
    assert pl.scan_delta(str(first.failures)).collect().height == 0
    assert (tmp_path / "shop.prom").exists(), "a sink behind one that fails is published"

    blocked.rmdir()
    assert not pipeline.refresh(spark, settings), "there is nothing to do but to mend it"
    catalog = iceberg_catalog.open_catalog(iceberg_catalog.properties(settings, warehouse), warehouse)
    assert first.release_id in catalog.load_table("lookalike.embeddings").refs()

    shop.put("item-03", picture(103))
    capsys.readouterr()
    second = refresh(spark, shop, settings)
    assert "damaged" not in capsys.readouterr().err
    assert release_check.find_damage(spark, second) == []
    for name in ("similar_items", "embeddings", "failures", "changes"):
        plain = {row["item_id"] for row in spark.read.parquet(str(second.root / name)).collect()}
        delta = DeltaTable(str(second.root / name)).to_pyarrow_table()
        iceberg = catalog.load_table(f"lookalike.{name}").scan().to_arrow()
        assert set(delta["item_id"].to_pylist()) == set(iceberg["item_id"].to_pylist()) == plain
        assert len(delta) == len(iceberg)
    with duckdb.connect(str(warehouse.path / "lookalike.duckdb"), read_only=True) as database:
        changed = database.sql("SELECT item_id FROM changed_items WHERE picture_changed").fetchall()
        assert changed == [("item-03",)]
        assert database.sql("SELECT release_id FROM current_release").fetchall() == [(second.release_id,)]
