"""Tuning on Spark: by shards it gives what one task for a group gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.index.built import BuiltIndex, IndexGroup
from lookalike.index.centroids import train_centroids
from lookalike.knn.planner import PlanKind
from lookalike.neighbours import tuned
from lookalike.neighbours.tuned import tune_groups
from support.shards import Group, crowd, listed_shard

SHARDS = 5


@pytest.mark.parametrize("kind", ["ivf", "annoy"])
def test_groups_tuned_by_shards_look_as_far_as_those_tuned_in_a_task(
    spark: SparkSession,
    settings: Callable[..., config.Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: PlanKind,
) -> None:
    groups = []
    for number, items in enumerate((700, 900, 300)):
        vectors = crowd(items, number)
        first = number * SHARDS
        lists = train_centroids(vectors, 12, 1)
        written = Group.of(vectors, centroids=lists).write(tmp_path, SHARDS, first)
        shards = tuple(listed_shard(first + n, len(range(n, items, SHARDS))) for n in range(SHARDS))
        groups.append(IndexGroup(f"{number}", shards, 12, touched=True))
    index = BuiltIndex(groups, written.layout, None)
    chosen = settings(similar={"plan": kind, "k": 5, "recall_floor": 0.9})
    searches = [(group, kind) for group in groups]
    monkeypatch.setattr(tuned, "SHARDS_A_TASK", 2)
    monkeypatch.setattr(tuned, "SHARDS_AT_ONCE", 9)  # one group, then two
    monkeypatch.setattr(tuned, "GROUPS_AT_ONCE", 9)
    by_shards = tune_groups(spark, index, searches, chosen)
    monkeypatch.setattr(tuned, "SHARDS_A_TASK", SHARDS)
    assert by_shards == tune_groups(spark, index, searches, chosen)
    assert all(one is not None and (one.search_k if kind == "annoy" else one.radius) for one in by_shards)
