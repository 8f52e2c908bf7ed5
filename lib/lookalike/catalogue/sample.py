"""Look at the first rows of a catalogue of any format, and tell what its columns may be. Starts no Spark."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as t

from lookalike.catalogue import scan
from lookalike.catalogue.convert import RowFiles
from lookalike.catalogue.files import PICTURE
from lookalike.catalogue.formats.rows import Report, Wanted
from lookalike.catalogue.opening import Opened
from lookalike.catalogue.rows import MAX_ID_BYTES
from lookalike.catalogue.source import CatalogueFiles
from lookalike.errors import CatalogueError
from lookalike.storage.uri import is_uri

T = TypeVar("T")

# Parts of the catalogue that are looked at, evenly spread over it, and rows of each.
_PARTS, _ROWS = 4, 2048

# A label has so many values at most, each of them in so many rows on average.
_MOST_LABELS, _LEAST_ROWS = 100, 4

# Names of columns that are ids, pictures and groups in most shops; the first ones are the likeliest.
_IDS = "item_id id sku product_id article_id item_no article_number product_code asin gtin ean upc handle uid uuid code"
_PICTURES = "image_path image_url image picture photo img main_image image_link picture_url file filename path url link"
_GROUPS = "category product_type category_id kind type department class group folder gender brand"


@dataclass(frozen=True)
class Sample:
    """Some rows of a catalogue, and how many it has where that is known; lines that cannot be read are counted."""

    format: str
    table: pa.Table
    rows: int | None
    damaged: Report

    def ids(self) -> list[str]:
        """Return the columns that may name an item, the likeliest first: unique, never null."""
        pictures = set(self.pictures())
        found = [name for name in self.table.column_names if name not in pictures and _is_unique(self.table[name])]
        return sorted(found, key=lambda name: (_place(name, _IDS), not name.lower().endswith("id")))

    def pictures(self) -> list[str]:
        """Return the columns with paths or URIs of pictures, the likeliest first."""
        shares = {name: _share_of_pictures(self.table[name]) for name in self.table.column_names}
        found = [name for name, share in shares.items() if share >= 0.5]
        return sorted(found, key=lambda name: (_place(name, _PICTURES), -shares[name]))

    def labels(self) -> list[str]:
        """Return the columns with few values, such as a category, those to group by first."""
        found = [name for name in self.table.column_names if 1 < self.values(name) <= self._most_labels()]
        return sorted(found, key=lambda name: _place(name, _GROUPS))

    def values(self, name: str) -> int:
        """Return how many values a column has in the rows, 0 for one that is no plain text, number or truth."""
        kind = self.table.schema.field(name).type
        if not (t.is_string(kind) or t.is_integer(kind) or t.is_boolean(kind)):
            return 0
        return int(pc.count_distinct(self.table[name], mode="only_valid").as_py())

    def _most_labels(self) -> int:
        return min(_MOST_LABELS, len(self.table) // _LEAST_ROWS)

    def some(self, name: str, count: int) -> list[str]:
        """Return values of a column, evenly spread over the rows."""
        known = self.table[name].drop_null()
        count = min(count, len(known))
        return [str(known[at * len(known) // count]) for at in range(count)]


def read_sample(opened: Opened) -> Sample:
    """Return rows of a catalogue; raises CatalogueError."""
    report = Report()
    if isinstance(opened, RowFiles):
        batches = list(_of_rows(opened, report))
        table = pa.concat_tables([pa.Table.from_batches([one]) for one in batches], promote_options="permissive")
        return Sample(opened.format.name, table, None, report)
    rows = sum(sum(footer.rows) for footer in opened.footers)
    deleted = sum(len(file.deleted) for file in opened.files if file.deleted is not None)
    return Sample("Parquet", _of_files(opened), rows - deleted, report)


def _spread(things: Sequence[T]) -> list[T]:
    return [things[at * len(things) // _PARTS] for at in range(_PARTS)] if len(things) > _PARTS else list(things)


def _of_rows(opened: RowFiles, report: Report) -> Iterator[pa.RecordBatch]:
    for file in _spread(opened.files):
        opened.format.footer(file)  # names another kind of file
        here = replace(file, path=str(opened.shared.fetch(Path(file.path)))) if opened.shared.in_store else file
        left = _ROWS
        for batch in opened.format.batches(here, Wanted(frozenset(), everything=True), report):
            yield batch.slice(0, left)
            left -= batch.num_rows
            if left <= 0:
                break


def _of_files(opened: CatalogueFiles) -> pa.Table:
    names = [name for name in opened.columns.names if _is_readable(opened, name)]
    tasks, schema = opened.tasks([(name, name) for name in names], cores=1)
    parts = [part for task in tasks for part in task]
    batches: list[pa.RecordBatch] = []
    for part in _spread(parts):
        first = replace(part, groups=part.groups[:1])
        batches += islice((one.slice(0, _ROWS) for one in scan.read_rows([first], schema, opened.shared)), 1)
    return pa.Table.from_batches(batches, schema)


def _is_readable(opened: CatalogueFiles, name: str) -> bool:
    try:
        return bool(opened.columns.kind(name))
    except CatalogueError:
        return False


def _is_unique(column: pa.ChunkedArray) -> bool:
    if not (t.is_string(column.type) or t.is_integer(column.type)) or column.null_count or not len(column):
        return False
    texts = column.cast(pa.string())
    longest, shortest = pc.max(pc.binary_length(texts)).as_py(), pc.min(pc.binary_length(texts)).as_py()
    return bool(0 < shortest <= longest <= MAX_ID_BYTES and pc.count_distinct(texts).as_py() == len(texts))


def _share_of_pictures(column: pa.ChunkedArray) -> float:
    """Return which share of the values of a column looks like the path or the URI of a picture."""
    known = column.drop_null().to_pylist() if t.is_string(column.type) else []
    return sum(map(_is_picture, known)) / len(known) if known else 0.0


def _is_picture(text: str) -> bool:
    path = re.split(r"[?#]", text)[0] if is_uri(text) else text
    return bool(PICTURE.fullmatch(path.strip())) or (
        is_uri(text) and re.search(r"image|picture|photo|img", text) is not None
    )


def _place(name: str, known: str) -> int:
    """Return the place of a name in a list of known ones; behind all, if it is none."""
    plain = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()).strip("_")
    return known.split().index(plain) if plain in known.split() else len(known)
