"""A release of three items and a failure, as tables and as a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.record import ReleaseRecord
from lookalike.warehouse.release import ReleaseFolder, Staged
from support import records, release_files, staging

HOSTILE = "<script>alert(1)</script>"


EMBEDDINGS = "item_id string, image_path string, category string"


SIMILAR = "item_id string, rank int, similar_item_id string, score float"


FAILURES = "item_id string, image_path string, reason string, detail string"


def make_tables(
    spark: SparkSession,
    items: list[tuple[str, str, str | None]],
    similar: Sequence[tuple[str, int, str, float]] = (),
    failed: Sequence[tuple[str, str, str, str]] = (),
) -> ReleaseTables:
    return ReleaseTables(
        ReleaseFolder(Path("20260102T030405Z-abc123")),
        spark.createDataFrame(items, EMBEDDINGS),
        spark.createDataFrame(list(failed), FAILURES),
        spark.createDataFrame(list(similar), SIMILAR),
    )


def write_tables(
    spark: SparkSession,
    staged: Staged,
    items: list[tuple[str, str, str | None]],
    similar: Sequence[tuple[str, int, str, float]] = (),
    failed: Sequence[tuple[str, str, str, str]] = (),
) -> ReleaseTables:
    """The tables of a release in the making, with files of the embeddings and of the lists."""
    release_files.write(staged.embeddings, _columns(("item_id", "image_path", "category"), items), {})
    types = {"rank": pa.int32(), "score": pa.float32()}
    release_files.write(staged.similar_items, _columns(release_files.LIST, sorted(similar)), types)
    staged.add(staging.files_of(staged))
    tables = make_tables(spark, items, similar, failed)
    return replace(tables, release=staged, files=staging.paths_by_part(staged))


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, Sequence[Any]]:
    return dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))


def make_settings(root: Path) -> config.Settings:
    raw = {"catalogue": {"path": "x", "image_root": str(root)}, "warehouse": {"path": "y"}}
    return config.Settings.model_validate({**raw, "similar": {"group_by": "category"}})


def make_record(root: Path, **sections: Any) -> ReleaseRecord:
    """The record of four items, one of which failed; `sections` take the place of its own."""
    raw = {
        "counts": {
            "items": 4,
            "embedded": 3,
            "failed": 1,
            "failed_by_reason": {"not_found": 1},
            "similar_items": 2,
            "recall": 0.9951,
            "recall_sample": 3,
            "recall_low": 0.9912,
            "recall_high": 0.998,
            "recall_pairs": 60,
            "recall_missed": 1,
            "recall_groups": [
                {"group": HOSTILE, "sampled": 2, "items": 1200, "estimate": 0.97, "low": 0.9, "high": 0.99},
                {"group": None, "sampled": 1, "items": 1, "estimate": 1.0, "low": 1.0, "high": 1.0},
            ],
        },
        "gates": [
            {"key": "gates.max_failed_share", "figure": 0.25, "bound": 0.05, "direction": "at_most", "passed": False},
            {"key": "similar.recall_floor", "figure": 0.9951, "bound": 0.99, "direction": "at_least", "passed": True},
        ],
        "model": {
            "model_id": "0a206ad4f4c2def1",
            "weights": "bundled",
            "precision": "int8",
            "input_size": 112,
            "fidelity": {
                "pictures": 256,
                "mean_cosine": 0.99841,
                "p1_cosine": 0.99669,
                "top10_overlap": 0.9789,
            },
        },
        "changes": {"new": 2, "changed": 0, "unchanged": 1, "removed": 0, "failed": 1},
        "pictures": {"read": 3, "embedded": 2},
        "seconds": {"read": 1.0, "embed": 2.0, "quality": 0.5},
        "config": make_settings(root).model_dump(mode="json"),
    }
    return records.record(**{**raw, **sections})
