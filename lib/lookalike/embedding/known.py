"""The hashes of pictures whose outcome a release or a checkpoint has: 8 bytes for each, sorted, in every task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.errors import WarehouseError
from lookalike.images.picture import TRUNCATED
from lookalike.warehouse.shared_files import SharedFiles

# Of a hash: a number below 2^60, which is a long in Spark. Of a million hashes, one in 10^12 others seems known.
HEX_DIGITS = 15


@dataclass(frozen=True)
class KnownHashes:
    """The first HEX_DIGITS of SHA-256 hashes, as numbers, ascending."""

    prefixes: NDArray[np.int64]

    @classmethod
    def none(cls) -> KnownHashes:
        """Return no hash."""
        return cls(np.empty(0, dtype=np.int64))

    def __contains__(self, image_hash: str) -> bool:
        """Whether a hash is known, or another that begins like it."""
        prefix = int(image_hash[:HEX_DIGITS], 16)
        place = int(np.searchsorted(self.prefixes, prefix))
        return place < len(self.prefixes) and int(self.prefixes[place]) == prefix


@dataclass(frozen=True)
class HashFiles:
    """Files that hold hashes, and what decides whether a row of theirs holds for the same bytes.

    `embeddings` are of this model, of at most `max_pixels`, and complete unless `accept_truncated`, as delta.reusable
    tells; `outcomes`, of failures and checkpoints, are a vector or a reason that lasts.
    """

    shared: SharedFiles
    embeddings: Sequence[Path]
    outcomes: Sequence[Path]
    model_id: str
    max_pixels: int
    accept_truncated: bool

    def part(self, number: int, parts: int) -> HashFiles:
        """Return one part of as many."""
        return replace(self, embeddings=self.embeddings[number::parts], outcomes=self.outcomes[number::parts])

    def prefixes(self) -> NDArray[np.int64]:
        """Return the first HEX_DIGITS of all hashes as numbers, ascending; a damaged file has none."""
        found = [np.empty(0, dtype=np.int64)]
        found += [self._of_file(path, ("model_id", "width", "height", "fixes")) for path in self.embeddings]
        found += [self._of_file(path, ("reason", "permanent")) for path in self.outcomes]
        return np.unique(np.concatenate(found))

    def _of_file(self, path: Path, columns: Sequence[str]) -> NDArray[np.int64]:
        names = ["image_hash", *columns]
        try:
            copy = self.shared.fetch(path)
            table = pq.read_table(
                copy, columns=names, partitioning=None, use_threads=False, page_checksum_verification=True
            )
        except (OSError, WarehouseError, pa.ArrowException):
            return np.empty(0, dtype=np.int64)
        if table.num_columns < len(names):  # of an older release
            return np.empty(0, dtype=np.int64)
        holds = self._is_reusable if "model_id" in columns else _lasts
        chosen = [batch["image_hash"].filter(holds(batch)).drop_null() for batch in table.to_batches()]
        return _prefixes(pa.chunked_array(chosen, pa.string()))

    def _is_reusable(self, batch: pa.RecordBatch) -> pa.Array:
        pixels = pc.multiply(batch["width"].cast(pa.int64()), batch["height"].cast(pa.int64()))
        same = pc.and_(pc.equal(batch["model_id"], self.model_id), pc.less_equal(pixels, self.max_pixels))
        return same if self.accept_truncated else pc.and_(same, _is_complete(batch["fixes"]))


def _is_complete(fixes: pa.ListArray) -> pa.Array:
    row = np.repeat(np.arange(len(fixes)), pc.list_value_length(fixes).fill_null(0).to_numpy())
    complete = fixes.is_valid().to_numpy(zero_copy_only=False)
    complete[row[pc.equal(fixes.flatten(), TRUNCATED).to_numpy(zero_copy_only=False)]] = False
    return pa.array(complete)


def _lasts(batch: pa.RecordBatch) -> pa.Array:
    return pc.or_(batch["reason"].is_null(), batch["permanent"].fill_null(False))


def _prefixes(hashes: pa.ChunkedArray) -> NDArray[np.int64]:
    digits = pc.utf8_slice_codeunits(hashes, 0, HEX_DIGITS).to_pylist()
    return np.frombuffer(bytes.fromhex("".join(f"0{one}" for one in digits)), dtype=">i8").astype(np.int64)
