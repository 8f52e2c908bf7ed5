"""Rows as PostgreSQL's binary COPY wants them, built by arrays: no loop over rows or numbers.

A row is the number of its fields as int16, and of each field its length as int32, -1 for null, and its bytes, all
big-endian: see "Binary Format" in PostgreSQL's page of COPY. A column is made as the lengths of its values and their
bytes one after the other; then the bytes of all columns move to their places in one step each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types as t

from lookalike.feeds import json_values
from lookalike.feeds.source import AnyVectors, Batch

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

# PostgreSQL's texts have no NUL; its picture stands for it.
NUL, SHOWN_NUL = "\0", "\u2400"

_FLOAT4_OID = 700
_DAYS, _MICROSECONDS = 10_957, 946_684_800_000_000  # from 1970 to 2000

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Field:
    """The values of a column: their lengths, -1 for null, and the bytes of those that are not."""

    lengths: NDArray[np.int32]
    data: Bytes


def column_type(kind: pa.DataType) -> str:
    """Return PostgreSQL's type of an Arrow column."""
    if t.is_decimal(kind):
        return f"numeric({kind.precision}, {kind.scale})"
    return next((name for is_one, name, _ in _FIXED if is_one(kind)), None) or (
        "bytea" if t.is_binary(kind) else "text" if t.is_string(kind) else "jsonb"
    )


def encode(batch: Batch, *, halves: bool) -> bytes:
    """Return the rows; vectors as pgvector's `halfvec`, else as an array of `real`."""
    fields = [_field(column) for column in batch.rows.columns]
    if batch.vectors is not None:
        fields.append(_halfvec(batch.vectors) if halves else _real_array(batch.vectors))
    return _rows(fields, batch.rows.num_rows)


def nuls(batch: Batch) -> int:
    """Return how many texts have a NUL."""
    texts = (one for one in batch.rows.columns if t.is_string(one.type))
    return sum(pc.sum(pc.match_substring(one, NUL)).as_py() or 0 for one in texts)


def _rows(fields: list[Field], rows: int) -> bytes:
    sizes = np.full(rows, 2, np.int64)
    for one in fields:
        sizes += 4 + np.maximum(one.lengths, 0)
    ends = np.cumsum(sizes)
    out = np.empty(ends[-1] if rows else 0, np.uint8)
    at = ends - sizes
    _put(out, at, np.full(rows, len(fields), ">i2"))
    at = at + 2
    for one in fields:
        _put(out, at, one.lengths.astype(">i4"))
        sizes = np.maximum(one.lengths, 0).astype(np.int64)
        _scatter(out, at + 4, sizes, one.data)
        at = at + 4 + sizes
    return out.tobytes()


def _put(out: Bytes, at: NDArray[np.int64], numbers: NDArray[np.generic]) -> None:
    width = numbers.dtype.itemsize
    out[at[:, None] + np.arange(width)] = numbers.view(np.uint8).reshape(len(at), width)


def _scatter(out: Bytes, at: NDArray[np.int64], sizes: NDArray[np.int64], data: Bytes) -> None:
    """Copy values that follow each other in `data` to where each belongs."""
    starts = np.cumsum(sizes) - sizes
    out[np.repeat(at - starts, sizes) + np.arange(len(data))] = data


def _field(column: pa.Array) -> Field:
    kind = column.type
    for is_one, _, encoder in _FIXED:
        if is_one(kind):
            numbers = encoder(column.drop_null())
            return _of_width(numbers.dtype.itemsize, column, numbers.view(np.uint8))
    if t.is_decimal(kind):
        return _numeric(column)
    if t.is_binary(kind):
        return _of_bytes(column)
    if t.is_string(kind):
        return _of_bytes(pc.replace_substring(column, NUL, SHOWN_NUL))
    return _of_bytes(_jsonb(column))


def _jsonb(column: pa.Array) -> pa.Array:
    """Return version 1 of jsonb's binary form; it refuses JSON's own escape of NUL too."""
    found = pc.binary_join_element_wise("\1", json_values.texts(column, SHOWN_NUL), "")
    return pc.if_else(column.is_valid(), found, None)


