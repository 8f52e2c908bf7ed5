"""The job night after night on one warehouse: from nothing, 1 % changed and 0.2 % gone, nothing changed.

Every night is a spark-submit. Where `beside` names another checkout, each night is run by both, one after the other,
each on a warehouse of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import contender
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import submitted
import variations

CHANGED, GONE = 0.01, 0.002

# Steps of which the share of a night in the time from nothing is a figure of its own.
STEPS = ("index", "neighbours", "embed")

FIRST, LATER, LAST = "from nothing", "1 % changed", "nothing changed"


@dataclass
class Shop:
    """A catalogue of pictures; each night some items show another picture and some are gone."""

    folder: Path
    work: Path
    night: int = 0

    def __post_init__(self) -> None:
        self.table = pq.read_table(self.folder / "catalogue.parquet")
        self.files = self.table["image_path"].to_pylist()
        self.count = len(self.table)

    def pass_a_day(self, changed: float = CHANGED, gone: float = GONE) -> Path:
        """Change and remove so large a share of the items; return the new table, with new files of its own."""
        self.night += 1
        rng = np.random.default_rng((variations.SEED, self.night))
        kept = np.sort(rng.permutation(len(self.table))[round(gone * len(self.table)) :])
        self.table = self.table.take(kept)
        rows = rng.permutation(len(self.table))[: round(changed * len(self.table))]
        paths = self.table["image_path"].to_pylist()
        jobs = []
        for row in rows:
            shown = self.folder / self.files[rng.integers(len(self.files))]
            paths[row] = str(self.work / f"night-{self.night}" / f"{row:07d}.jpg")
            jobs.append((shown, Path(paths[row]), self.count * self.night + int(row)))
        variations.write(jobs)
        place = self.table.column_names.index("image_path")
        self.table = self.table.set_column(place, "image_path", pa.array(paths))
        path = self.work / f"night-{self.night}.parquet"
        pq.write_table(self.table, path)
        return path


def measure(task: contender.Task) -> dict[str, Any]:
    """Run the nights of this checkout, and of the one beside it."""
    work = Path(task.work) / "nights"
    work.mkdir()
    names = {"here": contender.ROOT, **({"beside": Path(task.beside)} if task.beside else {})}
    checkouts = {name: submitted.Checkout(folder) for name, folder in names.items()}
    settings = {name: submitted.settings_for(task, work / name) for name in checkouts}
    model = {
        name: one.compile(settings[name], work / name, contender.CACHE / f"nights-model-{name}.log")
        for name, one in checkouts.items()
    }
    shop = Shop(Path(task.catalogue), work)
    found: dict[str, dict[str, Any]] = {name: {} for name in checkouts}
    table = shop.folder / "catalogue.parquet"
    for night in (FIRST, *(f"{LATER} {number + 1}" for number in range(task.nights)), LAST):
        if night.startswith(LATER):
            table = shop.pass_a_day()
        for name, one in checkouts.items():
            told = {**settings[name], "catalogue.path": str(table)}
            log = contender.CACHE / f"nights-{name}-{night.replace(' ', '-').replace('%', 'percent')}.log"
            found[name][night] = one.run(told, log)
            print(name, night, found[name][night], flush=True)
    return {"nights": found, "model_seconds": model["here"], **shares(found["here"]), **beside(found, model)}


def shares(nights: dict[str, dict[str, Any]]) -> dict[str, float]:
    """What the mean 1 % night took of the time from nothing, after the start of the session; and steps of it."""
    first, later = nights[FIRST], [night for name, night in nights.items() if name.startswith(LATER)]
    seconds = {"full_seconds": first["seconds"], "nothing_seconds": nights[LAST]["seconds"]}
    if not later:
        return seconds
    mean = {step: sum(night["steps"][step] for night in later) / len(later) for step in STEPS}
    steps = {f"{step}_share": round(mean[step] / first["steps"][step], 3) for step in STEPS}
    after = sum(night["after_start_up"] for night in later) / len(later)
    whole = {"night_seconds": round(sum(night["seconds"] for night in later) / len(later), 1)}
    return {**seconds, **whole, "night_share": round(after / first["after_start_up"], 3), **steps}


def beside(found: dict[str, dict[str, Any]], model: dict[str, float]) -> dict[str, float]:
    """The times of this checkout over those of the one beside it."""
    if "beside" not in found:
        return {}
    ratios = {"model_over_beside": model["here"] / model["beside"]}
    for figure, night in (("nothing_over_beside", LAST), ("full_over_beside", FIRST)):
        ratios[figure] = found["here"][night]["seconds"] / found["beside"][night]["seconds"]
    return {name: round(value, 3) for name, value in ratios.items()}


if __name__ == "__main__":
    contender.main(measure)
