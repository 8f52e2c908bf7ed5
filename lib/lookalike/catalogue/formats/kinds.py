"""Tell the format of a catalogue by what is there: first bytes and suffixes of files, and folders of a log."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Literal

from lookalike.catalogue.files import MAGIC, PACKED, DataFile, shown
from lookalike.errors import CatalogueError

Kind = Literal["parquet", "csv", "json"]

_CSV = re.compile(rf".*\.(csv|tsv|tab){PACKED}", re.IGNORECASE | re.DOTALL)
_TEXT = re.compile(rf".*\.txt{PACKED}", re.IGNORECASE | re.DOTALL)  # CSV by Excel, where a path or a pattern says so
_JSON = re.compile(rf".*\.(jsonl|ndjson|json){PACKED}", re.IGNORECASE | re.DOTALL)
_WORKBOOK = re.compile(r".*\.(xlsx?|xlsm|xlsb|ods|numbers)", re.IGNORECASE | re.DOTALL)

# Of a table in a catalog of Iceberg's: lake.shop.products.
TABLE_NAME = re.compile(r"\w+(\.\w+){2,}")

METADATA_FILE = re.compile(r".*\.metadata\.json", re.DOTALL)


def kind_of_all(files: Sequence[DataFile], path: str) -> Kind:
    """Return the format of the files that were found at a path: of several there is none. Raises CatalogueError.

    Where one is Parquet, all have to be, and where nothing says what they are: others are named with their footers.
    """
    kinds = ["csv" if _TEXT.fullmatch(path) and _TEXT.fullmatch(file.path) else kind_of(file.path) for file in files]
    told = [kind if kind != "parquet" or is_data(file.path) else None for kind, file in zip(kinds, files, strict=True)]
    if "parquet" in told or not any(told):
        return "parquet"
    first = next(number for number, kind in enumerate(told) if kind)
    other = next((number for number, kind in enumerate(told) if kind != told[first]), None)
    if other is not None:
        is_one = f"is {_NAMES[kinds[other]]}" if told[other] else "is of no format that is known"
        raise CatalogueError(
            f"catalogue.path: {shown(files[first].name)} is {_NAMES[kinds[first]]}, and {shown(files[other].name)} "
            f"{is_one}; remove it, or set catalogue.path to a pattern of the files to read, such as <folder>/*.csv"
        )
    return kinds[first]


_NAMES: dict[Kind, str] = {"parquet": "Parquet", "csv": "CSV", "json": "JSON Lines"}


def kind_of(path: str) -> Kind:
    """Return the format of a file, Parquet where nothing says otherwise; raises CatalogueError for a workbook."""
    if path.endswith(".parquet"):  # there may be very many
        return "parquet"
    if _WORKBOOK.fullmatch(path):
        raise CatalogueError(f"catalogue.path: {shown(path)} is a workbook; save its sheet as 'CSV UTF-8'")
    kind = kind_of_name(path)
    return "parquet" if kind == "parquet" or _is_parquet(path) else kind


def kind_of_name(name: str) -> Kind:
    """Return the format that the name of a file stands for."""
    return "csv" if _CSV.fullmatch(name) else "json" if _JSON.fullmatch(name) else "parquet"


def is_data(path: str) -> bool:
    """Return whether a file is of a catalogue, by its name or its first bytes; other files may lie next to pictures."""
    return is_data_name(path) or _is_parquet(path)


def is_data_name(name: str) -> bool:
    """Return whether the name of a file says that it is of a catalogue."""
    return name.endswith(".parquet") or any(form.fullmatch(name) for form in (_CSV, _JSON, _WORKBOOK))


def _is_parquet(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:  # who reads it names the error
        return False


def table_kind(path: str) -> Literal["delta", "iceberg"] | None:
    """Return whether a path is the folder of a Delta or an Iceberg table, or a metadata file of Iceberg."""
    if os.path.isdir(os.path.join(path, "_delta_log")):
        return "delta"
    if METADATA_FILE.fullmatch(path) and os.path.isfile(path):
        return "iceberg"
    metadata = os.path.join(path, "metadata")
    if os.path.isdir(metadata) and os.access(metadata, os.R_OK) and any(map(_is_metadata, os.listdir(metadata))):
        return "iceberg"
    return None


def _is_metadata(name: str) -> bool:
    return ".metadata.json" in name
