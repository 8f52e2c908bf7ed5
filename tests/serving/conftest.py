"""A warehouse to ask, without Spark."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.models.network import CompiledModel
from support.drawn import Drawn
from support.served import write_warehouse


@pytest.fixture(scope="session")
def pictures(drawn: Drawn) -> dict[str, Path]:
    """Item -> file of twelve drawn pictures."""
    rows = drawn.table.slice(0, 12).to_pylist()
    return {row["item_id"]: drawn.folder / row["image_path"] for row in rows}


@pytest.fixture(scope="session")
def warehouse(model: CompiledModel, pictures: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse whose release `r1` holds these pictures."""
    return write_warehouse(tmp_path_factory.mktemp("served") / "wh", model, pictures)
