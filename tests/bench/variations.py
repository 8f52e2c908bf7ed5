"""Any number of different pictures, made of those given: cropped, flipped, brighter or darker, of another JPEG quality.

    CATALOGUE=<folder> python tests/bench/variations.py 100000

What a picture becomes depends on its number alone, so a larger set begins with a smaller one.
"""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import contender
import numpy as np
import pictures
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SEED = 11

# A crop takes 0.75 to 1 of each side, and is made as large as the picture was.
LEAST_SIDE = 0.75

BRIGHTNESS = (0.8, 1.2)
QUALITY = (60, 95)

# Files in a folder.
FOLDER = 1000

# Pictures that a process is given at a time: a second's work.
CHUNK = 250


def made(cache: Path, count: int) -> Path:
    """Return a catalogue of `count` variations with all columns of the one given; made once and kept in `cache`."""
    folder = cache / f"varied-{pictures.source()}-{count}"
    if folder.exists():
        return folder
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    given = pictures.given(cache)
    table = pq.read_table(given / "catalogue.parquet")
    rows = np.arange(count) % len(table)
    names = [f"images/{number // FOLDER:03d}/{number:07d}.jpg" for number in range(count)]
    files = table["image_path"].to_pylist()
    write(
        [(given / files[row], part / name, number) for number, (row, name) in enumerate(zip(rows, names, strict=True))]
    )
    varied = table.take(rows)
    for column, values in (("item_id", [Path(name).stem for name in names]), ("image_path", names)):
        varied = varied.set_column(varied.column_names.index(column), column, pa.array(values))
    pq.write_table(varied, part / "catalogue.parquet")
    os.replace(part, folder)
    return folder


def write(jobs: list[tuple[Path, Path, int]]) -> None:
    """Write the variation `number` of each picture; `jobs` are (picture, file to write, number)."""
    if len(jobs) < CHUNK:
        for job in jobs:
            write_variation(*job)
        return
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        for _ in pool.map(write_variation, *zip(*jobs, strict=True), chunksize=CHUNK):
            pass


def write_variation(picture: Path, file: Path, number: int) -> None:
    """Write one variation as a JPEG."""
    rng = np.random.default_rng((SEED, number))
    with Image.open(picture) as image:
        varied = vary(image.convert("RGB"), rng)
    file.parent.mkdir(parents=True, exist_ok=True)
    varied.save(file, format="JPEG", quality=int(rng.integers(*QUALITY, endpoint=True)))


def vary(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a part of a picture, in its size, perhaps flipped, brighter or darker."""
    width, height = image.size
    left, top = rng.uniform(0, 1, 2)
    wide, high = rng.uniform(LEAST_SIDE, 1, 2) * image.size
    corner = (left * (width - wide), top * (height - high))
    box = (*corner, corner[0] + wide, corner[1] + high)
    varied = image.resize(image.size, Image.Resampling.BILINEAR, box=box)
    if rng.random() < 0.5:
        varied = varied.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return varied.point(partial(_scaled, rng.uniform(*BRIGHTNESS)))


def _scaled(factor: float, value: int) -> int:
    return round(min(255, value * factor))


def main() -> int:
    """Make the catalogue, and say where it is."""
    contender.CACHE.mkdir(parents=True, exist_ok=True)
    print(made(contender.CACHE, int(sys.argv[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
