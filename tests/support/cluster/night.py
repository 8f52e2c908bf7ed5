"""The settings of the nights that are run on the cluster, and where their releases are on this machine."""

from __future__ import annotations

from typing import Any

from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support.cluster.spark_cluster import SparkCluster

ITEMS = 300


def settings(shared: object, warehouse: str, **sections: dict[str, Any]) -> dict[str, Any]:
    """Many small shards and tasks, so that few items are enough for all that a large catalogue has."""
    return {
        "catalogue": {
            "path": f"{shared}/photos/catalogue.parquet",
            "image_root": f"{shared}/photos",
            "keep_columns": ["kind"],
        },
        "warehouse": {"path": f"{shared}/{warehouse}"},
        "model": {"weights": "bundled", "calibration_pictures": 32, "fidelity_pictures": 32, "engine": "litert"},
        "embed": {"commit_every": 32},
        "index": {"shard_items": 40, "trees": 5},
        "similar": {"k": 5, "group_by": "kind", "plan": "ivf", "duplicate_cosine": 0.9999, "recall_floor": 0.5},
        "report": {"enabled": False},
        **sections,
    }


def current(cluster: SparkCluster, warehouse: str) -> ReleaseFolder:
    """The current release of a warehouse in the shared folder."""
    return Warehouse(str(cluster.shared / warehouse)).need_current()
