"""Draws a catalogue of product pictures to try the job on; needs neither Spark nor a network.

python jobs/draw.py build/demo [--items 500] [--seed 7]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lookalike.demo.drawings import draw_catalogue
from lookalike.progress import say


def main() -> int:
    """Draw, and say where; the exit code: 0 done, 2 the folder cannot be written."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path, help="gets catalogue.parquet and images/")
    parser.add_argument("--items", type=_natural, default=500, help="how many (500)")
    parser.add_argument("--seed", type=_natural, default=7, help="another seed, other pictures (7)")
    options = parser.parse_args()
    try:
        table = draw_catalogue(options.folder, options.items, options.seed)
    except OSError as error:
        say(f"{options.folder} cannot be written ({error.strerror or error}); give another folder")
        return 2
    print(f"{table.num_rows:,} pictures drawn in {options.folder / 'images'}")
    print(f"their catalogue: {options.folder / 'catalogue.parquet'}")
    return 0


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative")
    return number
