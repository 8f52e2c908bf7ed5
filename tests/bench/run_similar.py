"""`make bench-similar`: every contender of the neighbour search in its own process, one after another.

python tests/bench/run_similar.py [--sizes 10000,30000,100000] [--only 'lookalike*,hnswlib']
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import contender
import mix
import pictures
import report_similar
import run
from contender import CACHE

import neighbours


@dataclass(frozen=True)
class Contender:
    """A name on the command line, and its script."""

    name: str
    script: str
    trees: int = 0


CONTENDERS = (
    Contender("numpy", "similar_numpy"),
    Contender("faiss", "similar_faiss"),
    Contender("hnswlib", "similar_hnswlib"),
    Contender("pynndescent", "similar_pynndescent"),
    Contender("annoy-50", "similar_annoy", trees=50),
    Contender("annoy-100", "similar_annoy", trees=100),
    Contender("kernel", "similar_kernel"),
    Contender("spark", "similar_spark"),
    Contender("refresh", "similar_refresh"),
)


def main() -> int:
    """Run the contenders, print and write their figures; returns 1 if one could not run."""
    options = arguments().parse_args()
    chosen = run.choose(options.only, CONTENDERS)
    CACHE.mkdir(parents=True, exist_ok=True)
    header = {"machine": run.machine(), "settings": settings(options), "started": run.now()}
    run.say(f"vectors: mixed from {mix.PICTURES:,} {pictures.source()}")
    source = mix.of_pictures(CACHE)
    results: dict[int, report_similar.Results] = {}
    for items in options.sizes:
        results[items] = dict(rows_of(items, chosen, source, options.k))
        run.say(f"\n{report_similar.table(items, results[items])}\n")
    run.say(report_similar.ratio_table(results))
    run.write(options.out, {**header, "sizes": results, "ratios": report_similar.ratios(results)})
    return int(any("error" in figures for rows in results.values() for figures in rows.values()))


def arguments() -> argparse.ArgumentParser:
    """The options of `make bench-similar`."""
    parser = argparse.ArgumentParser(description="Benchmark of the neighbour search.")
    # 100,000 only if asked for: brute force has eleven times as much to do as at 30,000
    parser.add_argument("--sizes", type=sizes, default="10000,30000", help="numbers of items (%(default)s)")
    parser.add_argument("--k", type=int, default=10, help="neighbours an item (%(default)s)")
    parser.add_argument("--only", default="*", help=f"names or patterns, with commas, of: {', '.join(names())}")
    parser.add_argument("--out", type=Path, default=CACHE / "similar.json", help="JSON (build/bench/similar.json)")
    return parser


def sizes(text: str) -> list[int]:
    """`10000,30000`, the smallest first."""
    return sorted({int(part) for part in text.split(",")})


def names() -> list[str]:
    """All contenders."""
    return [one.name for one in CONTENDERS]


def rows_of(items: int, chosen: list[Contender], source: Path, k: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line of the table as (name, figures); one contender may have several."""
    work = Path(tempfile.mkdtemp(dir=CACHE, prefix="work-"))
    try:
        run.say(f"{items:,} vectors")
        vectors = mix.write(mix.Mix.load(source), items, work / "vectors.npy")
        truth = CACHE / f"{source.stem}-top{k}-of-{items}.npy"
        told = neighbours.Task(str(vectors), items, k, run.cores(), str(work), str(truth), str(source))
        for one in with_truth(chosen, truth):
            yield from attempt(one, told)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def with_truth(chosen: list[Contender], truth: Path) -> list[Contender]:
    """Brute force runs first if its answer is not there yet: the others are compared with it."""
    missing = [one for one in CONTENDERS if one.name == "numpy" and one not in chosen and not truth.exists()]
    return [*missing, *chosen]


def attempt(one: Contender, told: neighbours.Task) -> Iterator[tuple[str, dict[str, Any]]]:
    """One contender's lines; a failure is one too."""
    log, load = CACHE / f"similar-{one.name}-{told.items}.log", run.load()
    try:
        rows = contender.start(one.script, replace(told, trees=one.trees), log)
    except contender.ContenderError as error:
        run.say(f"{one.name}: {error}")
        yield one.name, {"error": str(error)}
        return
    for name, figures in rows.items():
        line = {**figures, "load": load}
        run.say(f"{name}: " + ", ".join(f"{key} {value}" for key, value in line.items()))
        yield name, line


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The options that decide the figures."""
    asked = {name: getattr(options, name) for name in ("sizes", "k", "only")}
    return {**asked, "pictures": mix.PICTURES, "source": pictures.source()}


if __name__ == "__main__":
    sys.exit(main())
