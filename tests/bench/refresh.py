"""The job night after night on one warehouse: from nothing, nothing changed, 1 % and 10 % of the pictures changed.

Every run is a process of its own, as at night. What counts is the time after the Spark session has started.
"""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import contender
import pictures
import prepare
from PIL import Image

from lookalike import config, pipeline
from lookalike.warehouse.local import Warehouse

NIGHTS = {"full": None, "nothing": 0.0, "1 %": 0.01, "10 %": 0.1}


def measure(task: contender.Task) -> dict:
    """Called for the benchmark, it starts itself for each night."""
    if Path(task.catalogue).name == "shop":
        return night(task)
    shop = Path(task.work) / "shop"
    shutil.copytree(task.catalogue, shop)
    told = replace(task, catalogue=str(shop))
    nights = {}
    for name, share in NIGHTS.items():
        changed = change(shop, share or 0)
        log = shop / "log"
        nights[name] = {"changed": changed, **contender.start("refresh", told, log)}
    full, one = nights["full"], nights["1 %"]
    return {
        "nights": nights,
        "one_percent_share": round(one["beyond"] / full["beyond"], 3),
        # The first night also compiles the model, once and for all.
        "one_percent_share_but_model": round(
            (one["beyond"] - one["steps"]["model"]) / (full["beyond"] - full["steps"]["model"]), 3
        ),
    }


def night(task: contender.Task) -> dict:
    """One run of the job."""
    settings = prepare.settings(task).model_copy(
        update={"warehouse": config.WarehouseSettings(path=f"{task.catalogue}/warehouse")}
    )
    warehouse = Warehouse(settings.warehouse.path)
    before = warehouse.current()
    with contender.spark_session(task) as spark:
        session = time.time() - task.started
        start = time.perf_counter()
        pipeline.refresh(spark, settings)
        beyond = time.perf_counter() - start
    after = warehouse.need_current()
    published = before is None or after.release_id != before.release_id
    record = after.record().model_dump() if published else {"pictures": {"embedded": 0}, "seconds": {}}
    return {
        "session": round(session, 1),
        "beyond": round(beyond, 1),
        "published": published,
        "embedded": record["pictures"]["embedded"],
        "steps": record["seconds"],
    }


def change(shop: Path, share: float) -> int:
    """Turn a seeded share of the pictures by a few degrees; gives how many."""
    files = pictures.paths(shop)
    chosen = random.Random(share).sample(files, round(share * len(files)))
    for path in chosen:
        with Image.open(path) as image:
            turned = image.convert("RGB").rotate(3, fillcolor="white")
        turned.save(path, format="JPEG", quality=90)
    return len(chosen)


if __name__ == "__main__":
    contender.main(measure)
