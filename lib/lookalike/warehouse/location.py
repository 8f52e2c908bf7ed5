"""The folder that `warehouse.path` names."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lookalike.errors import WarehouseError

# A scheme: `hdfs:/x` is no folder named "hdfs:". A single letter is a drive.
_SCHEME = re.compile(r"([A-Za-z][\w+.-]+):/")


def local_folder(path: str) -> Path:
    """Return the absolute folder of a path or `file:` URI; raises WarehouseError for any other."""
    if _SCHEME.match(path) is None:
        try:
            return Path(path).expanduser().absolute()
        except RuntimeError as error:  # ~unknown-user
            raise WarehouseError(f"warehouse.path: {path}: {error}; give the whole path") from None
    parts = urlsplit(path)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise WarehouseError(
            f"warehouse.path: {path} is neither a folder nor in S3, Google Cloud Storage or Azure; give one"
        )
    return Path(unquote(parts.path))
