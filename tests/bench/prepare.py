"""Compile the model once, before anything is timed: the job finds it in its warehouse on every later night."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial

import contender

from lookalike import config
from lookalike.catalogue.read import read_catalogue
from lookalike.embedding.step import sample_pictures
from lookalike.models.compile import find_or_compile
from lookalike.warehouse import local as local_warehouse


def settings(task: contender.Task) -> config.Settings:
    """The job's settings for a task; all tasks of a run share one warehouse."""
    return config.Settings.model_validate(
        {
            "catalogue": {"path": f"{task.catalogue}/catalogue.parquet", "image_root": task.catalogue},
            "warehouse": {"path": f"{task.work}/warehouse"},
            "model": {
                "weights": "bundled",
                "precision": task.precision,
                "engine": task.engine,
                "input_size": task.input_size,
            },
        }
    )


def measure(task: contender.Task) -> dict:
    ours = settings(task)
    with contender.spark_session(task) as spark:
        items = read_catalogue(spark, ours)
        sample = partial(sample_pictures, items, ours)
        start = time.perf_counter()
        store = local_warehouse.Warehouse(ours.warehouse.path).models
        model = find_or_compile(ours.model, store, sample, ours.images)
        seconds = time.perf_counter() - start
    task.artefact.write_bytes(model.artefact)
    return {
        "compile_seconds": round(seconds, 1),
        "artefact_mb": round(len(model.artefact) / 1e6, 1),
        "model_id": model.model_id,
        "fidelity": asdict(model.fidelity) if model.fidelity else None,
    }


if __name__ == "__main__":
    contender.main(measure)
