"""Releases in the making that no run makes, and tables in folders on the disk."""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from lookalike.spark import parquet
from lookalike.warehouse.release import ReleaseFolder, Staged
from lookalike.warehouse.release_files import NAME, StoredFile
from lookalike.warehouse.shared_files import ON_DISK, names_in


def stage(folder: Path, release_id: str = "now", parent: ReleaseFolder | None = None) -> Staged:
    """A release in the making in the warehouse `folder`; its two folders are there."""
    staged = Staged(folder / "releases" / release_id, folder / "work" / release_id, parent)
    staged.root.mkdir(parents=True)
    staged.work.mkdir(parents=True)
    return staged


def files_of(release: ReleaseFolder) -> list[StoredFile]:
    """What files.json is to say of the files that are in a release."""
    names = (path.relative_to(release.root).as_posix() for path in ON_DISK.sizes(release.root))
    return [StoredFile.of(release.root, name) for name in names if name not in (NAME, "release.json")]


def paths_by_part(release: ReleaseFolder) -> dict[str, list[Path]]:
    """The files of each part of a release, as ReleaseTables has them."""
    found: dict[str, list[Path]] = {}
    for path in ON_DISK.sizes(release.root):
        found.setdefault(path.relative_to(release.root).parts[0], []).append(path)
    return found


def write_table(frame: DataFrame, folder: Path) -> list[Path]:
    """Write a table into a folder; return its files."""
    return parquet.write(frame, folder, ON_DISK)


def read_table(spark: SparkSession, folder: Path, schema: StructType | None = None) -> DataFrame:
    """Read the table in a folder, by the schema in its files unless another is given; with the place of each row."""
    paths = names_in(ON_DISK.sizes(folder))
    return parquet.read_placed(spark, ON_DISK, paths, schema or parquet.stored_schema(paths[0]))
