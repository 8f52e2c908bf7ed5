"""JSON files that hold an object and its own checksum: a flipped bit in a number is still JSON, but another number.

Its key is SHA256, its value is that of all other keys. Files of lookalike 0.2.0 and older have none.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lookalike.safe_text import json_text

# In VIEWS all other keys are names of databases, which have no capitals.
_CHECKSUM = "SHA256"

# The largest that is read: release.json and files.json of 100,000 files are 20 MB.
MAX_BYTES = 256 << 20


def sealed(content: Mapping[str, Any]) -> bytes:
    """Return `content` as JSON with its checksum; raises ValueError for a number that is not finite."""
    with_checksum = {**content, _CHECKSUM: _checksum(content)}
    return json_text(with_checksum).encode()


def read(path: Path) -> bytes:
    """Return the bytes of a file; raises OSError, also for what is no file or too large to be one of ours."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe would wait for a writer without end
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    if status.st_size > MAX_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return path.read_bytes()


def unsealed(data: bytes) -> dict[str, Any]:
    """Return the JSON object of `data` without its checksum; raises ValueError, also when the two do not match."""
    try:
        content = json.loads(data, object_pairs_hook=_without_repeats, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError(error) from None
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    if _CHECKSUM in content and content.pop(_CHECKSUM) != _checksum(content):
        raise ValueError("damaged: it does not match its checksum")
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
