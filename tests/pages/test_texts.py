"""Columns of any type as texts."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from lookalike.pages import texts


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["shoe", None, ""], ["shoe", "", ""]),
        ([1.5, None], ["1.5", ""]),
        ([True, False], ["true", "false"]),
        ([date(2026, 1, 2)], ["2026-01-02"]),
        ([["a", "b"], None], ["['a', 'b']", ""]),  # Arrow has no text for it
        (["👗" * 300], ["👗" * 200]),
        ([], []),
    ],
)
def test_labels_are_texts_whatever_the_type_of_their_column(values: list[Any], shown: list[str]) -> None:
    column = pa.chunked_array([pa.array(values[:1]), pa.array(values)[1:]]) if values else pa.chunked_array([[]])
    assert texts.labels(column).to_pylist() == shown


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.struct({"a": pa.int32()}), pa.map_(pa.string(), pa.int8())])
def test_lists_and_structs_of_which_none_is_there_are_texts_too(kind: pa.DataType) -> None:
    assert texts.labels(pa.chunked_array([pa.nulls(2, kind)])).to_pylist() == ["", ""]
    assert texts.labels(pa.chunked_array([], kind)).to_pylist() == []