def _numeric(column: pa.Array) -> Field:
    """Return the count of digits, weight of the first, sign and scale as int16, and digits of base 10,000 as int16."""
    there, scale = column.drop_null(), column.type.scale
    digits = _digits(there)
    out = np.empty((len(there), 4 + digits.shape[1]), ">i2")
    out[:, 0], out[:, 1], out[:, 3] = digits.shape[1], digits.shape[1] - 1 - -(-scale // 4), scale
    out[:, 2] = np.where(pc.sign(there).to_numpy(zero_copy_only=False).astype(float) < 0, 0x4000, 0)
    out[:, 4:] = digits
    return _of_width(2 * out.shape[1], column, out.view(np.uint8).ravel())


def _digits(column: pa.Array) -> NDArray[np.int16]:
    """Return the digits of base 10,000, the same number for each value, with the decimal point between two of them."""
    kind, plain = column.type, pc.abs(column)
    number = np.frombuffer(plain.buffers()[1] or b"", "<u4").reshape(-1, kind.bit_width // 32).astype(np.uint64)
    number = number[plain.offset : plain.offset + len(plain)]
    odd = kind.scale % 4  # of the last digit
    found = [_divide(number, 10**odd) * 10 ** (4 - odd)] if odd else []
    found += [_divide(number, 10_000) for _ in range(-(-(kind.precision - odd) // 4))]
    return np.stack(found[::-1], axis=1).astype(np.int16)


def _divide(number: NDArray[np.uint64], by: int) -> NDArray[np.uint64]:
    """Divide numbers of 32-bit words, the lowest first, in place, and return the remainders."""
    rest = np.zeros(len(number), np.uint64)
    for word in range(number.shape[1] - 1, -1, -1):
        number[:, word], rest = np.divmod((rest << np.uint64(32)) | number[:, word], np.uint64(by))
    return rest


def _of_bytes(column: pa.Array) -> Field:
    there = column.drop_null()
    lengths = np.full(len(column), -1, np.int32)
    sizes = pc.binary_length(there).to_numpy(zero_copy_only=False).astype(np.int32)
    lengths[~column.is_null().to_numpy(zero_copy_only=False)] = sizes
    return Field(lengths, _bytes_of(there, int(sizes.sum(dtype=np.int64))))


def _bytes_of(column: pa.Array, size: int) -> Bytes:
    _, offsets, data = column.buffers()
    if data is None or not size:
        return np.empty(0, np.uint8)
    start = int(np.frombuffer(offsets, np.int32)[column.offset])
    return np.frombuffer(data, np.uint8)[start : start + size]


def _of_width(width: int, column: pa.Array, data: Bytes) -> Field:
    nulls = column.is_null().to_numpy(zero_copy_only=False)
    return Field(np.where(nulls, -1, width).astype(np.int32), data)


def _halfvec(vectors: AnyVectors) -> Field:
    """Return dimensions as int16, two bytes of 0, and the numbers."""
    rows, dimensions = vectors.shape
    out = np.zeros((rows, 2 + dimensions), ">u2")
    out[:, 0] = dimensions
    out[:, 2:] = vectors.astype(np.float16, copy=False).view(np.uint16)
    return _matrix(out)


def _real_array(vectors: AnyVectors) -> Field:
    """Return one dimension, no nulls, the type, length and first subscript, and each number after its length."""
    rows, dimensions = vectors.shape
    out = np.empty((rows, 5 + 2 * dimensions), ">u4")
    out[:, :5] = (1, 0, _FLOAT4_OID, dimensions, 1)
    out[:, 5::2] = 4
    out[:, 6::2] = vectors.astype(np.float32, copy=False).view(np.uint32)
    return _matrix(out)


def _matrix(numbers: NDArray[np.generic]) -> Field:
    width = numbers.shape[1] * numbers.dtype.itemsize
    return Field(np.full(len(numbers), width, np.int32), numbers.view(np.uint8).ravel())


def _number(dtype: str, minus: int = 0, stored: pa.DataType | None = None) -> Callable[[pa.Array], NDArray[np.generic]]:
    def encoder(column: pa.Array) -> NDArray[np.generic]:
        numbers = (column.cast(stored) if stored else column).to_numpy(zero_copy_only=False)
        found: NDArray[np.generic] = (numbers - minus if minus else numbers).astype(dtype)
        return found

    return encoder


_FIXED: tuple[tuple[Callable[[pa.DataType], bool], str, Callable[[pa.Array], NDArray[np.generic]]], ...] = (
    (t.is_boolean, "boolean", _number("u1")),
    (lambda kind: t.is_int8(kind) or t.is_int16(kind), "smallint", _number(">i2")),
    (t.is_int32, "integer", _number(">i4")),
    (t.is_int64, "bigint", _number(">i8")),
    (t.is_float32, "real", _number(">f4")),
    (t.is_float64, "double precision", _number(">f8")),
    (t.is_date32, "date", _number(">i4", _DAYS, pa.int32())),
    (lambda kind: t.is_timestamp(kind) and bool(kind.tz), "timestamptz", _number(">i8", _MICROSECONDS, pa.int64())),
    (t.is_timestamp, "timestamp", _number(">i8", _MICROSECONDS, pa.int64())),
)
