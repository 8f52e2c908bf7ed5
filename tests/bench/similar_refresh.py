"""A night on which 1 % of the items have another picture: lists repaired in place, and all lists searched.

Both with the exact plan, so that their tables must be the same to the last bit.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import contender
from pyspark.sql import DataFrame
from table_nights import TableNights, settings_for, timed

import neighbours

CHANGED = 0.01


def measure(task: neighbours.Task) -> dict:
    settings = settings_for(task.work, task.k, plan="exact")
    repaired, searched = {}, {}
    with (
        contender.spark_session(task) as spark,
        TableNights(spark, settings, Path(task.mix), [task.items]) as nights,
    ):
        nights.first(partial(timed, {}))
        one = nights.later(round(CHANGED * task.items), 0, partial(timed, repaired))
        with nights.from_nothing(partial(timed, searched)) as other:
            tables = (found.similar_items.drop("release_id") for found in (one, other))
            assert same(*tables), "the repaired lists differ from the searched ones"
    return {"exact, all lists searched": line(searched), "exact, 1 % changed": line(repaired)}


def same(one: DataFrame, other: DataFrame) -> bool:
    """Whether two tables have the same rows."""
    return one.exceptAll(other).isEmpty() and other.exceptAll(one).isEmpty()


def line(seconds: dict[str, float]) -> dict[str, float]:
    """A line of the table."""
    both = {"build_seconds": seconds["index"], "query_seconds": seconds["neighbours"]}
    return {name: round(value, 2) for name, value in {**both, "seconds": sum(both.values())}.items()}


if __name__ == "__main__":
    neighbours.main(measure)
