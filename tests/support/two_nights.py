"""Two nights of one shop, the same wherever they are run: in the session of the tests, or in a process of its own."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from lookalike import config
from lookalike.cli.session import session
from support.shop import Shop, picture, refresh

ITEMS = 30


def settings_of(shop: Shop, warehouse: Path) -> config.Settings:
    """Several shards and tasks of few items each."""
    return shop.settings(
        warehouse,
        embed={"commit_every": 8},
        index={"shard_items": 6},
        similar={"group_by": "kind", "duplicate_cosine": 0.9999},
        gates={"max_failed_share": 0.5},
    )


def two_nights(spark: SparkSession, folder: Path, models: Path) -> list[Path]:
    """Run a night, and a second one after changes; return the folders of both releases."""
    shop, warehouse = Shop.of(folder / "shop", ITEMS), folder / "warehouse"
    shutil.copytree(models, warehouse / "models")
    settings = settings_of(shop, warehouse)
    first = refresh(spark, shop, settings)
    for item, seed in (("item-03", 103), ("item-10", 4), ("item-21", 121)):
        shop.put(item, picture(seed))
    shop.put("item-05", b"<html>not found</html>")
    del shop.rows["item-07"]
    shop.add("item-99", 99)
    return [first.root, refresh(spark, shop, settings).root]


if __name__ == "__main__":
    _folder, _models = (Path(word) for word in sys.argv[1:])
    with session("run", settings_of(Shop(_folder), _folder)) as _spark:
        found = two_nights(_spark, _folder, _models)
        places = _spark.sparkContext.statusTracker().getExecutorInfos()
    print(json.dumps({"releases": [str(root) for root in found], "executors": len(places) - 1}))
