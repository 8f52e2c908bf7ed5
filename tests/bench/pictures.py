"""The pictures of the benchmark: catalogues under build/bench/, made once and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from lookalike import config
from lookalike.demo.catalogue import draw_catalogue
from lookalike.images.decode import decode

ROOT = Path(__file__).resolve().parents[2]
# Real photos: those named by `make bench CATALOGUE=<folder>`, else those beside the checkout, where there are any.
PHOTOS = Path(os.environ.get("CATALOGUE") or ROOT.parent / "shared" / "catalogue").resolve()

# Drawn pictures where there are no photos to make variations of.
DRAWN = 6000

Save = Callable[[Image.Image, Path, int], Path]


def source() -> str:
    """Which pictures there are: `photos-` and what tells their catalogue from others, or `drawn`."""
    table = PHOTOS / "catalogue.parquet"
    return f"photos-{hashlib.sha256(table.read_bytes()).hexdigest()[:6]}" if table.exists() else "drawn"


def given(cache: Path) -> Path:
    """The whole catalogue of photos, else of drawn pictures."""
    return drawn(cache, DRAWN) if source() == "drawn" else PHOTOS


def drawn(cache: Path, count: int) -> Path:
    """As many drawn pictures."""
    folder = cache / f"drawn-{count}"
    if not (folder / "catalogue.parquet").exists():
        draw_catalogue(folder, items=count)
    return folder


def are_enough(count: int) -> bool:
    """Whether so many different pictures are given, or can be drawn."""
    return source() == "drawn" or count <= pq.read_metadata(PHOTOS / "catalogue.parquet").num_rows


def plain(cache: Path, count: int) -> Path:
    """The first `count` photos, else as many drawn pictures."""
    if source() == "drawn":
        return drawn(cache, count)
    folder = cache / f"{source()}-{count}"
    if (folder / "catalogue.parquet").exists():
        return folder
    table = pq.read_table(PHOTOS / "catalogue.parquet", columns=["item_id", "image_path"]).slice(0, count)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = []
    for number, path in enumerate(table["image_path"].to_pylist()):  # into one folder, which the recipe reads
        names.append(f"images/{number:07d}{Path(path).suffix}")
        shutil.copyfile(PHOTOS / path, folder / names[-1])
    pq.write_table(table.set_column(1, "image_path", pa.array(names)), folder / "catalogue.parquet")
    return folder


def large(cache: Path, count: int, originals: Path) -> Path:
    """JPEGs of 1,500 x 2,000 pixels, 300 to 600 KB, as shops get them from their photographers."""
    return _enlarged(cache / f"large-{source()}-{count}", originals, count, (1500, 2000), _save_jpeg)


def huge(cache: Path, count: int, originals: Path) -> Path:
    """2,000 x 2,000 pixels, JPEG and PNG in turn."""
    return _enlarged(cache / f"huge-{source()}-{count}", originals, count, (2000, 2000), _save_mixed)


def cutouts(cache: Path, count: int, originals: Path) -> Path:
    """2,000 x 2,000 pixels in what takes the most memory: progressive JPEG and PNG with transparency in turn."""
    return _enlarged(cache / f"cutouts-{source()}-{count}", originals, count, (2000, 2000), _save_cutouts)


def paths(folder: Path) -> list[Path]:
    """The files of a catalogue, in its order."""
    return [folder / path for path in pq.read_table(folder / "catalogue.parquet")["image_path"].to_pylist()]


def pixels(files: list[Path], size: int) -> NDArray[np.uint8]:
    """The pictures decoded for the network: uint8 [n, size, size, 3]."""
    return np.stack([decode(path.read_bytes(), size, config.ImageSettings()).pixels for path in files])


def _enlarged(folder: Path, originals: Path, count: int, size: tuple[int, int], save: Save) -> Path:
    if (folder / "catalogue.parquet").exists():
        return folder
    (folder / "images").mkdir(parents=True, exist_ok=True)
    files = paths(originals)
    jobs = [(files[number % len(files)], number) for number in range(count)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        made = list(pool.map(partial(_enlarge, folder / "images", size, save), jobs, chunksize=4))
    rows = [{"item_id": path.stem, "image_path": f"images/{path.name}"} for path in made]
    pq.write_table(pa.Table.from_pylist(rows), folder / "catalogue.parquet")
    return folder


def _enlarge(folder: Path, size: tuple[int, int], save: Save, job: tuple[Path, int]) -> Path:
    """A small picture at `size`, with its edges drawn sharp again and the grain of a camera's sensor."""
    path, number = job
    with Image.open(path) as image:
        big = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    big = big.filter(ImageFilter.UnsharpMask(radius=8, percent=150))
    rng = np.random.default_rng(number)
    # Of brightness: JPEG would smooth a grain of colours. 4.5 of 255 makes 300 to 600 KB at quality 85.
    grain = rng.normal(0, 4.5, (size[1], size[0], 1)).astype(np.float32)
    grained = (np.asarray(big, np.float32) + grain).clip(0, 255).astype(np.uint8)
    return save(Image.fromarray(grained), folder, number)


def _save_mixed(image: Image.Image, folder: Path, number: int) -> Path:
    return _save_png(image, folder, number) if number % 2 else _save_jpeg(image, folder, number)


def _save_cutouts(image: Image.Image, folder: Path, number: int) -> Path:
    if number % 2:
        # The white background is made transparent.
        image.putalpha(image.convert("L").point(lambda value: 255 if value < 235 else 0))
        return _save_png(image, folder, number)
    return _save_jpeg(image, folder, number, progressive=True)


def _save_jpeg(image: Image.Image, folder: Path, number: int, *, progressive: bool = False) -> Path:
    path = folder / f"item-{number:05d}.jpg"
    image.save(path, quality=85, progressive=progressive)
    return path


def _save_png(image: Image.Image, folder: Path, number: int) -> Path:
    path = folder / f"item-{number:05d}.png"
    image.save(path, compress_level=1)
    return path
