"""A new warehouse for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.warehouse.local import Warehouse


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(str(tmp_path / "warehouse"))
