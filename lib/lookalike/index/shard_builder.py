"""The files of one shard, written inside a task: a new Annoy file, or that of the previous release."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.errors import ManifestError, ShardError
from lookalike.index import annoy as annoy_index
from lookalike.index import manifest
from lookalike.index.annoy import ShardFile
from lookalike.index.layout import IndexLayout
from lookalike.storage import files


@dataclass(frozen=True)
class KnownShard:
    """An Annoy file of the previous release, and what its manifest says of it."""

    path: Path
    file: ShardFile


@dataclass(frozen=True)
class WrittenShard:
    """The Annoy file that was written for a shard, and what identifies its content.

    `content` is the SHA-256 of its ids and vectors, `ids_sha256` of the ids alone. `candidates` is how many of its
    items may be recommended, `reused` whether the file is that of the previous release.
    """

    file: ShardFile
    content: str
    ids_sha256: str
    candidates: int
    reused: bool


@dataclass(frozen=True)
class ShardBuilder:
    """Builds shards inside a task, or reuses those `known` by their content."""

    layout: IndexLayout
    trees: int
    seed: int
    known: Mapping[str, KnownShard]

    def write(self, name: str, rows: pa.Table) -> WrittenShard:
        """Write the shard's four files, each complete or not at all: a task may run twice, and at the same time.

        `rows` are item_id, embedding and shard; all other columns go to the work files.
        """
        order = pc.sort_indices(rows["item_id"])
        ids = rows["item_id"].combine_chunks().take(order)
        vectors = _vectors(rows["embedding"], order)
        columns = rows.drop_columns(["item_id", "embedding", "shard"]).take(order)
        eligible = _eligible(columns, len(ids))
        attempt = self.layout.work / f"{name}.{secrets.token_hex(4)}"
        attempt.mkdir()
        content = _content(ids, vectors)
        file, reused = self._write_annoy(attempt / "annoy", content, vectors)
        # Always written: it is small, and no digest would show that the previous one is damaged.
        pq.write_table(_items(ids, eligible), attempt / "items", compression="zstd", write_page_checksum=True)
        pq.write_table(columns, attempt / "rows", compression="zstd", write_page_checksum=True)
        with (attempt / "vectors").open("wb") as vectors_file:
            np.save(vectors_file, vectors)
        layout = self.layout
        targets = {"annoy": layout.annoy, "items": layout.items, "vectors": layout.vectors, "rows": layout.rows}
        for part, target in targets.items():
            os.replace(attempt / part, target(name))
        shutil.rmtree(attempt)  # a rename onto another link of the same file leaves both
        ids_sha256 = manifest.ids_digest(ids.to_pylist())
        return WrittenShard(file, content, ids_sha256, int(eligible.sum()), reused)

    def _write_annoy(self, path: Path, content: str, vectors: NDArray[np.float32]) -> tuple[ShardFile, bool]:
        """Write the Annoy file; returns it, and whether it is that of the previous release."""
        known = self.known.get(content)
        if known is not None and _is_sound(known):
            files.link_or_copy(known.path, path)
            return known.file, True
        file = annoy_index.build(path, vectors, self.trees, self.seed)
        annoy_index.load(path, file).unload()  # it opens and is complete
        return file, False


def known_shards(previous: Path | None, trees: int, seed: int) -> dict[str, KnownShard]:
    """Return the shards of the index in the folder `previous` by content; none if it was built in another way."""
    if previous is None:
        return {}
    try:
        known = manifest.read(previous)
    except ManifestError:  # damaged, or of another version: all shards are rebuilt
        return {}
    if (known.trees, known.seed) != (trees, seed):
        return {}
    return {shard.content: KnownShard(previous / shard.file, known.file(shard)) for shard in known.shards}


def _is_sound(known: KnownShard) -> bool:
    try:
        annoy_index.load(known.path, known.file).unload()
    except (ShardError, OSError):  # damaged since it was written: rebuilt
        return False
    return True


def _vectors(embeddings: pa.ChunkedArray, order: pa.Array) -> NDArray[np.float32]:
    lists = embeddings.combine_chunks()
    vectors: NDArray[np.float32] = lists.flatten().to_numpy().reshape(len(lists), -1)[order.to_numpy()]
    return vectors


def _eligible(columns: pa.Table, items: int) -> NDArray[np.bool_]:
    """Whether each item may be recommended; all may where there is no such column."""
    if "search_eligible" not in columns.column_names:
        return np.ones(items, dtype=bool)
    flags: NDArray[np.bool_] = columns["search_eligible"].to_numpy(zero_copy_only=False).astype(bool)
    return flags


def _items(ids: pa.Array, eligible: NDArray[np.bool_]) -> pa.Table:
    """The ids by position; with the column `eligible` if some item is not."""
    table = pa.table({"position": pa.array(np.arange(len(ids), dtype=np.int32)), "item_id": ids})
    return table if eligible.all() else table.append_column("eligible", pa.array(eligible))


def _content(ids: pa.Array, vectors: NDArray[np.float32]) -> str:
    digest = hashlib.sha256(repr(vectors.shape).encode())
    digest.update("\0".join(ids.to_pylist()).encode())  # an id contains no NUL
    digest.update(np.ascontiguousarray(vectors).data)
    return digest.hexdigest()
