"""Tasks on Spark: how many there are."""

from __future__ import annotations

import pytest

from lookalike.spark.tasks import count_tasks


@pytest.mark.parametrize(
    ("pictures", "cores", "expected"),
    [(0, 2, 1), (1, 2, 1), (3, 8, 3), (512, 2, 2), (6000, 2, 12), (1_000_000, 100, 2000)],
)
def test_tasks_are_a_multiple_of_the_cores_when_there_is_work_for_all(pictures: int, cores: int, expected: int) -> None:
    assert count_tasks(pictures, 500, cores) == expected


def test_more_pictures_a_task_are_fewer_tasks() -> None:
    assert [count_tasks(6000, per_task, 2) for per_task in (1, 500, 1000, 6000)] == [6000, 12, 6, 2]
