"""The hashes of pictures whose outcome a release or a checkpoint has: 8 bytes for each, sorted, in every task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
