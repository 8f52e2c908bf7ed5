"""What is found wrong before Spark starts."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike import config
from lookalike.cli import checks
from lookalike.errors import CatalogueError, ConfigError, LookalikeError, ModelError, WarehouseError
from lookalike.models import weights_file
from support.items_table import table


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Spark of the user's own; a folder with a catalogue and weights."""
    for name in (*checks.OWN_SPARK, "PYSPARK_GATEWAY_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    pq.write_table(table(), "products.parquet")
    Path("weights.h5").touch()


def check(catalogue: str = "products.parquet", warehouse: str = "shop", **model: Any) -> None:
    checks.before_run(
        config.Settings.model_validate(
            {"catalogue": {"path": catalogue}, "warehouse": {"path": warehouse}, "model": model}
        )
    )


def test_sound_settings_pass_and_the_warehouse_is_made() -> None:
    check(weights="weights.h5")
    assert list(Path("shop").iterdir()) == []


@pytest.mark.skipif("HADOOP_HOME" in os.environ, reason="there is a Hadoop here")
def test_pictures_in_hdfs_without_a_hadoop_client_are_an_error_of_the_set_up() -> None:
    settings = {
        "catalogue": {"path": "products.parquet", "image_root": "hdfs://node:1/x"},
        "warehouse": {"path": "shop"},
    }
    with pytest.raises(ConfigError, match="hdfs://node:1/x cannot be read: there is no Hadoop client here: install"):
        checks.before_run(config.Settings.model_validate(settings))
    weights = weights_file.local_file(config.ModelSettings(weights="hdfs://node:1/weights.h5"), config.StoreSettings())
    with pytest.raises(ModelError, match=r"weights.h5 cannot be read: there is no Hadoop client.{0,99}$"), weights:
        pass


@pytest.mark.parametrize(
    "path", ["gone.parquet", "gone/products", "/gone/products.parquet", "gone/x.parquet", "file:/gone/x"]
)
def test_missing_catalogue_is_named_and_no_warehouse_made(path: str) -> None:
    with pytest.raises(CatalogueError, match=f"there is no file, folder or table '{path}'"):
        check(path)
    assert not Path("shop").exists()


@pytest.mark.parametrize("path", ["products", "shop.products", "lake.shop.products", "s3://gone/x", "hdfs:/gone/x"])
def test_what_only_spark_can_tell_is_left_to_it(path: str) -> None:
    check(path)
    assert Path("shop").is_dir()


@pytest.mark.parametrize("name", ["HADOOP_CONF_DIR", "SPARK_HOME", "SPARK_CONF_DIR", "PYSPARK_SUBMIT_ARGS"])
def test_path_may_be_in_hdfs_where_spark_is_set_up_by_its_user(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/etc/cluster")
    check("/gone/products.parquet")
    assert Path("shop").is_dir()


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"weights": "gone.h5"}, ModelError, "no file gone.h5; give 'imagenet', 'bundled' or a Keras .h5 file"),
        ({"weights": "."}, ModelError, "no file ."),
        ({"warehouse": "/dev/null/shop"}, WarehouseError, "/dev/null/shop cannot be written"),
        ({"warehouse": "products.parquet"}, WarehouseError, "products.parquet cannot be written"),
        ({"warehouse": "/proc/shop"}, WarehouseError, "/proc/shop cannot be written"),
        ({"warehouse": "/proc/self"}, WarehouseError, "/proc/self cannot be written"),  # there, but takes no file
    ],
)
def test_missing_weights_and_unwritable_warehouse_are_named(
    settings: dict[str, str], error: type[LookalikeError], said: str
) -> None:
    with pytest.raises(error) as raised:
        check(**settings)
    assert said in str(raised.value)


FOUND_EARLY: dict[str, tuple[object, str]] = {
    "no Parquet": (b"item_id,image_path\n", "products.parquet cannot be read as Parquet (it is another kind of file)"),
    "a missing column": (table(image_path=None), "catalogue.path has no column 'image_path'"),
    "a type": (table(item_id=[1.5, 2.5]), "catalogue.item_id_column 'item_id' is double"),
}


@pytest.mark.parametrize("case", FOUND_EARLY)
def test_catalogue_that_the_run_would_refuse_is_refused_before_spark_starts(case: str) -> None:
    content, said = FOUND_EARLY[case]
    if isinstance(content, pa.Table):
        pq.write_table(content, "products.parquet")
    else:
        Path("products.parquet").write_bytes(bytes(content))  # type: ignore[call-overload]
    with pytest.raises(CatalogueError, match=re.escape(said)):
        check()
    assert not Path("shop").exists()
