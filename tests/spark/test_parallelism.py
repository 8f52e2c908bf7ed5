"""How many tasks may run at once on a cluster: by the settings alone."""

from __future__ import annotations

import pytest

from lookalike.spark import parallelism

DYNAMIC = {"spark.dynamicAllocation.enabled": "true"}


@pytest.mark.parametrize(
    ("master", "conf", "expected"),
    [
        ("local[*,4]", {}, None),  # Spark counts this machine's, which do not come and go
        ("local", {}, None),
        ("local-cluster[2,3,1024]", {}, 6),
        ("yarn", {}, 2),
        ("yarn", {"spark.executor.instances": "25", "spark.executor.cores": "4"}, 100),
        ("yarn", {"spark.executor.instances": "25", "spark.executor.cores": "5", "spark.task.cpus": "2"}, 62),
        ("yarn", {**DYNAMIC, "spark.dynamicAllocation.maxExecutors": "25", "spark.executor.cores": "4"}, 100),
        ("yarn", {**DYNAMIC, "spark.dynamicAllocation.maxExecutors": "infinity"}, 200),
        ("k8s://https://host:443", {**DYNAMIC, "spark.sql.shuffle.partitions": "400"}, 400),
        ("k8s://https://host:443", {"spark.executor.instances": "3"}, 3),
        ("spark://host:7077", {}, 200),
        ("spark://host:7077", {"spark.cores.max": "8"}, 8),
        ("spark://host:7077", {"spark.cores.max": "64", "spark.executor.cores": "2"}, 64),
        (
            "spark://host:7077",
            {
                **DYNAMIC,
                "spark.dynamicAllocation.maxExecutors": "4",
                "spark.executor.cores": "2",
                "spark.cores.max": "64",
            },
            8,
        ),
    ],
)
def test_tasks_at_once_are_those_of_all_executors_that_may_come(
    master: str, conf: dict[str, str], expected: int | None
) -> None:
    found = parallelism.session_settings({"spark.master": master, **conf})
    assert found == ({} if expected is None else {"spark.default.parallelism": str(expected)})


def test_setting_of_the_user_stays() -> None:
    assert parallelism.session_settings({"spark.master": "yarn", "spark.default.parallelism": "400"}) == {}
