"""A small table of items, and the line that refuses it as a catalogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest

from lookalike import config
from lookalike.errors import CatalogueError

Rows = dict[str, Sequence[object]]


Items = list[dict[str, object]]


Build = Callable[..., config.Settings]


Read = Callable[..., Items]


Open = Callable[[object], Items]


def table(**columns: Any) -> pa.Table:
    """Return a table of two good items; columns are replaced or added by name, or left out if given as None."""
    base: dict[str, Any] = {"item_id": ["a", "b"], "image_path": ["a.jpg", "b.jpg"]}
    return pa.table({name: values for name, values in {**base, **columns}.items() if values is not None})


def refusal(action: Callable[[], object]) -> str:
    """Return the one line of the CatalogueError that `action` raises."""
    with pytest.raises(CatalogueError) as raised:
        action()
    message = str(raised.value)
    assert "\n" not in message
    assert "JVM" not in message
    assert raised.value.exit_code == 2
    return message


GOOD = [
    {"item_id": "a", "image_path": "a.jpg", "fingerprint": None},
    {"item_id": "b", "image_path": "b.jpg", "fingerprint": None},
]
