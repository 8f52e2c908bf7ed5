"""Values of any column as JSON: Arrow writes numbers, times, lists, structs and maps; nothing loops over their values.

Times are texts by ISO 8601, decimals are texts, bytes are hexadecimal; a map is an object. Numbers that JSON lacks are
null.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as t

_ESCAPED = r'["\\\x00-\x1f]'


def texts(column: pa.Array, nul: str = "\0") -> pa.Array:
    """Return the JSON of each value, with `nul` for each character NUL; the JSON of a null is `null`."""
    kind = column.type
    if t.is_map(kind):
        column = column.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        found = _joined(column, _pairs(column.flatten(), nul), "{}")
    elif t.is_list(kind):
        found = _joined(column, texts(column.flatten(), nul), "[]")
    elif t.is_struct(kind):
        found = _if_there(column, objects(dict(zip((one.name for one in kind), column.flatten(), strict=True)), nul))
    else:
        found = _plain(column, nul)
    return found.fill_null("null")


def objects(columns: dict[str, pa.Array], nul: str = "\0") -> pa.Array:
    """Return an object for each row, its values from columns."""
    made = {name: texts(column, nul) for name, column in columns.items()}
    return objects_of_texts({name.replace("\0", nul): values for name, values in made.items()})


def objects_of_texts(columns: dict[str, pa.Array]) -> pa.Array:
    """Return an object for each row, its values from columns that are JSON."""
    parts: list[pa.Array | str] = []
    for number, (name, values) in enumerate(columns.items()):
        parts += [f"{',' if number else '{'}{_quoted(name)}:", values]
    return pc.binary_join_element_wise(*parts, "}", "")


def _pairs(entries: pa.StructArray, nul: str) -> pa.Array:
    """Return each key, as a text, with its value."""
    keys, values = (texts(one, nul) for one in entries.flatten())
    as_texts = pc.if_else(pc.starts_with(keys, '"'), keys, _in('""', keys))
    return pc.binary_join_element_wise(as_texts, values, ":")


def _plain(column: pa.Array, nul: str) -> pa.Array:
    kind = column.type
    if t.is_floating(kind):
        column = pc.if_else(pc.is_finite(column), column, None)
    if t.is_null(kind) or t.is_integer(kind) or t.is_boolean(kind) or t.is_floating(kind):
        return column.cast(pa.string())
    if t.is_string(kind):
        return _strings(column if nul == "\0" else pc.replace_substring(column, "\0", nul))
    if t.is_binary(kind):
        return _in('""', pa.array([None if one is None else one.hex() for one in column.to_pylist()], pa.string()))
    shown = column.cast(pa.string())
    return _in('""', pc.replace_substring(shown, " ", "T") if t.is_timestamp(kind) else shown)


def _strings(column: pa.Array) -> pa.Array:
    if not pc.any(pc.match_substring_regex(column, _ESCAPED)).as_py():
        return _in('""', column)
    return pa.array([None if one is None else _quoted(one) for one in column.to_pylist()], pa.string())


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _joined(column: pa.Array, values: pa.Array, marks: str) -> pa.Array:
    """Return the texts of the values of each list, joined between two marks."""
    sizes = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
    return _if_there(column, _in(marks, pc.binary_join(pa.ListArray.from_arrays(offsets, values), ",")))


def _in(marks: str, column: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(marks[0], column, marks[1], "")


def _if_there(column: pa.Array, found: pa.Array) -> pa.Array:
    return pc.if_else(column.is_valid(), found, None)
