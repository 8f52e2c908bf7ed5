"""The types of a catalogue's columns: as Spark has them, and the one that holds the values of several without loss."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
from pyarrow import types as t

TIMESTAMP_UTC = pa.timestamp("us", "UTC")

# Decimal digits of the integers of a type, by its bits.
_DIGITS = {8: 3, 16: 5, 32: 10, 64: 19}
_SIGNED = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}

# What Spark has another type for, as its own reader of Parquet does; microseconds are its finest time.
_AS_SPARK: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType], pa.DataType]], ...] = (
    (lambda kind: t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind), lambda _: pa.string()),
    (lambda kind: t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind), lambda _: pa.binary()),
    (t.is_fixed_size_binary, lambda _: pa.binary()),
    (lambda kind: t.is_boolean(kind) or t.is_signed_integer(kind) or t.is_float64(kind), lambda kind: kind),
    (lambda kind: t.is_float16(kind) or t.is_float32(kind), lambda _: pa.float32()),
    (t.is_uint64, lambda _: pa.decimal128(20, 0)),
    (t.is_unsigned_integer, lambda kind: _SIGNED[2 * kind.bit_width]),
    (t.is_date, lambda _: pa.date32()),
    (t.is_timestamp, lambda kind: TIMESTAMP_UTC if kind.tz else pa.timestamp("us")),
    (t.is_duration, lambda _: pa.int64()),  # as it is stored
    (t.is_null, lambda kind: kind),
)


def as_spark(kind: pa.DataType) -> pa.DataType | None:
    """Return the type in which Spark holds all values of `kind`, but parts of microseconds; None if it has none."""
    if t.is_dictionary(kind):
        return as_spark(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):  # JSON is text; a UUID or a variant is not the bytes that hold it
        return as_spark(kind.storage_type) if t.is_string(kind.storage_type) else None
    if t.is_decimal(kind):
        return pa.decimal128(kind.precision, kind.scale) if kind.precision <= 38 and kind.scale >= 0 else None
    if t.is_nested(kind):
        return _nested(kind)
    return next((convert(kind) for is_one, convert in _AS_SPARK if is_one(kind)), None)


def _nested(kind: pa.DataType) -> pa.DataType | None:
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        inner = as_spark(kind.value_type)
        return pa.list_(inner) if inner else None
    if t.is_map(kind):
        key, item = as_spark(kind.key_type), as_spark(kind.item_type)
        return pa.map_(key, item) if key and item else None
    if not t.is_struct(kind):
        return None
    fields = [(field.name, as_spark(field.type)) for field in kind]
    return pa.struct(fields) if all(inner for _, inner in fields) else None


def common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that holds the values of two types of `as_spark` without loss; None if there is none.

    Whole numbers of 64 bits are read as double where another file has doubles: pandas writes them so when one is
    missing. Those that a double does not hold are refused when they are read.
    """
    if one == other or t.is_null(other):
        return one
    if t.is_null(one):
        return other
    if t.is_list(one) and t.is_list(other):
        inner = common(one.value_type, other.value_type)
        return pa.list_(inner) if inner else None
    if t.is_struct(one) and t.is_struct(other) and _names(one) == _names(other):
        fields = [(field.name, common(field.type, other.field(field.name).type)) for field in one]
        return pa.struct(fields) if all(kind for _, kind in fields) else None
    return _common_number(one, other)


def common_of_ids(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the common type of ids: a whole number that was read as a double may be another one."""
    return None if t.is_floating(one) != t.is_floating(other) and not t.is_null(one) else common(one, other)


def _names(struct: pa.DataType) -> list[str]:
    return [field.name for field in struct]


def _common_number(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    floats = [kind for kind in (one, other) if t.is_floating(kind)]
    integers = [kind for kind in (one, other) if t.is_integer(kind)]
    if len(integers) == 2:
        return _SIGNED[max(one.bit_width, other.bit_width)]
    if len(floats) == 2:
        return pa.float64()
    if floats and integers:
        return pa.float32() if floats[0] == pa.float32() and integers[0].bit_width <= 16 else pa.float64()
    decimals = [kind for kind in (one, other) if t.is_decimal(kind)]
    if len(decimals) + len(integers) < 2:
        return None
    forms = [(kind.precision, kind.scale) for kind in decimals] + [(_DIGITS[kind.bit_width], 0) for kind in integers]
    scale = max(scale for _, scale in forms)
    precision = scale + max(precision - scale for precision, scale in forms)
    return pa.decimal128(precision, scale) if precision <= 38 else None
