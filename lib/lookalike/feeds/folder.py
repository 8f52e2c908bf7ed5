"""A release as files of Parquet or JSON Lines in a folder, which takes the place of the last export as a whole."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.errors import ConfigError, LockError
from lookalike.feeds import json_lines
from lookalike.feeds.destination import Destination, Writer
from lookalike.feeds.source import AnyVectors, Batch, Feed
from lookalike.feeds.vectors import ExportedVectors, Precision
from lookalike.redaction import redacted_uri
from lookalike.storage.files import remove_tree, sync, sync_folders

Format = Literal["parquet", "jsonl"]

# What psql takes, too: as a folder's name it would show the password.
_CONNECTION = re.compile(r"\s*(host|hostaddr|port|dbname|user|password|service)\s*=")

RECORD, PROJECTION = "export.json", "projection.npz"


class FolderDestination(Destination):
    """A folder on this machine."""

    def __init__(self, path: str, kind: Format, precision: Precision) -> None:
        self._path, self._kind, self.precision = Path(os.path.realpath(path)), kind, precision
        if _CONNECTION.match(path):
            raise ConfigError("--to: give a folder, or a database as postgresql://USER@HOST/DATABASE")
        if "://" in path:
            raise ConfigError(
                f"--to {redacted_uri(path)}: give a folder on this machine, or postgresql://; copy the folder from "
                "there"
            )
        if self._path.is_symlink():
            raise ConfigError(f"--to {path}: the link leads back to itself; give another folder")
        if self._path.is_mount():
            raise ConfigError(f"--to {path}: a disk is mounted there, so it cannot be replaced; give a folder in it")
        if self._path.exists() and not self._is_ours():
            raise ConfigError(
                f"--to {path}: it is there and holds no {RECORD}, so it is no export; give another folder"
            )

    def _is_ours(self) -> bool:
        return self._path.is_dir() and ((self._path / RECORD).is_file() or not any(self._path.iterdir()))

    @contextmanager
    def open(self) -> Iterator[Writer]:
        """Make the files in a hidden folder beside."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            try:
                part = self._beside(f"part-{secrets.token_hex(4)}")
                self._sweep()
                part.mkdir()
                yield _FolderWriter(part, self._path, self._beside(f"part-{secrets.token_hex(4)}"), self._kind)
            finally:
                self._sweep()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let nobody else export to here, by a file that is removed at the end."""
        path = self._beside("lock")
        with path.open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._busy() from None
            if not _is_at(file, path):
                raise self._busy()  # it ended between our two steps, and the lock with it
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    def _busy(self) -> LockError:
        return LockError(f"--to {self._path}: another export writes there; wait for it to end")

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(f".{self._path.name}.{suffix}")

    def _sweep(self) -> None:
        """Remove what this export, or one that was killed, has left; bring back what one had put aside."""
        for left in self._path.parent.glob(f".{_literal(self._path.name)}.part-*"):
            if not self._path.exists() and (left / RECORD).is_file():
                left.rename(self._path)  # killed between the two renames: either folder is whole
            remove_tree(left)


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _literal(name: str) -> str:
    return "".join(f"[{one}]" if one in "*?[" else one for one in name)


class _FolderWriter(Writer):
    def __init__(self, part: Path, path: Path, aside: Path, kind: Format) -> None:
        self._part, self._path, self._aside, self._kind = part, path, aside, kind

    def write(self, feed: Feed, vectors: ExportedVectors) -> int:
        path = self._part / f"{feed.name}.{self._kind}"
        rows = 0
        with _parquet(path, feed, vectors) if self._kind == "parquet" else _json_lines(path) as file:
            for batch in feed.batches(vectors.convert):
                file.add(batch)
                rows += batch.rows.num_rows
        sync(path)
        return rows

    def show(self, record: Mapping[str, Any], vectors: ExportedVectors) -> None:
        if vectors.projection is not None:
            (self._part / PROJECTION).write_bytes(vectors.projection.as_bytes())
            sync(self._part / PROJECTION)
        (self._part / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        sync(self._part / RECORD)
        sync_folders(self._part)
        if self._path.exists():
            self._path.rename(self._aside)
        self._part.rename(self._path)
        sync(self._path.parent)


class _File(ABC):
    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Write the rows of a batch."""


class _ParquetFile(_File):
    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer

    def add(self, batch: Batch) -> None:
        columns = [*batch.rows.columns, *([] if batch.vectors is None else [_lists(batch.vectors)])]
        self._writer.write_batch(pa.record_batch(columns, schema=self._writer.schema))


@contextmanager
def _parquet(path: Path, feed: Feed, vectors: ExportedVectors) -> Iterator[_File]:
    number = pa.float16() if vectors.precision == "float16" else pa.float32()
    embedding = [pa.field("embedding", pa.list_(number))] if feed.has_vectors else []
    schema = pa.schema([*feed.columns, *embedding])
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        yield _ParquetFile(writer)


def _lists(vectors: AnyVectors) -> pa.Array:
    offsets = np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors.ravel()))


class _JsonLines(_File):
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add(self, batch: Batch) -> None:
        self._file.write(json_lines.encode(batch))


@contextmanager
def _json_lines(path: Path) -> Iterator[_File]:
    with path.open("wb") as file:
        yield _JsonLines(file)
