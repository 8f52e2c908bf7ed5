"""The hash of item ids."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lookalike import id_hash

IDS = ["", "日本", "nul\0", *(f"item-{number:05}" for number in range(20_000))]


def test_one_and_many_are_the_same() -> None:
    assert id_hash.of_many(pa.array(IDS[:100])).tolist() == [id_hash.of_one(one) for one in IDS[:100]]
    assert id_hash.of_many(pa.chunked_array([IDS[:3], IDS[3:9]])).tolist() == [id_hash.of_one(one) for one in IDS[:9]]


def test_hashes_of_numbered_ids_are_even() -> None:
    counts = np.histogram(id_hash.of_many(pa.array(IDS)), bins=20, range=(0, 2**32))[0]
    assert np.abs(counts - len(IDS) / 20).max() < 5 * np.sqrt(len(IDS) / 20)
