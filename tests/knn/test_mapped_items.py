"""What a worker keeps mapped of the shards that it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lookalike.knn import mapped_items
from lookalike.knn.recent import Recent
from support.shards import Group, crowd

ROW_BYTES = 4 * 24


def mapped(folder: Path) -> int:
    """How many files below the folder this process maps."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return len({line.split()[-1] for line in lines if line.endswith(".ann") and str(folder) in line})


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no list of maps on this system")
def test_few_shards_of_a_group_are_mapped_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_items, "_mapped", Recent(3 * 10 * ROW_BYTES))
    vectors = crowd(80)
    candidates = Group.of(vectors).write(tmp_path, shards=8)
    group = candidates.group
    assert mapped(tmp_path) == 0
    for shard in group.shards:
        assert shard.items.vectors.shape == (10, 24)
        assert mapped(tmp_path) <= 3
    ranks = np.arange(80)[::-1]
    assert (group.take(ranks).vectors == vectors[::-1]).all()  # the ids are those of the rows
    assert mapped(tmp_path) == 3


def test_view_of_a_file_that_is_not_kept_mapped_stays_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_items, "_mapped", Recent(1))
    vectors = crowd(30)
    first, second = Group.of(vectors).write(tmp_path).group.shards
    some = first.items.take(slice(3, 9))
    assert (second.items.vectors == vectors[1::2]).all()
    assert (some.vectors == vectors[::2][3:9]).all()
    assert mapped(tmp_path) == 2  # the view's file, and the one that was read last
    del some
    assert mapped(tmp_path) == 1


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no list of maps on this system")
def test_thousands_of_small_shards_are_not_all_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may have 65,530 maps, and shards of one item are 8 KB each."""
    monkeypatch.setattr(mapped_items, "MAPPED_FILES", 4)
    group = Group.of(crowd(30)).write(tmp_path, shards=10).group
    for shard in group.shards:
        assert shard.items.vectors.shape == (3, 24)
    assert mapped(tmp_path) == 4
