"""How near int8 is to float32 at the bundled weights' own size, on pictures that calibration has not seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import contender
import numpy as np
import pictures
import prepare

from lookalike.models.compile import find_or_compile
from lookalike.models.litert import LiteRtEngine
from lookalike.topk.exact import top_k_overlap
from lookalike.topk.items import unit_length

PICTURES = 1000


def measure(task: contender.Task) -> dict:
    ours = prepare.settings(task).model
    pixels = pictures.pixels(pictures.paths(Path(task.catalogue)), task.input_size)
    np.random.default_rng(ours.seed).shuffle(pixels)
    # What find_or_compile asks for to calibrate and to check; of few pictures, half.
    cut = min(ours.calibration_pictures + ours.fidelity_pictures, len(pixels) // 2)
    seen, unseen = pixels[:cut], pixels[cut : cut + PICTURES]

    def vectors(precision: str) -> np.ndarray:
        settings = prepare.settings(replace(task, precision=precision)).model
        model = find_or_compile(settings, Path(task.work) / "fidelity", lambda wanted: seen[:wanted])
        return unit_length(LiteRtEngine(model.artefact).embed(unseen))[0]

    int8, float32 = vectors("int8"), vectors("float32")
    cosines = np.einsum("ij,ij->i", int8, float32)
    return {
        "pictures": len(unseen),
        "mean_cosine": round(float(cosines.mean()), 5),
        "worst_cosine": round(float(cosines.min()), 5),
        "top10_overlap": round(top_k_overlap(int8, float32, 10), 4),
    }


if __name__ == "__main__":
    contender.main(measure)
