"""Read rows of a release's Parquet tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from lookalike.errors import WarehouseError


def open_table(folder: Path) -> ds.Dataset:
    """Return the table in a folder; raise WarehouseError."""
    try:
        return ds.dataset(folder, format="parquet")
    except (OSError, pa.ArrowException) as error:
        raise _damaged(folder, error) from None


def rows(table: ds.Dataset, wanted: ds.Expression, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the wanted rows; raise WarehouseError. Row groups without any, by their statistics, are not read."""
    if not table.files:
        return []
    try:
        found: list[dict[str, Any]] = table.to_table(columns=list(columns), filter=wanted).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise _damaged(Path(table.files[0]).parent, error) from None
    return found


def _damaged(folder: Path, error: Exception) -> WarehouseError:
    reason = " ".join(str(error).split())
    return WarehouseError(f"{folder} cannot be read ({reason}); restore it from a copy, or roll back")
