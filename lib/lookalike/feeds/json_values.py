"""Any value of a kept column as JSON: lists, structs, bytes, times."""

from __future__ import annotations

import json
import math
from typing import Any


def text(value: Any) -> str:
    """Return a value as JSON; numbers that JSON lacks are null, bytes are hexadecimal."""
    return json.dumps(_finite(value), ensure_ascii=False, default=_as_text)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(name): _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def _as_text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
