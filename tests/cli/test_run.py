"""What run and show find, as JSON: two runs of a small shop in the suite's session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from typer.testing import CliRunner

from lookalike import config
from lookalike.cli import item, overview, run
from lookalike.cli.main import app
from lookalike.errors import ConfigError, QueryError, WarehouseError
from lookalike.models.compile import CompiledModel
from support.json_shapes import documented
from support.shop import Shop, new_warehouse


@pytest.fixture(scope="module")
def settings(spark: SparkSession, model: CompiledModel, tmp_path_factory: pytest.TempPathFactory) -> config.Settings:
    """A shop of 8 items, one of which has no picture, whose first release is current."""
    folder = tmp_path_factory.mktemp("run")
    shop = Shop.of(folder / "shop", 8)
    shop.path("item-07").write_bytes(b"")
    shop.write()
    return shop.settings(new_warehouse(folder / "warehouse", model), similar={"k": 2}, report={"enabled": True})


@pytest.fixture(scope="module")
def first(spark: SparkSession, settings: config.Settings) -> dict[str, Any]:
    """The figures of the first run."""
    return as_printed(run.refresh(spark, settings))


def as_printed(figures: dict[str, Any]) -> dict[str, Any]:
    printed: dict[str, Any] = json.loads(json.dumps(figures))  # raises for what is no JSON type
    return printed


def test_run_that_publishes_gives_the_figures_of_its_release(first: dict[str, Any], settings: config.Settings) -> None:
    assert list(first) == documented("run")
    assert first["outcome"] == "published"
    assert first["place"] == f"{settings.warehouse.path}/current"
    assert Path(first["place"]).resolve().name == first["release_id"]
    assert (first["counts"]["items"], first["counts"]["embedded"], first["counts"]["failed"]) == (8, 7, 1)
    assert first["changes"]["new"] == 8
    assert {gate["passed"] for gate in first["gates"]} == {True}


def test_run_with_nothing_to_do_gives_the_release_that_stays(
    spark: SparkSession, first: dict[str, Any], settings: config.Settings
) -> None:
    assert run.refresh(spark, settings) == {**first, "outcome": "nothing to do"}


def test_overview_has_items_with_neighbours_precision_places_and_queries(
    spark: SparkSession, first: dict[str, Any], settings: config.Settings
) -> None:
    found = overview.read(spark, settings, items=3, labels="price")
    printed = as_printed(found.as_json())
    assert list(printed) == documented("show")
    assert printed["release_id"] == first["release_id"]
    assert printed["counts"] == first["counts"]
    assert len(printed["items"]) == 3
    for one in printed["items"]:
        assert one["labels"] == {"price": 1}
        assert [other["rank"] for other in one["neighbours"]] == [1, 2]
    assert printed["precision"] == [{"column": "price", "k": 2, "precision": 1.0, "chance": 1.0}]
    assert found.report is not None
    assert found.report.is_file()
    assert set(printed["places"]) == set(overview.PARTS)
    assert list(printed["queries"]) == ["spark", "duckdb", "spark_live"]


def test_overview_refuses_a_column_that_the_release_does_not_keep(
    spark: SparkSession, first: dict[str, Any], settings: config.Settings
) -> None:
    with pytest.raises(ConfigError, match="names 'colour', which the release does not keep; it keeps: price"):
        overview.read(spark, settings, items=1, labels="price,colour")


def test_item_has_the_neighbours_of_the_table(first: dict[str, Any], settings: config.Settings) -> None:
    printed = as_printed(item.read(settings, "item-03").as_json())
    assert list(printed) == documented("show ITEM")
    assert printed["item"] == {"item_id": "item-03", "image_path": "images/item-03.png", "labels": {"price": 1}}
    table = pq.read_table(f"{first['place']}/similar_items", filters=[("item_id", "=", "item-03")]).sort_by("rank")
    found = [(one["rank"], one["item_id"], one["score"]) for one in printed["neighbours"]]
    assert found == list(zip(*(table[name].to_pylist() for name in ("rank", "similar_item_id", "score")), strict=True))


def test_item_is_shown_without_spark(first: dict[str, Any], settings: config.Settings, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(settings.model_dump_json())  # JSON is YAML
    done = CliRunner().invoke(app, ["show", "item-03", "--config", str(file)])
    assert done.exit_code == 0
    title, header, itself, *neighbours = done.stdout.strip().splitlines()
    assert title == f"item-03 in release {first['release_id']}"
    assert header.split() == ["rank", "item", "score", "price", "picture"]
    assert itself.split() == ["item-03", "1", "images/item-03.png"]
    assert [line.split()[0] for line in neighbours] == ["1", "2"]
    refused = CliRunner().invoke(app, ["show", "item-03", "--config", str(file), "--labels", "price"])
    assert (refused.exit_code, refused.stdout) == (2, "")


def test_item_without_an_embedding_is_named(first: dict[str, Any], settings: config.Settings) -> None:
    with pytest.raises(QueryError, match="item 'item-07' has no embedding: its picture failed with empty"):
        item.read(settings, "item-07")


def test_damaged_table_is_named(first: dict[str, Any], settings: config.Settings) -> None:
    (file, *_) = Path(first["place"], "embeddings").glob("*.parquet")
    sound = file.read_bytes()
    file.write_bytes(b"garbage")
    try:
        with pytest.raises(WarehouseError, match=r"embeddings/part-\S+ cannot be read"):
            item.read(settings, "item-03")
    finally:
        file.write_bytes(sound)
