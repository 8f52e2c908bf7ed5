"""Draw a small catalogue of products, offline and from a seed, for the demo and the tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.demo.pictures import COLOURS, PATTERNS, draw_picture
from lookalike.demo.shapes import KINDS
from lookalike.version import VERSION

# A shop has more black than yellow; at 0.07 the rarest still has about 35 items in 500.
COLOUR_WEIGHTS = (0.16, 0.12, 0.10, 0.12, 0.11, 0.09, 0.08, 0.07, 0.07, 0.08)
PATTERN_WEIGHTS = (0.46, 0.22, 0.14, 0.18)
# Every kind once, so that twelve items show them all, then some a second time: at 500 items the
# rarest kind has 26. A rota, because random kinds would leave small catalogues without some.
KIND_ROTA = (*KINDS, "t_shirt", "sneaker", "dress", "jacket", "t_shirt", "trousers", "handbag")

CATALOGUE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("item_id", "image_path", "kind", "colour", "pattern")]
    + [("price", pa.float64()), ("in_stock", pa.bool_())]
)
# In the metadata of that schema, of a catalogue drawn here.
_ORIGIN = "lookalike.demo"


def draw_catalogue(
    folder: Path, items: int = 500, seed: int = 7, drawn: Callable[[int], None] = lambda _: None
) -> pa.Table:
    """Draw `items` JPEG pictures under `folder`/images and write `folder`/catalogue.parquet.

    Returns the table: one row an item, `image_path` relative to `folder`. An item depends on
    `seed` and its number only, so a larger catalogue starts with the smaller one's items.
    `drawn` is called with the number of each item that is done.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(1, items + 1):
        rows.append(_draw_item(folder, number, seed))
        drawn(number)
    schema = CATALOGUE_SCHEMA.with_metadata({_ORIGIN: origin(items, seed)})
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, folder / "catalogue.parquet")
    return table


def origin(items: int, seed: int) -> str:
    """Return what tells one drawn catalogue from another: another version may draw other pictures."""
    return f"lookalike {VERSION}, {items} items, seed {seed}"


def drawn_from(catalogue: Path) -> str | None:
    """Return the origin of a drawn catalogue, "" when it names none; None for another catalogue, or without a file."""
    try:
        schema = pq.read_schema(catalogue)
    except (OSError, pa.ArrowException):
        return None
    if not schema.equals(CATALOGUE_SCHEMA):
        return None
    return str((schema.metadata or {}).get(_ORIGIN.encode(), b"").decode())


def _draw_item(folder: Path, number: int, seed: int) -> dict[str, object]:
    rng = np.random.default_rng([seed, number])
    image_path = f"images/item-{number:04d}.jpg"
    kind = KIND_ROTA[(number - 1) % len(KIND_ROTA)]
    colour = str(rng.choice(list(COLOURS), p=COLOUR_WEIGHTS))
    pattern = str(rng.choice(PATTERNS, p=PATTERN_WEIGHTS))
    quality = int(rng.integers(60, 96))
    draw_picture(kind, colour, pattern, rng).save(folder / image_path, "JPEG", quality=quality)
    return {
        "item_id": f"item-{number:04d}",
        "image_path": image_path,
        "kind": kind,
        "colour": colour,
        "pattern": pattern,
        "price": round(float(rng.lognormal(3.6, 0.5)), 2),  # median about 37
        "in_stock": bool(rng.random() < 0.85),
    }
