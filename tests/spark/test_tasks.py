"""Tasks on Spark: how many there are, and work beside other work."""

from __future__ import annotations

import time

import pytest
from pyspark.sql import SparkSession

from lookalike.errors import CatalogueError, WarehouseError
from lookalike.spark.tasks import beside, collect_tasks, count_tasks, map_tasks


@pytest.mark.parametrize(
    ("pictures", "cores", "expected"),
    [(0, 2, 1), (1, 2, 1), (3, 8, 3), (512, 2, 2), (6000, 2, 12), (1_000_000, 100, 2000)],
)
def test_tasks_are_a_multiple_of_the_cores_when_there_is_work_for_all(pictures: int, cores: int, expected: int) -> None:
    assert count_tasks(pictures, 500, cores) == expected


def test_more_pictures_a_task_are_fewer_tasks() -> None:
    assert [count_tasks(6000, per_task, 2) for per_task in (1, 500, 1000, 6000)] == [6000, 12, 6, 2]


@pytest.mark.parametrize("count", [0, 1, 3, 50])
def test_things_are_mapped_in_their_order_whatever_the_number_of_tasks(spark: SparkSession, count: int) -> None:
    assert map_tasks(spark, list(range(count)), lambda number: (number, str(number))) == [
        (number, str(number)) for number in range(count)
    ]


def test_work_beside_gives_its_result_or_its_error(spark: SparkSession) -> None:
    with beside(spark, lambda: collect_tasks(spark, 2, lambda number: {"number": number})) as running:
        assert running.result() == [{"number": 0}, {"number": 1}]

    def fail() -> None:
        raise WarehouseError("damaged")

    with pytest.raises(WarehouseError, match="damaged"), beside(spark, fail) as failing:
        failing.result()


def test_error_ends_the_jobs_of_the_work_beside(spark: SparkSession) -> None:
    def sleep(_: int) -> dict[str, int]:
        time.sleep(60)
        return {}

    with pytest.raises(CatalogueError, match="no rows"), beside(spark, lambda: collect_tasks(spark, 1, sleep)) as work:
        raise CatalogueError("no rows")
    assert work.exception() is not None
    assert collect_tasks(spark, 1, lambda number: {"number": number}) == [{"number": 0}]
