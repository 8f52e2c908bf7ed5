"""Check what a caller asks with: numbers, vectors, names of groups."""

from __future__ import annotations

import enum
import math
import operator
from typing import Final, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from lookalike.errors import QueryError
from lookalike.topk.items import Vectors

# A vector this near to unit length is taken as it is: an item's own embedding then gets the scores of the table, to
# the last bit.
UNIT_NOISE = 1e-6

# `rank` is an int, and so is what Annoy takes.
LARGEST_INT = 2**31 - 1


class AllGroups(enum.Enum):
    """The type of ALL_GROUPS: a value of its own, because None names the items without a value of similar.group_by."""

    ALL_GROUPS = "all groups"

    def __repr__(self) -> str:
        return self.name


ALL_GROUPS: Final = AllGroups.ALL_GROUPS


def is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8: the shell passes a byte that cannot as half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def at_least_one(name: str, value: SupportsIndex) -> int:
    """Return `value` as an int; raise QueryError unless it is a whole number of 1 or more, of Python or numpy."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise QueryError(f"{name} is {value!r}; give a whole number of 1 or more")
    return number


def unit_query(vector: ArrayLike, dimensions: int | None) -> Vectors:
    """Return `vector` as float32 [dimensions] of unit length; raise QueryError when it has no direction."""
    try:
        given = np.asarray(vector)
    except (TypeError, ValueError, RuntimeError):  # the last of a tensor that requires grad
        given = np.asarray(None)
    # As float64, numpy would drop the imaginary part of a complex number, and read a text, a date or True as a number.
    if given.dtype.kind not in "iuf" or np.ma.is_masked(vector):
        raise QueryError("the vector is not made of real numbers; give a list or an array of them")
    # An index of no items has no dimensions: it answers any vector with nothing.
    if given.ndim != 1 or dimensions not in (None, len(given)):
        raise QueryError(f"the vector's shape is {given.shape}; the index holds vectors of ({dimensions},)")
    query = given.astype(np.float64)
    norm = math.hypot(*query)  # no square overflows
    if not math.isfinite(norm):
        raise QueryError("the vector holds NaN or infinite values; correct what made it")
    if not norm:
        raise QueryError("the vector is all zeros, which has no direction to compare; correct what made it")
    unit = query if abs(norm - 1) <= UNIT_NOISE else query / norm
    return unit.astype(np.float32)
