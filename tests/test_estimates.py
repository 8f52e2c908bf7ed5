"""What a run is expected to take: plain arithmetic on sizes, and where the sizes of a run come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyspark.sql import SparkSession

from lookalike import config, estimates
from lookalike.catalogue.delta import Delta
from lookalike.estimates import RunEstimate, duration, of_long_run
from lookalike.index import changes, manifest
from lookalike.index.manifest import Manifest, ManifestGroup
from lookalike.models.network import CompiledModel
from lookalike.spark.release_tables import ReleaseTables
from lookalike.warehouse.release import ReleaseFolder
from support.shards import listed_shard


@pytest.fixture
def run(settings: Callable[..., config.Settings]) -> RunEstimate:
    """From nothing, on two cores."""
    return RunEstimate([50_000] * 4, None, 76.0, 2, settings())


def test_more_items_take_longer_and_more_cores_less(run: RunEstimate) -> None:
    twice, cores = replace(run, sizes=[50_000] * 8), replace(run, cores=16)
    for name, seconds in run.seconds().items():
        assert cores.seconds()[name] < seconds < twice.seconds()[name]
    assert twice.release_bytes == 2 * run.release_bytes
    assert twice.disk_bytes > twice.release_bytes


def test_steps_have_tasks_for_all_cores_and_the_more_the_more_items(run: RunEstimate) -> None:
    few, many = run.tasks(), replace(run, sizes=[50_000] * 40).tasks()
    assert all(few[name] <= many[name] for name in few)
    assert all(count >= 400 for count in replace(run, sizes=[50_000] * 400, cores=400).tasks().values())


def test_night_costs_what_changed(run: RunEstimate) -> None:
    night = replace(run, came=2_000)
    first, later = run.seconds(), night.seconds()
    assert later["embed"] < 0.05 * first["embed"]
    assert later["index"] < 0.2 * first["index"]
    assert later["neighbours"] < first["neighbours"]
    assert night.release_bytes == run.release_bytes
    assert night.disk_bytes < 0.3 * run.disk_bytes


def test_night_of_too_many_changes_builds_the_index_again_and_searches_for_all(
    run: RunEstimate, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = replace(run, came=1 + round(run.settings.index.compact_share * run.items))
    assert share.index_seconds == run.index_seconds
    assert share.neighbours_seconds == run.neighbours_seconds
    assert share.embed_seconds < run.embed_seconds
    monkeypatch.setattr(estimates, "MAX_CHANGED", 1_999)
    assert replace(run, came=2_000).index_seconds == run.index_seconds
    assert changes.MAX_CHANGED > 1_999


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7_300, "2 h"), (4e6, "46 days")]
)
def test_duration_is_said_in_the_largest_unit_that_tells_something(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_lines_say_the_seconds_of_the_steps_to_come_and_a_disk_that_is_too_small(
    run: RunEstimate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(free=10**15)
    monkeypatch.setattr(estimates.shutil, "disk_usage", lambda _: free)
    (line,) = run.lines(tmp_path)
    embed, index = (duration(run.seconds()[name]) for name in ("embed", "index"))
    assert line.startswith(
        f"200,000 pictures in {run.tasks()['embed']} tasks on 2 cores: about {embed}; then index {index}, "
    )
    free.free = 2 * 10**9
    assert list(run.lines(tmp_path))[1] == (
        f"the run may need {run.disk_bytes / 1e9:.0f} GB of disk, and {tmp_path} has 2 GB free"
    )


@pytest.fixture
def model() -> CompiledModel:
    """A network of which the speed was measured."""
    return CompiledModel(b"", "id", "bundled", "int8", "openvino", 224, "", 384, None, False, {"openvino": 76.0})


def delta(spark: SparkSession, groups: list[str | None], items: int, before: ReleaseTables | None = None) -> Delta:
    """A comparison in which so many pictures are to be read; `groups` are the rows of its table."""
    table = spark.createDataFrame([((name,),) for name in groups], "kept struct<kind: string>")
    return Delta(table, Path("none"), before, {}, items, items, 0, 0, 0, items)


def test_long_run_is_expected_by_the_sizes_of_its_groups(
    spark: SparkSession, settings: Callable[..., config.Settings], model: CompiledModel
) -> None:
    grouped = settings(similar={"group_by": "kind"}, catalogue={"keep_columns": ["kind"]})
    rows: list[str | None] = ["shoe", "shoe", "bag", None]
    found = of_long_run(delta(spark, rows, 100_000), model, grouped, 4)
    assert found is not None
    assert sorted(found.sizes) == [1, 1, 2]
    assert (found.speed, found.cores, found.came) == (76.0, 4, None)
    alone = of_long_run(delta(spark, rows, 100_000), model, settings(), 4)
    assert alone is not None
    assert alone.sizes == [100_000]


def test_long_night_has_the_groups_of_the_release_before(
    spark: SparkSession, settings: Callable[..., config.Settings], model: CompiledModel, tmp_path: Path
) -> None:
    shards = (
        listed_shard(0, 9, "bag"),
        listed_shard(1, 40, "shoe", live=30, candidates=30),
        listed_shard(2, 5, "shoe", delta=True),
    )
    groups = tuple(ManifestGroup(group=name, centroids_file=None, lists=1) for name in ("bag", "shoe"))
    release = ReleaseFolder(tmp_path)
    release.index.mkdir()
    listed = Manifest(dimensions=2, trees=1, seed=1, group_by="kind", next_shard=3, groups=groups, shards=shards)
    manifest.write(listed, release.index)
    none = spark.createDataFrame([], "item_id string")
    night = delta(spark, [], 100_000, ReleaseTables(release, none, none, none))
    grouped = settings(similar={"group_by": "kind"}, catalogue={"keep_columns": ["kind"]})
    found = of_long_run(night, model, grouped, 4)
    assert found is not None
    assert (found.sizes, found.came) == ([9, 35], 100_000)
    (release.index / manifest.NAME).write_text("{")
    damaged = of_long_run(night, model, grouped, 4)
    assert damaged is not None
    assert damaged.sizes == [100_000]


def test_nothing_is_expected_of_a_short_run_or_of_a_network_that_was_not_measured(
    spark: SparkSession, settings: Callable[..., config.Settings], model: CompiledModel
) -> None:
    assert of_long_run(delta(spark, [], 1_000), model, settings(), 4) is None
    assert of_long_run(delta(spark, [], 100_000), replace(model, engine_speeds={}), settings(), 4) is None
