"""Find the live files of a Delta table by its log: with deletion vectors, renamed columns and partitions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray

from lookalike.catalogue.files import local_path, shown
from lookalike.catalogue.footers import Column
from lookalike.catalogue.formats.live_files import LiveFile, LiveTable
from lookalike.errors import CatalogueError

# Features of the format that change what a reader sees, and are read rightly here. Others are refused.
_READ = {
    *("columnMapping", "deletionVectors", "timestampNtz", "typeWidening", "typeWidening-preview", "v2Checkpoint"),
    *("vacuumProtocolCheck", "variantType", "variantType-preview", "variantShredding-preview"),
}


# Of a column's metadata: what it is called in the files, and by which number they know it.
_NAME, _ID = "delta.columnMapping.physicalName", "delta.columnMapping.id"


def open_delta(folder: str) -> LiveTable:
    """Return the table in a folder, as its last version is; raises CatalogueError."""
    try:
        table = DeltaTable(folder)
        unknown = set(table.protocol().reader_features or ()) - _READ
        if unknown:
            raise _refusal(folder, f"needs {', '.join(sorted(unknown))}, which is not read")
        actions = pa.table(table.get_add_actions())
        schema, mapped = pa.schema(table.schema().to_arrow()), _mapped(table)
        of_partitions = set(table.metadata().partition_columns)
        deleted = _deleted(table)
    except (DeltaError, OSError, ValueError, pa.ArrowException) as error:
        raise _refusal(folder, f"cannot be read ({' '.join(str(error).split())[:150]})") from None
    partitions = actions["partition"].to_pylist() if "partition" in actions.column_names else [None] * len(actions)
    paths = [_path(folder, path) for path in actions["path"].to_pylist()]
    files = [LiveFile(path, deleted.get(path), values) for path, values in zip(paths, partitions, strict=True)]

    def stored_as(columns: Mapping[str, Column]) -> dict[str, str]:
        by_id = {column.field_ids[0]: one for one, column in columns.items()}
        found = {name: _stored_name(name, mapped, by_id) for name in schema.names if name not in of_partitions}
        return {name: one for name, one in found.items() if one in columns}

    return LiveTable(folder, schema, files, stored_as)


def _refusal(folder: str, problem: str) -> CatalogueError:
    return CatalogueError(
        f"catalogue.path: {shown(folder)} is a Delta table that {problem}; write its live rows as plain Parquet"
    )


def _mapped(table: DeltaTable) -> dict[str, tuple[str, int | None]]:
    """Return the name of columns in the files where the table maps them, and the id where that says more."""
    mode = table.metadata().configuration.get("delta.columnMapping.mode")
    fields: list[dict[str, Any]] = json.loads(table.schema().to_json())["fields"]
    return {
        field["name"]: (known[_NAME], known[_ID] if mode == "id" else None)
        for field in fields
        if _NAME in (known := field["metadata"])
    }


def _stored_name(name: str, mapped: Mapping[str, tuple[str, int | None]], by_id: Mapping[int | None, str]) -> str:
    """Return the name of a column in a file; "" where the file knows ids, and not this one."""
    physical, field_id = mapped.get(name, (name, None))
    return physical if field_id is None or set(by_id) <= {None} else by_id.get(field_id, "")


def _deleted(table: DeltaTable) -> dict[str, NDArray[np.int64]]:
    """Return the positions of deleted rows of each file that has any."""
    found = {}
    for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors()):
        for number in range(len(batch)):
            kept = batch["selection_vector"][number].values.to_numpy(zero_copy_only=False)
            found[local_path(unquote(batch["filepath"][number].as_py())) or ""] = np.flatnonzero(~kept)
    return found


def _path(folder: str, path: str) -> str:
    """Return where a file of the log is: the log encodes it, and gives it below the folder or as a whole."""
    local = local_path(unquote(path))
    if local is None:
        raise _refusal(folder, f"has a file in another place, {path}")
    return os.path.join(os.path.abspath(folder), local)
