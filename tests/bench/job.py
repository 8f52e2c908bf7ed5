"""The whole job by spark-submit, from the catalogue to a published release; its model is compiled before."""

from __future__ import annotations

from pathlib import Path

import contender
import submitted


def measure(task: contender.Task) -> dict:
    """The seconds count from the start of spark-submit, as those of the others from the start of their process."""
    warehouse = Path(task.work) / "job"
    settings = submitted.settings_for(task, warehouse)
    checkout = submitted.Checkout(contender.ROOT)
    model = checkout.compile(settings, warehouse, contender.CACHE / "job-model.log")
    found = checkout.run(settings, contender.CACHE / "job-run.log")
    ratio = {}
    if task.beside:
        other = submitted.Checkout(Path(task.beside))
        before = other.compile(settings, warehouse.with_name("beside"), contender.CACHE / "job-model-beside.log")
        ratio = {"model_over_beside": round(model / before, 3)}
    return {
        "end_to_end_seconds": found["seconds"],
        "end_to_end": round(task.pictures / found["seconds"], 2),
        "start_up": found["start_up"],
        "steps": found["steps"],
        "model_seconds": model,
        **ratio,
    }


if __name__ == "__main__":
    contender.main(measure)
