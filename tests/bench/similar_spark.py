"""Our search as the nightly job runs it: the steps index and neighbours, on an embeddings table.

The start of the session and the writing of the table are not counted; they warm the Python workers up.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import contender
import mix_table
from table_nights import TableNights, settings_for, timed

import neighbours
from lookalike.quality import recall


def measure(task: neighbours.Task) -> dict:
    settings, seconds = settings_for(task.work, task.k), {}
    with (
        contender.spark_session(task) as spark,
        TableNights(spark, settings, Path(task.mix), [task.items]) as nights,
    ):
        nights.first(partial(timed, seconds))
        assert nights.before
        found = mix_table.neighbours(nights.before.release.similar_items, task.items, task.k)
        guess = recall.estimate(nights.before.embeddings, nights.before.similar_items, settings)
    figures = neighbours.figures(task, seconds["index"], seconds["neighbours"], found)
    interval = {"estimate": guess.estimate, "low": guess.low, "high": guess.high}
    return {"lookalike through Spark": {**figures, **{name: round(value, 5) for name, value in interval.items()}}}


if __name__ == "__main__":
    neighbours.main(measure)
