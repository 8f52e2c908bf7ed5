"""Two releases side by side: the items whose neighbours are others, by the ids of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lookalike.browse.held import HeldRelease
from lookalike.browse.items import Rows


@dataclass(frozen=True)
class Changes:
    """How many items are in both releases and in one of them, and the items with other neighbours, the most first.

    `rows` are places in the later release, `before` those in the earlier one, `moved` how many neighbours came or went.
    """

    in_both: int
    added: int
    removed: int
    rows: Rows
    before: Rows
    moved: Rows


def compare(old: HeldRelease, new: HeldRelease) -> Changes:
    """Compare the lists of the items that are in both releases, as sets of neighbours."""
    there = old.items.rows(new.items.ids)  # the row of each new item in the old release
    size = np.int64(max(1, len(old.items) + len(new.items)))
    to_new = _joint(old, new)
    now = _pairs(new, np.arange(len(new.items)), np.arange(len(new.items)), size)
    then = _pairs(old, to_new, to_new, size)
    both = np.zeros(len(old.items) + len(new.items), np.bool_)
    both[: len(new.items)] = there >= 0
    items = np.setxor1d(now, then, assume_unique=True) // size
    counts = np.bincount(items[both[items]], minlength=1)
    rows = np.flatnonzero(counts)
    order = np.argsort(-counts[rows], kind="stable")
    rows = rows[order]
    shared = int((there >= 0).sum())
    return Changes(shared, len(new.items) - shared, len(old.items) - shared, rows, there[rows], counts[rows])


def _joint(old: HeldRelease, new: HeldRelease) -> Rows:
    """Return a number for each old item: its row in the new release, or one beyond all of these."""
    found = new.items.rows(pa.chunked_array([old.items.ids]))
    return np.where(found >= 0, found, len(new.items) + np.arange(len(found)))


def _pairs(held: HeldRelease, items: Rows, others: Rows, size: np.int64) -> Rows:
    """Return each item and neighbour as one number."""
    of = np.repeat(items, held.lists.lengths)
    return of * size + others[held.lists.others]
