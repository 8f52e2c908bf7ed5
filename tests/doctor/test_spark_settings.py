"""What Spark's settings give an executor."""

from __future__ import annotations

import pytest

from lookalike.doctor.spark_settings import MIB, SparkSettings, size


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1800m", 1800 * MIB),
        ("2g", 2048 * MIB),
        ("512", 512 * MIB),
        ("1 GB", 1024 * MIB),
        ("64kib", 64 << 10),
        ("7b", 7),
    ],
)
def test_sizes_are_read_as_spark_reads_them(text: str, found: int) -> None:
    assert size(text) == found


@pytest.mark.parametrize("text", ["", "2 boxes", "-1g", "1.5g"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        size(text)


def told(**settings: str) -> SparkSettings:
    named = {name.replace("_", "."): value for name, value in settings.items()}
    return SparkSettings.of(named.get)


@pytest.mark.parametrize(
    ("master", "kind"),
    [
        ("local[*,4]", "local"),
        ("local-cluster[2,1,1024]", "standalone"),
        ("spark://host:7077", "standalone"),
        ("yarn", "yarn"),
        ("k8s://https://host", "kubernetes"),
    ],
)
def test_master_tells_who_gives_the_memory(master: str, kind: str) -> None:
    assert told(spark_master=master).kind == kind


def test_container_has_heap_and_overhead_and_a_machine_has_no_container() -> None:
    assert told(spark_master="yarn", spark_executor_memory="1g").container == (1024 + 384) * MIB
    assert told(spark_master="yarn", spark_executor_memory="8g").container == int(1.1 * (8 << 30))
    assert told(spark_master="yarn", spark_executor_memoryOverhead="3g").container == 4 << 30
    half = told(spark_master="k8s://x", spark_executor_memory="2g", spark_kubernetes_memoryOverheadFactor="0.4")
    assert half.container == int(1.4 * (2 << 30))
    assert told(spark_master="spark://x").container is None


def test_limit_of_a_worker_is_sparks_setting_by_the_cores() -> None:
    assert told(spark_executor_pyspark_memory="4g", spark_executor_cores="4").worker_limit == 1 << 30
    assert told(spark_executor_pyspark_memory="4g").worker_limit == 4 << 30
    assert told().worker_limit is None


@pytest.mark.parametrize(
    ("master", "cores"), [("local", 1), ("local[3]", 3), ("local[2,4]", 2), ("local[*]", None), ("local[*,4]", None)]
)
def test_cores_of_a_local_run_are_those_of_its_master(master: str, cores: int | None) -> None:
    assert told(spark_master=master).local_cores == cores
