"""The embeddings of the benchmark's pictures, by the nightly job's own steps: what mix.py mixes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import contender
import numpy as np
import ours
import prepare

from lookalike.catalogue.read import read_catalogue
from lookalike.embedding.step import sample_pictures
from lookalike.models.compile import find_or_compile
from lookalike.warehouse import local as local_warehouse


def measure(task: contender.Task) -> dict:
    settings = prepare.settings(task)
    warehouse = local_warehouse.Warehouse(settings.warehouse.path)
    with contender.spark_session(task) as spark:
        items = read_catalogue(spark, settings)
        model = find_or_compile(settings.model, warehouse.models, partial(sample_pictures, items, settings))
        with warehouse.stage() as staged:
            written = ours.write_tables(spark, settings, model, staged)
            lists = written.embeddings.select("embedding").toArrow()["embedding"].combine_chunks()
    vectors = lists.flatten().to_numpy().reshape(len(lists), -1)
    distinct = np.unique(vectors, axis=0)  # some photos occur twice; sorted, whatever order Spark gave
    np.save(Path(task.work) / "originals.npy", distinct)
    return {"pictures": len(vectors), "distinct": len(distinct)}


if __name__ == "__main__":
    contender.main(measure)
