"""Check what a caller asks with: numbers, vectors, names of groups."""

from __future__ import annotations

import enum
import math
import operator
from typing import Any, Final, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lookalike.errors import QueryError
from lookalike.topk.items import Vectors

# A vector this near to unit length is taken as it is: an item's own embedding then gets the scores of the table, to
# the last bit.
UNIT_NOISE = 1e-6

# Vectors that are made unit length at a time: 8 MiB at 2,048 dimensions.
_ROWS = 512

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
    if isinstance(vector, str):
        raise QueryError(f"the vector is a text, {vector!r}; ask by item with similar, by picture with search_image")
    given = _real_numbers(vector, "the vector is")
    # An index of no items has no dimensions: it answers any vector with nothing.
    if given.ndim != 1 or dimensions not in (None, len(given)):
        raise QueryError(f"the vector's shape is {given.shape}; the index holds vectors of ({dimensions},)")
    query = given.astype(np.float64)
    _need_direction(norm := math.hypot(*query), "the vector")  # no square overflows
    unit = query if abs(norm - 1) <= UNIT_NOISE else query / norm
    return unit.astype(np.float32)


def unit_queries(vectors: ArrayLike, dimensions: int | None) -> Vectors:
    """Return `vectors` as float32 [n, dimensions] of unit length; raise QueryError where one has no direction."""
    given = _real_numbers(vectors, "the vectors are")
    if given.ndim in (1, 2) and not len(given):
        return np.empty((0, dimensions or 0), np.float32)
    if given.ndim != 2 or dimensions not in (None, given.shape[1]):
        raise QueryError(f"the vectors' shape is {given.shape}; the index takes (n, {dimensions}), a row each")
    found = np.empty(given.shape, np.float32)
    for start in range(0, len(given), _ROWS):
        queries = given[start : start + _ROWS].astype(np.float64)
        largest = np.abs(queries).max(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            norms = largest * np.linalg.norm(queries / largest, axis=1, keepdims=True)  # no square overflows
        for row in np.flatnonzero(~(np.isfinite(norms) & (largest > 0)))[:1]:
            _need_direction(0.0 if not largest[row, 0] else math.nan, f"vector {start + row}")
        norms[np.abs(norms - 1) <= UNIT_NOISE] = 1
        found[start : start + _ROWS] = queries / norms
    return found


def _real_numbers(vector: ArrayLike, what: str) -> NDArray[Any]:
    try:
        given = np.asarray(vector)
    except (TypeError, ValueError, RuntimeError):  # the last of a tensor that requires grad
        given = np.asarray(None)
    # As float64, numpy would drop the imaginary part of a complex number, and read a text, a date or True as a number.
    # An array that is made of a list of masked ones forgets their masks.
    parts = vector if isinstance(vector, list) else [vector]
    masked = any(isinstance(one, np.ma.MaskedArray) and np.ma.is_masked(one) for one in parts)
    if given.dtype.kind not in "iuf" or masked:
        raise QueryError(f"{what} not made of real numbers; give a list or an array of them")
    return given


def _need_direction(norm: float, what: str) -> None:
    if not math.isfinite(norm):
        raise QueryError(f"{what} holds NaN or infinite values; correct what made it")
    if not norm:
        raise QueryError(f"{what} is all zeros, which has no direction to compare; correct what made it")
